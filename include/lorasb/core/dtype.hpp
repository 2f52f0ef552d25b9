// The types of stored numbers: names in files, numbers and bytes of a block.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "lorasb/core/enum_table.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb {

/// How numbers are stored in a file or in a frozen weight.
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
  c64,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4
};

/// One row of the table of types. A type is stored in blocks of `block_numbers` numbers that take `block_bytes` bytes together;
/// plain types have blocks of one number.
struct DtypeRow {
  Dtype dtype;
  std::string_view name;  // in a safetensors header
  Index block_numbers;
  std::size_t block_bytes;
};

/// Row i describes the type with the value i.
inline constexpr std::array<DtypeRow, 22> dtype_table{{
    {Dtype::boolean, "BOOL", 1, 1},
    {Dtype::u8, "U8", 1, 1},
    {Dtype::i8, "I8", 1, 1},
    {Dtype::f8_e5m2, "F8_E5M2", 1, 1},
    {Dtype::f8_e4m3, "F8_E4M3", 1, 1},
    {Dtype::f8_e8m0, "F8_E8M0", 1, 1},
    {Dtype::u16, "U16", 1, 2},
    {Dtype::i16, "I16", 1, 2},
    {Dtype::f16, "F16", 1, 2},
    {Dtype::bf16, "BF16", 1, 2},
    {Dtype::u32, "U32", 1, 4},
    {Dtype::i32, "I32", 1, 4},
    {Dtype::f32, "F32", 1, 4},
    {Dtype::u64, "U64", 1, 8},
    {Dtype::i64, "I64", 1, 8},
    {Dtype::f64, "F64", 1, 8},
    {Dtype::c64, "C64", 1, 8},
    {Dtype::f8_e4m3fnuz, "F8_E4M3FNUZ", 1, 1},
    {Dtype::f8_e5m2fnuz, "F8_E5M2FNUZ", 1, 1},
    {Dtype::f6_e2m3, "F6_E2M3", 4, 3},  // less than a byte: their bytes can be taken, their numbers cannot be read
    {Dtype::f6_e3m2, "F6_E3M2", 4, 3},
    {Dtype::f4, "F4", 2, 1},
}};
static_assert(detail::rows_are_in_order(dtype_table, &DtypeRow::dtype));

constexpr const DtypeRow& row_of(Dtype dtype) { return dtype_table[static_cast<std::size_t>(dtype)]; }

/// The name in a safetensors header, such as "BF16".
constexpr std::string_view name_of(Dtype dtype) { return row_of(dtype).name; }

/// Bytes of one block; of one number for every type that is stored number by number.
constexpr std::size_t size_of(Dtype dtype) { return row_of(dtype).block_bytes; }

/// Bytes of `numbers` numbers, a multiple of the type's block.
constexpr std::size_t bytes_of(Dtype dtype, Index numbers) {
  return static_cast<std::size_t>(numbers / row_of(dtype).block_numbers) * row_of(dtype).block_bytes;
}

/// The type of that name; nothing for a name that is not in the table.
constexpr std::optional<Dtype> dtype_named(std::string_view name) {
  for (const DtypeRow& row : dtype_table)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

/// The stored type that is bit for bit the C++ type T.
template <class T>
inline constexpr Dtype dtype_of = [] {
  static_assert(std::same_as<T, void>, "no stored type has the memory layout of T");
  return Dtype::u8;
}();
template <>
inline constexpr Dtype dtype_of<float> = Dtype::f32;
template <>
inline constexpr Dtype dtype_of<double> = Dtype::f64;
template <>
inline constexpr Dtype dtype_of<Eigen::bfloat16> = Dtype::bf16;
template <>
inline constexpr Dtype dtype_of<Eigen::half> = Dtype::f16;
template <>
inline constexpr Dtype dtype_of<std::uint8_t> = Dtype::u8;
template <>
inline constexpr Dtype dtype_of<std::int32_t> = Dtype::i32;
template <>
inline constexpr Dtype dtype_of<std::int64_t> = Dtype::i64;

/// Whether the type has fractions: an index, a mask or a count has none, and is not trained.
constexpr bool is_floating(Dtype dtype) {
  switch (dtype) {
    case Dtype::boolean:
    case Dtype::u8:
    case Dtype::i8:
    case Dtype::u16:
    case Dtype::i16:
    case Dtype::u32:
    case Dtype::i32:
    case Dtype::u64:
    case Dtype::i64:
      return false;
    default:
      return true;
  }
}

}  // namespace lorasb
