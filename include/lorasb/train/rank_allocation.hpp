// A rank for each module from the energies of its update, with the same total of trained numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <queue>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/train/initialize_modules.hpp"

namespace lorasb::train {

/// Ranks r_m >= 1 with Σ r_m² <= numbers. A module of rank r + 1 trains 2 r + 1 numbers more than one of rank r and captures σ²
/// of its next singular value more, so ranks are raised one by one where σ²_{r+1} / (2 r + 1) is largest, ties at the first
/// module, until no module can be raised. `singular_values` of each module fall, and bound its rank. Throws ErrorId::rank when
/// `numbers` are fewer than the modules, or a module has no singular value.
inline std::vector<Index> allocate_ranks(const std::vector<std::vector<double>>& singular_values, Index numbers) {
  require(numbers >= std::ssize(singular_values), ErrorId::rank, "allocate_ranks: ", numbers, " numbers for ",
          singular_values.size(), " modules, expected at least one each");
  double largest = 0;  // energies are of values over it: their squares stay in the range of double
  for (const std::vector<double>& values : singular_values)
    if (!values.empty()) largest = std::max(largest, values.front());
  const double scale = in_range_scale(largest);
  std::vector<Index> ranks(singular_values.size(), 1);
  using Gain = std::pair<double, std::ptrdiff_t>;  // per number, and minus the place of the module
  std::priority_queue<Gain> gains;
  const auto offer = [&](std::size_t m) {
    const auto r = static_cast<std::size_t>(ranks[m]);
    if (r >= singular_values[m].size()) return;
    const double value = scale * singular_values[m][r];
    gains.emplace(value * value / double(2 * r + 1), -static_cast<std::ptrdiff_t>(m));
  };
  for (std::size_t m = 0; m < ranks.size(); ++m) {
    require(!singular_values[m].empty(), ErrorId::rank, "allocate_ranks: module ", m, " has no singular value");
    offer(m);
  }
  for (Index left = numbers - std::ssize(singular_values); !gains.empty();) {
    const auto m = static_cast<std::size_t>(-gains.top().second);
    gains.pop();
    const Index more = 2 * ranks[m] + 1;
    if (more > left) continue;  // a module of lower rank may still fit
    left -= more;
    ++ranks[m];
    offer(m);
  }
  return ranks;
}

/// Cuts adapters that were made at a higher rank back to allocate_ranks() of their singular values s R_kk, and their captured
/// energies with them. Only for adapters of dense estimates and updates, before they are trained.
template <Real S>
void allocate_ranks(InitializedModules<S>& start, Index numbers) {
  std::vector<std::vector<double>> singular_values;
  for (const auto& [name, adapter] : start.adapters) {
    singular_values.emplace_back();
    for (Index k = 0; k < adapter.rank(); ++k) singular_values.back().push_back(std::abs(double(adapter.scale * adapter.R(k, k))));
  }
  const std::vector<Index> ranks = allocate_ranks(singular_values, numbers);
  std::size_t m = 0;
  for (auto& [name, adapter] : start.adapters) {
    const Index rank = ranks[m];
    adapter.B = Weight<S>(adapter.B.leftCols(rank));
    adapter.R = Weight<S>(adapter.R.topLeftCorner(rank, rank));
    adapter.A = Weight<S>(adapter.A.topRows(rank));
    double all = 0, kept = 0;
    const double scale = in_range_scale(singular_values[m].front());
    for (std::size_t k = 0; k < singular_values[m].size(); ++k) {
      const double value = scale * singular_values[m][k];
      all += value * value;
      if (static_cast<Index>(k) < rank) kept += value * value;
    }
    ModuleReport& report = start.reports[m];
    report.captured_energy *= kept / all;
    report.numerical_rank = std::min(report.numerical_rank, rank);
    ++m;
  }
}

}  // namespace lorasb::train
