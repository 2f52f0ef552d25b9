// The truncated SVD that initialises an adapter, beside torch.svd_lowrank(niter = 10).
#include "lorasb/linalg/truncated_svd.hpp"

#include <benchmark/benchmark.h>

#include "benchmarks/backends.hpp"
#include "benchmarks/interleave.hpp"
#include "lorasb/adapter/initialize.hpp"
#ifdef LORASB_HAS_TORCH
#include "benchmarks/rival/torch.hpp"
#endif

namespace {

using namespace lorasb;

constexpr Index rank = 96;

/// flat: signs of noise, as sign(G) of a gradient without structure. decaying: W = L D Mᵀ with L, M of independent normal
/// numbers, n x 4 rank, and D = diag(1, 1/2, 1/3, ...).
Weight<float> test_matrix(bool flat_spectrum, Index n) {
  Random random(1);
  Weight<float> W(n, n);
  if (flat_spectrum) {
    for (float& w : flat(W)) w = random.normal() < 0 ? -1.f : 1.f;
    return W;
  }
  const Index terms = 4 * rank;
  Weight<float> L(n, terms), M(n, terms);
  for (float& x : flat(L)) x = float(random.normal());
  for (float& x : flat(M)) x = float(random.normal());
  for (Index k = 0; k < terms; ++k) L.col(k) /= float(k + 1);
  linalg::multiply(L, linalg::transposed(M), W);
  return W;
}

/// As initialize() calls it.
linalg::TruncatedSvdOptions options() {
  const InitializeOptions defaults;
  return {.rank = rank, .steps = defaults.krylov_steps, .tolerance = defaults.svd_tolerance};
}

void alone(benchmark::State& state, const bench::Backend& backend, bool flat_spectrum, Index n) {
  backend.select();
  const Weight<float> W = test_matrix(flat_spectrum, n);
  linalg::TruncatedSvd<float> svd;
  for (auto _ : state) svd = linalg::truncated_svd<float>(W, options());
  state.counters["captured"] = svd.captured_energy / norm(flat(W)) / norm(flat(W));
}

#ifdef LORASB_HAS_TORCH

void against_torch(benchmark::State& state, const bench::Backend& backend, bool flat_spectrum, Index n) {
  backend.select();
  rival::set_threads(1);
  const Weight<float> W = test_matrix(flat_spectrum, n);
  const double energy = norm(flat(W)) * norm(flat(W));
  linalg::TruncatedSvd<float> ours;
  rival::TorchSvd theirs({W.data(), n, n}, int(rank), 10);
  bench::interleave(
      state, [&] { ours = linalg::truncated_svd<float>(W, options()); }, [&] { theirs.run(); });
  const double captured = ours.captured_energy / energy, their_capture = theirs.captured_energy(int(rank)) / energy;
  // an SVD's captured energy is what the matrix says it is: ‖Uᵀ W V‖ on the diagonal
  Matrix<float> WV(n, rank);
  linalg::multiply(W, ours.V, WV);
  double check = 0;
  for (Index i = 0; i < rank; ++i) {
    const double sigma = double(ours.singular_values(i));
    check += sigma * (2 * dot(&WV(0, i), &ours.U(0, i), n) - sigma);
  }
  if (std::abs(check / energy - captured) > 1e-4) return state.SkipWithError("captured energy is not what it says");
  state.counters["captured"] = captured;
  state.counters["captured_by_rival"] = their_capture;
  state.SetLabel("LibTorch, svd_lowrank(niter = 10)");
}

#endif

const bool registered = [] {
  bench::for_each_backend([](const bench::Backend& backend) {
    if (backend.narrow) return;  // an update is float32
    for (const Index n : {1024, 2048, 4096})
      for (const bool flat_spectrum : {true, false}) {
        const std::string what = std::to_string(n) + "_" + (flat_spectrum ? "flat" : "decaying") + "_r" + std::to_string(rank) +
                                 "/threads:1/" + backend.name;
        benchmark::RegisterBenchmark(("alone/" + what).c_str(), alone, backend, flat_spectrum, n)
            ->Unit(benchmark::kMillisecond);
#ifdef LORASB_HAS_TORCH
        benchmark::RegisterBenchmark(("svd/" + what).c_str(), against_torch, backend, flat_spectrum, n)
            ->Unit(benchmark::kMillisecond)
            ->UseManualTime()
            ->Iterations(5);
#endif
      }
  });
  return true;
}();

}  // namespace
