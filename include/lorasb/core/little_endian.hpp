// Whole numbers as bytes in files and digests: eight of them, the lowest first, whatever the machine does.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace lorasb {

inline std::array<std::byte, 8> little_endian(std::uint64_t number) {
  std::array<std::byte, 8> bytes;
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(number >> (8 * i));
  return bytes;
}
inline std::uint64_t from_little_endian(std::span<const std::byte, 8> bytes) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8; ++i) number |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return number;
}

}  // namespace lorasb
