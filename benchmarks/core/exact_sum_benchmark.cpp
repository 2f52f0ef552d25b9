// The exact weighted mean of 1,000 clients, beside a plain mean in double of the same updates.
#include "lorasb/exact/mean.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "benchmarks/interleave.hpp"
#include "lorasb/core/random.hpp"

namespace {

using namespace lorasb;

constexpr int clients = 1000;

// As many different updates as no cache holds, handed in again and again; weights are numbers of examples, 1 to 1000.
template <Real S>
struct Round {
  Index size;
  std::vector<std::vector<S>> updates;
  std::vector<std::uint32_t> weights = std::vector<std::uint32_t>(clients);
  std::vector<S> out = std::vector<S>(std::size_t(size));

  explicit Round(const benchmark::State& state) : size(state.range(0)), updates(std::size_t(64'000'000 / size)) {
    Random random(1);
    std::vector<S> pool(1 << 16);
    for (S& x : pool) x = S(1e-3 * random.normal());
    for (std::vector<S>& update : updates) {
      update.resize(std::size_t(size));
      std::size_t start = 0;
      for (std::size_t i = 0; i < update.size(); ++i) {
        if (i % 1024 == 0) start = random.below(pool.size() - 1024);
        update[i] = pool[start + i % 1024];
      }
    }
    for (std::uint32_t& weight : weights) weight = std::uint32_t(1 + random.below(1000));
  }

  const std::vector<S>& update(int k) const { return updates[std::size_t(k) % updates.size()]; }
  std::uint32_t weight(int k) const { return weights[std::size_t(k)]; }

  void exact() {
    ExactMean<S> mean(size);
    for (int k = 0; k < clients; ++k) mean.add(update(k), weight(k));
    mean.mean(out);
  }

  void plain() {
    std::vector<double> sum(out.size());
    double total = 0;
    for (int k = 0; k < clients; ++k) {
      const S* const x = update(k).data();
      const double w = weight(k);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += w * double(x[i]);
      total += w;
    }
    for (std::size_t i = 0; i < sum.size(); ++i) out[i] = S(sum[i] / total);
  }

  double bytes() const { return double(clients) * double(size) * sizeof(S); }
};

// The plain mean misses the exact one by the roundings of its sum, a thousand at most, of numbers of about 1e-3.
template <Real S>
void check(benchmark::State& state, Round<S>& round) {
  round.exact();
  const std::vector<S> exact = round.out;
  round.plain();
  double worst = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) worst = std::max(worst, std::abs(double(exact[i]) - double(round.out[i])));
  if (!(worst < 1e-3 * clients * 0x1p-53 + 1e-3 * std::numeric_limits<S>::epsilon())) state.SkipWithError("the means differ");
}

template <Real S>
void exact_mean(benchmark::State& state) {
  Round<S> round(state);
  check(state, round);
  bench::interleave(
      state, [&] { round.exact(); }, [&] { round.plain(); }, round.bytes());
  state.SetLabel("plain mean in double");
}

void add(const char* name, void (*run)(benchmark::State&)) {
  benchmark::RegisterBenchmark(name, run)->Arg(1'000'000)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(7);
}
const bool registered = [] {
  add("exact_mean/1000_clients_1M_float/threads:1/-", exact_mean<float>);
  add("exact_mean/1000_clients_1M_double/threads:1/-", exact_mean<double>);
  return true;
}();

}  // namespace
