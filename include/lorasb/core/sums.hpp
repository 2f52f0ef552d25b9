// Sums over long vectors, in double: vectorised, accurate, and the same bits wherever the vectors lie in memory.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb {
namespace detail {

/// Σ term(i) for i < n, in interleaved partial sums: the order depends on n alone, and a compiler can keep them in registers.
template <class Term>
double interleaved_sum(std::size_t n, Term term) {
  constexpr std::size_t width = 16;
  std::array<double, width> sums{};
  const std::size_t whole = n / width * width;
  for (std::size_t i = 0; i < whole; i += width)
    for (std::size_t k = 0; k < width; ++k) sums[k] += term(i + k);
  for (std::size_t i = whole; i < n; ++i) sums[i - whole] += term(i);
  for (std::size_t half = width / 2; half > 0; half /= 2)
    for (std::size_t k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

}  // namespace detail

/// Σ x_i y_i, for n numbers each.
template <Real S>
double dot(const S* x, const S* y, Index n) {
  return detail::interleaved_sum(static_cast<std::size_t>(n), [&](std::size_t i) { return double(x[i]) * double(y[i]); });
}

/// y += factor x, n numbers each.
inline void add_multiple(double factor, const double* x, double* y, Index n) {
  for (Index i = 0; i < n; ++i) y[i] += factor * x[i];
}

/// A power of two that brings `largest` near one, so that squares of numbers up to it stay in the range of double; 1 for 0. No
/// rounding.
inline double in_range_scale(double largest) {
  return largest > 0 ? std::exp2(-std::clamp(std::ilogb(largest), -1000, 1000)) : 1;
}

/// The Euclidean norm of all parts together, for entries of any size (1e38 in float, 1e300 in double, denormals). NaN if an
/// entry is NaN, infinity if one is infinite or the norm is beyond double.
template <Real S>
double norm(std::span<const std::span<const S>> parts) {
  const auto squares = [&](double scale) {
    double total = 0;
    for (const std::span<const S> part : parts)
      total += detail::interleaved_sum(part.size(), [&](std::size_t i) {
        const double x = double(part[i]) * scale;
        return x * x;
      });
    return total;
  };
  const double plain = squares(1);
  // Beyond these bounds squares of doubles overflow or lose digits. Squares of floats never come near them.
  if (plain > 1e-290 && is_finite(plain)) return std::sqrt(plain);
  double largest = 0;
  for (const std::span<const S> part : parts)
    for (const S x : part) largest = std::max(largest, std::abs(double(x)));
  if (largest == 0 || !is_finite(largest)) return plain;                          // 0, infinity or NaN
  const double scale = std::exp2(-std::clamp(std::ilogb(largest), -1022, 1022));  // a power of two: no rounding
  return std::sqrt(squares(scale)) / scale;
}
template <Real S>
double norm(std::span<const S> x) {
  return norm<S>(std::span<const std::span<const S>>(&x, 1));
}

}  // namespace lorasb
