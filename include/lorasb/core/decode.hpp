// From stored numbers to the numbers that layers compute in: one table for every type that a frozen weight can have.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "lorasb/core/dtype.hpp"

namespace lorasb {

/// The upper half of a float: its sign, its exponent and 7 bits of its significand. Half the memory and traffic of float32.
using Bfloat16 = Eigen::bfloat16;

/// Rounds to the nearest bfloat16, ties to even; NaN stays NaN, under -ffast-math too. Both arrays hold n numbers. The loop has
/// no branches, so that compilers vectorise it.
inline void to_bfloat16(const float* from, Bfloat16* to, Index n) {
  for (Index i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, from + i, sizeof bits);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to[i].value = static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
  }
}
/// Every bfloat16 is a float.
template <Real S>
void from_bfloat16(const Bfloat16* from, S* to, Index n) {
  for (Index i = 0; i < n; ++i) to[i] = static_cast<S>(std::bit_cast<float>(static_cast<std::uint32_t>(from[i].value) << 16));
}

/// Writes `numbers` stored numbers, a multiple of the type's block, as S.
template <Real S>
using Decode = void (*)(const std::byte* from, S* to, Index numbers);

namespace detail {

/// Number by number through memcpy: the address need not be a multiple of the size of T.
template <class T, Real S>
void decode_plain(const std::byte* from, S* to, Index numbers) {
  for (Index i = 0; i < numbers; ++i) {
    T stored;
    std::memcpy(&stored, from + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
    to[i] = static_cast<S>(stored);
  }
}
template <Real S>
void decode_bfloat16(const std::byte* from, S* to, Index numbers) {
  for (Index i = 0; i < numbers; ++i) {
    std::uint16_t stored;
    std::memcpy(&stored, from + 2 * static_cast<std::size_t>(i), sizeof stored);
    to[i] = static_cast<S>(std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16));
  }
}

}  // namespace detail

/// The function that decodes a type into S; null for a type that is no kind of real number. Exact, except that F64 is rounded
/// to the nearest float.
template <Real S>
constexpr Decode<S> decoder(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64:
      return detail::decode_plain<double, S>;
    case Dtype::f32:
      return detail::decode_plain<float, S>;
    case Dtype::f16:
      return detail::decode_plain<Eigen::half, S>;
    case Dtype::bf16:
      return detail::decode_bfloat16<S>;
    default:
      return nullptr;
  }
}

/// Whether every number of the type is a number of S, so that a frozen weight of that type can stand for one of S.
template <Real S>
constexpr bool decodes_exactly(Dtype dtype) {
  return decoder<S>(dtype) != nullptr && size_of(dtype) <= sizeof(S);
}

}  // namespace lorasb
