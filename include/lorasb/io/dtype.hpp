// The element types of tensors in files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "lorasb/core/types.hpp"

namespace lorasb::io {

/// The types of the safetensors format whose elements fill whole bytes.
enum class Dtype : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  u16,
  i16,
  f16,
  bf16,
  u32,
  i32,
  f32,
  u64,
  i64,
  f64,
  c64
};

namespace detail {

/// In the order of the enumeration.
inline constexpr std::array<std::string_view, 17> dtype_names{"BOOL", "U8",  "I8",  "F8_E5M2", "F8_E4M3", "F8_E8M0",
                                                              "U16",  "I16", "F16", "BF16",    "U32",     "I32",
                                                              "F32",  "U64", "I64", "F64",     "C64"};
inline constexpr std::array<std::size_t, 17> dtype_sizes{1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8};

}  // namespace detail

/// The name in a safetensors header, such as "BF16".
constexpr std::string_view name_of(Dtype dtype) { return detail::dtype_names[static_cast<std::size_t>(dtype)]; }

/// Bytes of one element.
constexpr std::size_t size_of(Dtype dtype) { return detail::dtype_sizes[static_cast<std::size_t>(dtype)]; }

/// Nothing for a name that is not in the table (the format's 4- and 6-bit types among them).
constexpr std::optional<Dtype> dtype_named(std::string_view name) {
  for (std::size_t i = 0; i < detail::dtype_names.size(); ++i)
    if (detail::dtype_names[i] == name) return static_cast<Dtype>(i);
  return std::nullopt;
}

/// The type in a file that is bit for bit the C++ type T. Half precision has none: it is converted on reading.
template <class T>
inline constexpr Dtype dtype_of = [] {
  static_assert(std::same_as<T, void>, "no element type of a file has the memory layout of T");
  return Dtype::u8;
}();
template <>
inline constexpr Dtype dtype_of<float> = Dtype::f32;
template <>
inline constexpr Dtype dtype_of<double> = Dtype::f64;
template <>
inline constexpr Dtype dtype_of<Eigen::bfloat16> = Dtype::bf16;
template <>
inline constexpr Dtype dtype_of<std::uint8_t> = Dtype::u8;
template <>
inline constexpr Dtype dtype_of<std::int32_t> = Dtype::i32;
template <>
inline constexpr Dtype dtype_of<std::int64_t> = Dtype::i64;

}  // namespace lorasb::io
