// LoRA-SB inside a trainer without Eigen: raw float buffers, an optimizer of its own, two calls a step.
#include <cmath>
#include <cstdio>
#include <vector>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/initialize.hpp"

namespace {

// The trainer's own world: buffers as PyTorch lays them out. Activations are [tokens][features], weights [out][in].
constexpr long tokens = 1024, in = 24, out = 32, rank = 6;

std::vector<float> noise(std::size_t count, unsigned state) {
  std::vector<float> numbers(count);
  for (float& x : numbers) {
    state = state * 1664525u + 1013904223u;
    x = float(state >> 8) / float(1 << 24) - 0.5f;
  }
  return numbers;
}

/// y[t][o] = sum_i w[o][i] x[t][i]
std::vector<float> times(const std::vector<float>& w, const std::vector<float>& x) {
  std::vector<float> y(tokens * out);
  for (long t = 0; t < tokens; ++t)
    for (long o = 0; o < out; ++o)
      for (long i = 0; i < in; ++i) y[t * out + o] += w[o * in + i] * x[t * in + i];
  return y;
}

/// Half the mean squared error of a token, and its gradient, summed over the tokens, in dy.
float loss_and_gradient(const std::vector<float>& y, const std::vector<float>& target, std::vector<float>& dy) {
  float loss = 0;
  for (std::size_t k = 0; k < y.size(); ++k) {
    dy[k] = y[k] - target[k];
    loss += dy[k] * dy[k] / (2 * tokens);
  }
  return loss;
}

}  // namespace

int main() {
  const std::vector<float> weight = noise(out * in, 1), x = noise(tokens * in, 2), shift = noise(out * in, 3);
  std::vector<float> wanted = weight;
  for (std::size_t k = 0; k < wanted.size(); ++k) wanted[k] += 0.5f * shift[k % (3 * in)];  // a change of low rank
  const std::vector<float> target = times(wanted, x);
  std::vector<float> y = times(weight, x), dy(y.size()), dx(x.size());
  loss_and_gradient(y, target, dy);

  // lorasb: the first step from one backward pass of the trainer, then an adapter. {pointer, rows, columns} are views.
  lorasb::GradientEstimate<float> estimate(out, in, "up");
  estimate.add({dy.data(), out, tokens}, {x.data(), in, tokens}, tokens);
  const float learning_rate = 0.5f;
  lorasb::LowRankAdapter<float> adapter =
      lorasb::initialize(estimate, {.rank = rank, .rule = lorasb::FirstStep::sgd, .learning_rate = learning_rate}).adapter;
  const lorasb::AdaptedLinear<float> layer({weight.data(), out, in}, adapter, "up");
  lorasb::LinearCache<float> cache;

  float first = 0, last = 0;
  for (int step = 0; step < 400; ++step) {
    std::vector<float> dR(rank * rank);  // added to, so it starts at zero
    const lorasb::ForwardPass<float> pass = layer.forward({x.data(), in, tokens}, {y.data(), out, tokens}, cache);
    last = loss_and_gradient(y, target, dy);
    if (step == 0) first = last;
    layer.backward(pass, {dy.data(), out, tokens}, cache, dR, {dx.data(), in, tokens});  // dx is for the layer below
    float* R = adapter.R.data();
    for (std::size_t k = 0; k < dR.size(); ++k) R[k] -= learning_rate * dR[k] / tokens;
  }
  std::printf("loss %.4f -> %.4f with %ld trained values\n", first, last, rank * rank);
  return std::isfinite(last) && last < 0.05f * first ? 0 : 1;
}
