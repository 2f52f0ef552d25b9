// The floating-point number nearest to a quotient of integers.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "lorasb/core/types.hpp"

namespace lorasb::detail {

__extension__ typedef unsigned __int128 Natural128;  // g++ and clang have it on every 64-bit machine

/// The smallest positive number of S is 2^-unit_exponent, and every finite number of S is a whole multiple of it.
template <Real S>
constexpr int unit_exponent = std::numeric_limits<S>::digits - std::numeric_limits<S>::min_exponent;

/// N / divisor · 2^-unit_exponent, rounded once, to nearest and ties to even, subnormals included; N = 0 gives +0, and what is
/// too small for S gives a zero of its sign. N = Σ_j digits[j] 2^(32 (first + j)) in two's complement; the digits are
/// overwritten by those of |N|. divisor > 0, and the quotient is in the range of S.
template <Real S>
S round_quotient(std::span<std::uint32_t> digits, int first, std::uint64_t divisor) {
  using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
  constexpr int precision = std::numeric_limits<S>::digits;
  const bool negative = !digits.empty() && digits.back() >> 31 != 0;
  if (negative) {
    std::uint64_t carry = 1;
    for (std::uint32_t& digit : digits) {
      carry += std::uint32_t(~digit);
      digit = std::uint32_t(carry);
      carry >>= 32;
    }
  }
  std::size_t n = digits.size();
  while (n > 0 && digits[n - 1] == 0) --n;
  if (n == 0) return 0;

  // |N| = (leading + a fraction) 2^(length - 128 + 32 first) with 2^127 <= leading < 2^128.
  const auto from_top = [&](std::size_t k) { return k < n ? digits[n - 1 - k] : 0; };
  const int zeros = std::countl_zero(digits[n - 1]);
  const int length = 32 * int(n) - zeros;
  const std::uint64_t fifth = std::uint64_t(from_top(4)) << zeros;
  const std::uint64_t high = std::uint64_t(from_top(0)) << 32 | from_top(1),
                      low = std::uint64_t(from_top(2)) << 32 | from_top(3);
  const Natural128 leading = (Natural128(high) << 64 | low) << zeros | fifth >> 32;
  bool more = std::uint32_t(fifth) != 0 || (leading & 1) != 0;  // whether something lies below the digits of the quotient
  for (std::size_t k = 5; k < n && !more; ++k) more = from_top(k) != 0;

  // |N| / divisor = (quotient + a fraction) 2^exponent with 2^62 <= quotient < 2^64: floors may be taken one after another.
  const int shift = std::countl_zero(divisor);
  const std::uint64_t scaled_divisor = divisor << shift;
  const std::uint64_t quotient = std::uint64_t((leading >> 1) / scaled_divisor);
  more = more || Natural128(quotient) * scaled_divisor != leading >> 1;
  const int exponent = length - 127 + 32 * first + shift;

  const int width = 64 - std::countl_zero(quotient);
  const int dropped = width - precision > -exponent ? width - precision : -exponent;  // at least 62 - 53
  Bits bits = 0;
  if (dropped <= 64) {
    const std::uint64_t kept = dropped < 64 ? quotient >> dropped : 0;
    const std::uint64_t rest = quotient << (64 - dropped), half = std::uint64_t(1) << 63;
    const bool up = rest > half || (rest == half && (more || (kept & 1) != 0));
    // The exponent field of a normal number is one above its place; the leading one of `kept` adds that one, and a carry
    // another.
    bits = (Bits(dropped + exponent) << (precision - 1)) + Bits(kept) + Bits(up);
  }
  return std::bit_cast<S>(bits | (Bits(negative) << (8 * sizeof(S) - 1)));
}

}  // namespace lorasb::detail
