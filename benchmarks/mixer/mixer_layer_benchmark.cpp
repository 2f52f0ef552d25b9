// Routed top-k inference beside W0 and the same k adapters applied plainly to every token, and what cores and LoRA experts
// take.
#include "lorasb/mixer/mixer_layer.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <deque>

#include "benchmarks/backends.hpp"
#include "benchmarks/interleave.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/mixer/expert_bank.hpp"

namespace {

using namespace lorasb;
using namespace lorasb::mixer;

constexpr Index experts = 32, k = 2, tokens = 512;
struct Size {
  Index in, out, rank;
};
constexpr Size sizes[] = {{768, 768, 16}, {768, 768, 24}, {512, 1536, 24}, {1024, 1024, 16}};

template <class M>
M random_matrix(Index rows, Index cols, std::uint64_t stream, double size) {
  Random random(1, stream);
  return M::NullaryExpr(rows, cols, [&] { return float(size * random.normal()); });
}

struct Problem {
  Size size;
  ExpertKind kind;
  Weight<float> W0, G;
  std::deque<Weight<float>> B, R, A;
  Matrix<float> X, Y, expected;
  BalanceLossOptions loss = {};
  LinearCache<float> cache = {};

  Problem(const Size& s, ExpertKind of)
      : size(s),
        kind(of),
        W0(random_matrix<Weight<float>>(s.out, s.in, 1, 1 / std::sqrt(double(s.in)))),
        X(random_matrix<Matrix<float>>(s.in, tokens, 2, 1)),
        Y(s.out, tokens),
        expected(s.out, tokens) {
    const bool cores = kind == ExpertKind::cores;
    for (Index e = 0; e < experts; ++e) {
      const auto stream = std::uint64_t(10 + 3 * e);
      if (!cores || e == 0) B.push_back(random_matrix<Weight<float>>(s.out, s.rank, stream, 1 / std::sqrt(double(s.out))));
      if (!cores || e == 0) A.push_back(random_matrix<Weight<float>>(s.rank, s.in, stream + 1, 1 / std::sqrt(double(s.in))));
      R.push_back(kind == ExpertKind::lora ? Weight<float>(0, 0)
                                           : random_matrix<Weight<float>>(s.rank, s.rank, stream + 2, 0.3));
    }
    G = random_matrix<Weight<float>>(experts, cores ? s.rank : s.in, 3, 1);
  }
  ExpertTensors<float> expert(Index e) const {
    const std::size_t i = kind == ExpertKind::cores ? 0 : std::size_t(e);
    return {B[i], R[std::size_t(e)], A[i], 0.5f, false};  // frozen, as in inference
  }
  MixerLayer<float> layer() const {
    std::vector<ExpertTensors<float>> all;
    for (Index e = 0; e < experts; ++e) all.push_back(expert(e));
    const RouterInput input = kind == ExpertKind::cores ? RouterInput::basis : RouterInput::projection;
    return {W0, std::move(all), {.G = G, .input = input}, {.mode = RoutingMode::top_k, .k = k}, loss};
  }
  /// Y = W0 X + Σ s B R A X over k experts and all tokens.
  void plain() {
    linalg::multiply(W0, X, expected);
    for (Index e = 0; e < k; ++e) {
      const ExpertTensors<float> a = expert(e);
      MatrixView<float> Z = cache.buffer(20).reshape(size.rank, tokens), H = cache.buffer(21).reshape(size.rank, tokens);
      linalg::multiply(a.A, X, Z);
      if (a.has_core()) linalg::multiply(a.R, Z, H, a.scale);
      linalg::multiply(a.B, a.has_core() ? H : Z, expected, a.has_core() ? 1 : a.scale, 1);
    }
  }
};

/// Token by token.
double error_of(Problem& p, const MixerLayer<float>& layer) {
  const Routing<float> routing = layer.routing(p.cache);
  Matrix<float> Y = p.W0 * p.X;
  for (Index e = 0; e < experts; ++e)
    for (Index i = 0; i < routing.count(e); ++i) {
      const Index t = routing.tokens_of(e)[std::size_t(i)];
      const ExpertTensors<float> a = p.expert(e);
      Vector<float> h = a.A * p.X.col(t);
      if (a.has_core()) h = (a.R * h).eval();
      Y.col(t) += routing.gates()(0, routing.first(e) + i) * a.scale * (a.B * h);
    }
  return (Y - p.Y).norm() / Y.norm();
}

void routed(benchmark::State& state, const bench::Backend& backend, const Size& size, ExpertKind kind) {
  backend.select();
  Problem p(size, kind);
  const MixerLayer<float> layer = p.layer();
  layer.forward(p.X, p.Y, p.cache);
  if (error_of(p, layer) > 1e-4) return state.SkipWithError("the layer is not W0 X and the chosen experts");
  bench::interleave(
      state, [&] { layer.forward(p.X, p.Y, p.cache); }, [&] { p.plain(); });
  state.counters["cost"] = 1 / state.counters["ratio"];  // of routed over plain: the goal is at most 1.25
  const double r = double(size.rank), sides = double(size.in + size.out), e = double(experts);
  const double lora = e * r * sides, cores = e * r * r + r * sides;
  if (kind == ExpertKind::cores) state.counters["memory"] = cores / lora;  // of LoRA experts, bases counted: at most 1/20
  if (kind == ExpertKind::cores) state.counters["memory_with_router"] = (cores + e * r) / (lora + e * double(size.in));
  state.SetLabel("W0 and k adapters on all tokens");
}

const bool registered = [] {
  bench::for_each_backend([](const bench::Backend& backend) {
    if (backend.narrow) return;
    for (const Size& size : sizes)
      for (const ExpertKind kind : {ExpertKind::lora, ExpertKind::lora_sb, ExpertKind::cores})
        benchmark::RegisterBenchmark(
            ("routed/" + std::string(expert_kind_names[std::size_t(kind)]) + "/E32_k2_512/" + std::to_string(size.in) + "_to_" +
             std::to_string(size.out) + "_r" + std::to_string(size.rank) + "/threads:1/" + backend.name)
                .c_str(),
            routed, backend, size, kind)
            ->Unit(benchmark::kMillisecond)
            ->UseManualTime()
            ->Iterations(41);
  });
  return true;
}();

}  // namespace
