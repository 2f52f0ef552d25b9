// LoRA-SB on one layer: estimate the first full step, start an adapter from it, train its core R, merge.
#include <cstdio>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/initialize.hpp"
#include "lorasb/adapter/merge.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/optim/adamw.hpp"

using namespace lorasb;

int main() {
  Random random(42);
  const auto normal = [&]() { return float(random.normal()); };
  Weight<float> W0 = Weight<float>::NullaryExpr(64, 48, normal);  // a pretrained layer, out x in
  const Weight<float> change = 0.1f * Weight<float>::NullaryExpr(64, 4, normal) * Weight<float>::NullaryExpr(4, 48, normal);
  const Matrix<float> X = Matrix<float>::NullaryExpr(48, 2048, normal);  // a column for each example
  const Matrix<float> target = (W0 + change) * X;                        // what the layer should learn to give

  UpdateEstimate<float> estimate(64, 48);
  estimate.add((W0 * X - target).eval(), X, 2048);  // dL/dY of the summed loss ‖Y - target‖² / 2
  auto [adapter, report] = initialize(estimate, {.rank = 4, .rule = FirstStep::sgd, .learning_rate = 0.1});
  std::printf("trained numbers      %td instead of %td\n", adapter.trainable(), W0.size());
  std::printf("of the first step    %.0f %% captured\n", 100 * report.captured_energy);

  AdaptedLinear<float> layer(W0, adapter);
  optim::AdamW<float> optimizer(adapter.trainable());
  LinearCache<float> cache;
  Matrix<float> Y(64, 2048);
  for (int step = 0; step <= 200; ++step) {
    layer.forward(X, Y, cache);
    const Matrix<float> dY = (Y - target) / 2048;
    if (step % 100 == 0) std::printf("loss at step %-8d%.4f\n", step, 1024 * dY.squaredNorm());
    Weight<float> dR = Weight<float>::Zero(4, 4);
    layer.backward_parameters(dY, cache, dR);
    optimizer.step(flat(adapter.R), flat(dR), 0.1);
  }
  merge(adapter, W0);
  std::printf("after merging        %.4f\n", (W0 * X - target).squaredNorm() / 4096);
}
