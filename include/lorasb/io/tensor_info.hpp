// What a file says of a tensor: name, type, shape and place.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/dtype.hpp"

namespace lorasb::io {

/// One tensor of a file: row-major, without gaps.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<Index> shape;  // empty for a scalar
  std::size_t begin = 0;     // first byte, counted from the start of the data
  std::size_t end = 0;       // one past the last

  /// The product of the shape; 1 for a scalar.
  Index elements() const { return static_cast<Index>((end - begin) / size_of(dtype)) * row_of(dtype).block_numbers; }
};

/// "768 x 16" for messages; "a scalar" when there are no dimensions.
inline std::string shape_text(std::span<const Index> shape) {
  std::string text;
  for (const Index size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text.empty() ? "a scalar" : text;
}

/// The bytes of a tensor without gaps; nothing when a size is negative, a product does not fit into 63 bits,
/// or narrow numbers fill no whole block.
inline std::optional<std::size_t> shape_bytes(std::span<const Index> shape, Dtype dtype) {
  Index bytes = 1;
  for (const Index size : shape)
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  if (bytes % row_of(dtype).block_numbers != 0) return std::nullopt;
  bytes /= row_of(dtype).block_numbers;
  if (__builtin_mul_overflow(bytes, static_cast<Index>(size_of(dtype)), &bytes)) return std::nullopt;
  return static_cast<std::size_t>(bytes);
}

}  // namespace lorasb::io
