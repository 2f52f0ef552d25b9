// A trainer of its own: estimates the first step, trains R with AdamW, saves the adapter, reads it again and merges it.
#include <lorasb/adapter/adapted_linear.hpp>
#include <lorasb/adapter/initialize.hpp>
#include <lorasb/adapter/merge.hpp>
#include <lorasb/formats/peft_reader.hpp>
#include <lorasb/optim/adamw.hpp>
#include <lorasb/text/nfkc.hpp>
#ifdef USER_HAS_ONEDNN
#include <lorasb/onednn/backend.hpp>
#endif

void save(const lorasb::LowRankAdapter<float>& adapter, const char* folder);

int main(int argc, char** argv) {
  using namespace lorasb;
#ifdef USER_HAS_ONEDNN
  linalg::use_backend(&onednn::backend());
#endif
  if (argc != 2 || text::nfkc("\xEF\xAC\x81").size() != 2) return 1;  // the ligature fi is two letters
  Weight<float> W0 = Weight<float>::Identity(6, 5);
  const Matrix<float> X = Matrix<float>::Identity(5, 5);
  const Matrix<float> target = Matrix<float>::Ones(6, 5);
  GradientEstimate<float> estimate(6, 5);
  estimate.add((W0 * X - target).eval(), X, 5);
  auto [adapter, report] = initialize(estimate, {.rank = 2, .learning_rate = 0.01});
  AdaptedLinear<float> layer(W0, adapter);
  LinearCache<float> cache;
  optim::AdamW<float> optimizer(adapter.trainable());
  Matrix<float> Y(6, 5);
  float first = 0;
  float last = 0;
  for (int step = 0; step < 100; ++step) {
    const ForwardPass<float> pass = layer.forward(X, Y, cache);
    const Matrix<float> dY = Y - target;
    Weight<float> dR = Weight<float>::Zero(2, 2);
    layer.backward(pass, dY, cache, dR, not_wanted);
    last = dY.squaredNorm();
    if (step == 0) first = last;
    optimizer.step(flat(adapter.R), flat(dR), 0.05);
  }
  save(adapter, argv[1]);
  merge(formats::read_adapter_folder<float>(argv[1]).adapters.at("layer"), W0);
  return last < first && (W0 * X - Y).norm() < 0.2f ? 0 : 1;
}
