// LoRA-SB on one layer: estimate the first full step, start an adapter from it, train its core R, merge.
#include <cstdio>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/initialize.hpp"
#include "lorasb/adapter/merge.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/optim/adamw.hpp"

using namespace lorasb;

int main() {
  Random random(42);
  const auto normal = [&](auto matrix) {
    for (float& entry : flat(matrix)) entry = float(random.normal());
    return matrix;
  };
  Weight<float> W0 = normal(Weight<float>(64, 48));         // a pretrained layer, out x in
  const Matrix<float> X = normal(Matrix<float>(48, 2048));  // a column for each example
  const Weight<float> left = normal(Weight<float>(64, 4)), right = normal(Weight<float>(4, 48));
  Weight<float> W1 = W0;  // what the layer should become: W0 and a change of rank 4
  linalg::multiply(left, right, W1, 0.1f, 1);
  const Matrix<float> target = linalg::product(W1, X);
  Matrix<float> Y = linalg::product(W0, X), dY = Y - target;  // dL/dY of the summed loss ‖Y - target‖² / 2

  GradientEstimate<float> estimate(64, 48);
  estimate.add(dY, X, 2048);
  auto [adapter, report] = initialize(estimate, {.rank = 4, .rule = FirstStep::sgd, .learning_rate = 0.1});
  std::printf("trained values       %td instead of %td\n", adapter.trainable(), W0.size());
  std::printf("of the first step    %.0f %% captured\n", 100 * report.captured_energy);

  const AdaptedLinear<float> layer(W0, adapter);
  optim::AdamW<float> optimizer(adapter.trainable());
  LinearCache<float> cache;
  for (int step = 0; step <= 200; ++step) {
    const ForwardPass<float> pass = layer.forward(X, Y, cache);
    dY = Y - target;
    if (step % 100 == 0) std::printf("loss at step %-8d%.2f\n", step, dY.squaredNorm() / 4096);
    Weight<float> dR = Weight<float>::Zero(4, 4);
    layer.backward(pass, dY, cache, dR, not_wanted);
    optimizer.step(flat(adapter.R), flat(dR), 0.1);
  }
  merge(adapter, W0);
  linalg::multiply(W0, X, Y);
  dY = Y - target;
  std::printf("after merging        %.2f\n", dY.squaredNorm() / 4096);
}
