// Two ways of doing the same thing timed in turns, so that what else the machine does meets both alike.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

namespace bench {

/// Wall and CPU seconds, the latter of all threads of this process.
struct Seconds {
  double wall, cpu;
};

template <class F>
Seconds time(const F& f) {
  const auto cpu_now = [] {
    std::timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
  const double cpu = cpu_now();
  const auto wall = std::chrono::steady_clock::now();
  f();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count(), cpu_now() - cpu};
}

/// `share` of the sorted numbers lie below: 0.5 is the median.
inline double quantile(std::vector<double> numbers, double share) {
  std::sort(numbers.begin(), numbers.end());
  const double place = share * double(numbers.size() - 1);
  const std::size_t below = std::size_t(place), above = std::min(below + 1, numbers.size() - 1);
  return numbers[below] + (place - double(below)) * (numbers[above] - numbers[below]);
}

/// A pair is one call of `ours` and one of `rival`, the first of them by turns; each is called once before. Reports
/// ratio = rival's time / ours of each pair, its median and quartiles, by wall time and by CPU time, and both medians in
/// seconds. `work` is what one call does, in operations or bytes; 0: no rate. A rival that does a part of the work counts as
/// `rival_share` calls.
template <class Ours, class Rival>
void interleave(benchmark::State& state, const Ours& ours, const Rival& rival, double work = 0, double rival_share = 1) {
  std::vector<double> ours_wall, rival_wall, ratios, cpu_ratios;
  ours();
  rival();
  for (auto _ : state) {
    Seconds a, b;
    if (ratios.size() % 2 == 0) {
      a = time(ours);
      b = time(rival);
    } else {
      b = time(rival);
      a = time(ours);
    }
    b = {b.wall * rival_share, b.cpu * rival_share};
    state.SetIterationTime(a.wall);
    ours_wall.push_back(a.wall);
    rival_wall.push_back(b.wall);
    ratios.push_back(b.wall / a.wall);
    cpu_ratios.push_back(b.cpu / a.cpu);
  }
  auto& report = state.counters;
  report["ratio"] = quantile(ratios, 0.5);
  report["ratio_low"] = quantile(ratios, 0.25);
  report["ratio_high"] = quantile(ratios, 0.75);
  report["cpu_ratio"] = quantile(cpu_ratios, 0.5);
  report["ours_s"] = quantile(ours_wall, 0.5);
  report["rival_s"] = quantile(rival_wall, 0.5);
  if (work > 0) report["rate"] = work / quantile(ours_wall, 0.5);
}

}  // namespace bench
