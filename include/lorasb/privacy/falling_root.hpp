// Roots of functions that fall: ε of a wanted δ, and the noise of a wanted ε.
#pragma once

#include <algorithm>
#include <limits>

#include "lorasb/core/check.hpp"

namespace lorasb::privacy::detail {

/// A bracket of the root of a function that falls: above 0, or not a number, at `low`; at most 0 at `high`.
struct FallingBracket {
  double low, high, at_low, at_high;

  /// Until it is no wider than `width` or that share of `high`. Secants, and then a little to the side where the root is still
  /// open, so that the bracket closes from both ends; every third point is the middle.
  template <class F>
  void close(const F& f, double width, double share_of_high = 0) {
    for (int i = 0; i < 200; ++i) {
      const double wanted = std::max(width, share_of_high * high);
      if (high - low <= wanted) return;
      const double now = high - low, share = at_low / (at_low - at_high);  // not a number where `at_low` is not finite
      double next = low + now * (is_finite(share) ? std::clamp(share, 0.02, 0.98) : 0.5);
      if (i % 3 == 2) next = 0.5 * (low + high);
      else next += (next - low < high - next ? 0.3 : -0.3) * std::min(now, wanted);
      const double found = f(next);
      const bool is_high = found <= 0;
      (is_high ? high : low) = next;
      (is_high ? at_high : at_low) = found;
    }
  }
};

/// The least x >= 0 with f(x) <= 0, of a function that falls, and more by a share of `accuracy` at most. Infinity where there is
/// none below 1e300; what is not a number counts as too large.
template <class F>
double falling_root(const F& f, double accuracy = 1e-15) {
  FallingBracket bracket{.low = 0, .high = 1, .at_low = f(0.0), .at_high = 0};
  if (bracket.at_low <= 0) return 0;
  while (!((bracket.at_high = f(bracket.high)) <= 0)) {
    if (bracket.high > 1e300) return std::numeric_limits<double>::infinity();
    bracket.low = bracket.high;
    bracket.at_low = bracket.at_high;
    bracket.high *= 2;
  }
  bracket.close(f, 0, accuracy);
  return bracket.high;
}

}  // namespace lorasb::privacy::detail
