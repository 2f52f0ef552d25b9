// Integers of a fixed number of 64-bit words, the form in which exact sums are sent and stored.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "lorasb/exact/round_quotient.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb::detail {

__extension__ typedef __int128 Integer128;

/// The smallest positive number of S is u = 2^-unit_exponent, and all finite ones are below 2^unit_range u.
template <Real S>
constexpr int unit_range = unit_exponent<S> + std::numeric_limits<S>::max_exponent;

/// Words that hold every sum of w x / u with a total weight below 2^64, in two's complement: 6 for float, 34 for double.
template <Real S>
constexpr std::size_t sum_words = std::size_t(unit_range<S> + 64 + 1 + 63) / 64;

/// Word j of weight 2^position.
inline std::uint64_t shifted_word(std::uint64_t weight, int position, std::size_t j) {
  const int left = position - 64 * int(j);
  if (left >= 64 || left <= -64) return 0;
  return left >= 0 ? weight << left : weight >> -left;
}

/// Whether a sum can come from finite numbers of S with this total weight: |sum| <= weight (2^unit_range - 2^(unit_range -
/// digits)), the last factor being the largest number of S in units of u.
template <Real S>
bool is_weighted_sum(std::span<const std::uint64_t> sum, std::uint64_t weight) {
  const bool negative = sum.back() >> 63 != 0;
  Integer128 left = 0;  // the bound minus |sum|, word by word from the lowest
  std::uint64_t word = 0;
  for (std::size_t j = 0; j < sum.size(); ++j) {
    left += Integer128(shifted_word(weight, unit_range<S>, j));
    left -= Integer128(shifted_word(weight, unit_range<S> - std::numeric_limits<S>::digits, j));
    left += negative ? Integer128(sum[j]) : -Integer128(sum[j]);
    word = std::uint64_t(left);
    left >>= 64;
  }
  return word >> 63 == 0;
}

/// Where the bits of an integer lie: it is a whole multiple of 2^low, and its absolute value is below 2^length. Zero: length 0.
struct WordRange {
  int low = 0, length = 0;
};

inline WordRange word_range(std::span<const std::uint64_t> integer) {
  const std::uint64_t sign = integer.back() >> 63 != 0 ? ~std::uint64_t(0) : 0;
  int low = -1, length = 0;
  for (std::size_t j = 0; j < integer.size(); ++j) {
    if (low < 0 && integer[j] != 0) low = int(64 * j) + std::countr_zero(integer[j]);
    if (integer[j] != sign) length = int(64 * j) + 64 - std::countl_zero(integer[j] ^ sign);
  }
  if (low < 0) return {};
  return {.low = low, .length = std::max(length, low + 1)};
}

/// into += from, for integers of equally many words.
inline void add_integer(std::span<const std::uint64_t> from, std::span<std::uint64_t> into) {
  Natural128 sum = 0;
  for (std::size_t j = 0; j < into.size(); ++j) {
    sum += Natural128(into[j]) + from[j];
    into[j] = std::uint64_t(sum);
    sum >>= 64;
  }
}

}  // namespace lorasb::detail
