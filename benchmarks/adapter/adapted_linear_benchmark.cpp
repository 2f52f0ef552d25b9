// An adapted layer's forward and backward pass, beside the two products with W0 that no method can do without.
#include "lorasb/adapter/adapted_linear.hpp"

#include <benchmark/benchmark.h>

#include "lorasb/core/random.hpp"

namespace {

using namespace lorasb;

template <class M>
M random_matrix(Index rows, Index cols, std::uint64_t stream) {
  Random random(1, stream);
  return M::NullaryExpr(rows, cols, [&] { return float(random.normal()); });
}

struct Problem {
  Index in, out, rank, tokens;
  Weight<float> W0 = random_matrix<Weight<float>>(out, in, 1);
  LowRankAdapter<float> adapter{.B = random_matrix<Weight<float>>(out, rank, 2),
                                .R = random_matrix<Weight<float>>(rank, rank, 3),
                                .A = random_matrix<Weight<float>>(rank, in, 4)};
  Matrix<float> X = random_matrix<Matrix<float>>(in, tokens, 5);
  Matrix<float> dY = random_matrix<Matrix<float>>(out, tokens, 6);
  Matrix<float> Y = Matrix<float>(out, tokens);
  Matrix<float> dX = Matrix<float>(in, tokens);

  explicit Problem(const benchmark::State& state)
      : in(state.range(0)), out(state.range(1)), rank(state.range(2)), tokens(state.range(3)) {}

  double frozen_operations() const { return 4.0 * double(in) * double(out) * double(tokens); }
  double adapter_operations() const {
    const double r = double(rank), t = double(tokens);
    return 4 * t * r * double(in + out) + 6 * t * r * r;
  }
};

void adapted(benchmark::State& state) {
  Problem p(state);
  const AdaptedLinear<float> layer(p.W0, p.adapter);
  LinearCache<float> cache;
  Weight<float> dR = Weight<float>::Zero(p.rank, p.rank);
  layer.forward(p.X, p.Y, cache);
  const Weight<float> W = p.W0 + p.adapter.B * p.adapter.R * p.adapter.A;
  const Matrix<float> expected = W * p.X;
  if ((p.Y - expected).norm() > 1e-4f * expected.norm()) state.SkipWithError("forward is not (W0 + s B R A) X");
  for (auto _ : state) {
    layer.forward(p.X, p.Y, cache);
    layer.backward(p.X, p.dY, cache, flat(dR), p.dX);
  }
  state.counters["GFLOP/s"] = benchmark::Counter(p.frozen_operations() + p.adapter_operations(),
                                                 benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void frozen(benchmark::State& state) {
  Problem p(state);
  for (auto _ : state) {
    linalg::multiply(p.W0, p.X, p.Y);
    linalg::multiply(linalg::transposed(p.W0), p.dY, p.dX);
    benchmark::ClobberMemory();
  }
  state.counters["GFLOP/s"] =
      benchmark::Counter(p.frozen_operations(), benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

BENCHMARK(adapted)->Args({576, 1536, 64, 512})->Args({4096, 4096, 96, 512})->Unit(benchmark::kMillisecond);
BENCHMARK(frozen)->Args({576, 1536, 64, 512})->Args({4096, 4096, 96, 512})->Unit(benchmark::kMillisecond);

}  // namespace
