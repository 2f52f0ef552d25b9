// A bound on how far one update may move the global numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "lorasb/core/sums.hpp"
#include "lorasb/federated/round.hpp"

namespace lorasb::federated {

/// Holds `values` to a distance of options.max_norm from `global`, as many numbers, finite both: by options.norm_rule a
/// refusal, or they are moved back. The distance after it is max_norm at most, rounding included, and finite wherever the
/// numbers lie.
template <Real S>
std::optional<Rejection> bound_norm(std::span<S> values, std::span<const S> global, const ServerOptions& options) {
  std::vector<double> step(values.size());  // half of it, since the whole may be beyond double; then in units of its largest
  double largest = 0;
  for (std::size_t i = 0; i < step.size(); ++i) {
    step[i] = double(values[i]) / 2 - double(global[i]) / 2;
    largest = std::max(largest, std::abs(step[i]));
  }
  if (largest == 0) return std::nullopt;
  for (double& x : step) x /= largest;
  const double units = norm<double>(step);
  if (units * largest <= options.max_norm / 2) return std::nullopt;
  if (options.norm_rule == NormRule::reject)
    return Rejection{Reason::norm,
                   concat("the update is ", 2 * (units * largest), " from the global numbers, allowed are ", options.max_norm)};
  for (std::size_t i = 0; i < step.size(); ++i) {
    const double move = step[i] / units * options.max_norm;
    values[i] = static_cast<S>(double(global[i]) + move);
    if (std::abs(double(values[i]) - double(global[i])) > std::abs(move))  // rounding must not lead out again
      values[i] = std::nextafter(values[i], global[i]);
  }
  return std::nullopt;
}

}  // namespace lorasb::federated
