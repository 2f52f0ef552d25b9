// Clipping of gradients by their global norm.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "lorasb/core/check.hpp"

namespace lorasb::optim {
namespace detail {

/// Σ (x_i / scale)² in eight interleaved sums: it vectorises, and its bits do not depend on where x lies in memory.
template <Real S>
double sum_of_squares(std::span<const S> x, double scale) {
  std::array<double, 8> sums{};
  const auto add = [&](std::size_t k, S value) {
    const double y = static_cast<double>(value) / scale;
    sums[k] += y * y;
  };
  const std::size_t whole = x.size() / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8)
    for (std::size_t k = 0; k < 8; ++k) add(k, x[i + k]);
  for (std::size_t i = whole; i < x.size(); ++i) add(i - whole, x[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/// The norm of all parts together, for entries of any size.
template <Real S>
double global_norm(std::span<const std::span<S>> parts) {
  const auto sum = [&](double scale) {
    double total = 0;
    for (const std::span<S> part : parts) total += sum_of_squares<S>(part, scale);
    return total;
  };
  const double plain = sum(1);
  // Beyond these bounds squares of doubles overflow or lose digits. Squares of floats never come near them.
  if (plain > 1e-290 && plain < std::numeric_limits<double>::infinity()) return std::sqrt(plain);
  double largest = 0;
  for (const std::span<S> part : parts)
    for (const S x : part) largest = std::max(largest, std::abs(static_cast<double>(x)));
  if (largest == 0 || std::isinf(largest)) return plain;  // 0, infinity or NaN
  return largest * std::sqrt(sum(largest));
}

}  // namespace detail

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
  const double norm = detail::global_norm<S>(parts);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
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
