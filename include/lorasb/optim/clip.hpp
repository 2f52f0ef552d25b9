// Clipping of gradients by their global norm.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::optim {

/// Scales the gradients g in all parts by max_norm / ‖g‖ when ‖g‖ > max_norm, and leaves them alone otherwise. Returns ‖g‖ as
/// it was, over all parts together, in double, right for entries of any size (1e38 in float, 1e300 in double, denormals).
///
/// A norm that is not finite is returned and nothing is scaled: NaN if an entry is NaN, infinity if one is infinite (or the
/// norm is beyond double). The caller decides whether to skip the step or stop. An infinite max_norm only measures. Throws
/// ErrorId::value unless max_norm > 0.
///
/// torch.nn.utils.clip_grad_norm_ divides by ‖g‖ + 1e-6 instead, which leaves a norm up to 1e-6 / ‖g‖ (relative) smaller.
template <Real S>
double clip_global_norm(std::span<const std::span<S>> parts, double max_norm) {
  require(max_norm > 0, ErrorId::value, "clip_global_norm: max_norm is ", max_norm, ", expected a number above 0");
  const std::vector<std::span<const S>> read(parts.begin(), parts.end());
  const double norm = lorasb::norm<S>(read);
  if (!is_finite(norm) || norm <= max_norm) return norm;
  for (const std::span<S> part : parts)
    for (S& x : part) x = static_cast<S>(static_cast<double>(x) / norm * max_norm);
  return norm;
}

/// The same for one flat buffer.
template <Real S>
double clip_global_norm(std::span<S> gradients, double max_norm) {
  return clip_global_norm<S>(std::span<const std::span<S>>(&gradients, 1), max_norm);
}

}  // namespace lorasb::optim
