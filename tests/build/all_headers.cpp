
// Uses what is most used, in both scalars; under -ffast-math NaN must still be seen.
#include <cstdio>
#include <limits>

namespace {

using namespace lorasb;

template <Real S>
bool layers_work() {
  Weight<S> W0 = Weight<S>::Identity(6, 5);
  const Matrix<S> X = Matrix<S>::Identity(5, 5), target = Matrix<S>::Ones(6, 5), error = W0 * X - target;
  GradientEstimate<S> estimate(6, 5);
  estimate.add(error, X, 5);
  Initialized<S> start = initialize(estimate, {.rank = 2});
  const AdaptedLinear<S> layer(W0, start.adapter);
  LinearCache<S> cache;
  Matrix<S> Y(6, 5);
  Weight<S> dR = Weight<S>::Zero(2, 2);
  layer.backward(layer.forward(X, Y, cache), error, cache, dR, not_wanted);
  merge(start.adapter, W0);
  return (W0 * X - Y).norm() < S(1e-3);
}

/// Each line is true with NaN in it, whatever a compiler may assume of numbers.
template <Real S>
bool nan_is_seen() {
  volatile S hidden = std::numeric_limits<S>::quiet_NaN();
  const S nan = hidden;
  std::vector<S> gradient{3, nan, 4}, values{1, 2, 3};
  const double norm = optim::clip_global_norm<S>(std::span<S>(gradient), 1);
  bool good = !is_finite(norm) && gradient[0] == 3 && gradient[2] == 4;

  optim::Sgd<S> sgd(3);
  train::Step<S> step(3, 1, 1);
  const auto pass = [&](Index, Index, Index, std::span<S> g) {
    g[1] += nan;
    return train::PassResult{.loss = 1, .correct = 0};
  };
  const train::StepResult found = step.run(1, pass, values, sgd, 0.1);
  good = good && found.status == train::StepStatus::not_finite && values[1] == 2;

  const float wide = static_cast<float>(nan);
  Bfloat16 narrow;
  to_bfloat16(&wide, &narrow, 1);
  good = good && (narrow.value & 0x7f80) == 0x7f80 && (narrow.value & 0x7f) != 0;

  ExactMean<S> mean(3);
  try {
    mean.add(gradient, 1);
    good = false;
  } catch (const Error& error) {
    good = good && error.id() == ErrorId::not_finite;
  }
  return good;
}

}  // namespace

int main() {
  const bool works = layers_work<float>() && layers_work<double>(), seen = nan_is_seen<float>() && nan_is_seen<double>();
  std::printf("layers %d, NaN is seen %d\n", works, seen);
  return works && seen ? 0 : 1;
}
