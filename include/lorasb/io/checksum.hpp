// A checksum against damage, not against intent.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <cstddef>
#include <cstdint>
#include <span>

namespace lorasb::io {

/// 64-bit FNV-1a over all bytes that are added. Each step is one to one in the state, so a change within a single byte always
/// shows, and other damage passes with a chance of about 2^-64. Anybody can make a file with a wanted checksum: it proves
/// nothing of origin. Source: Fowler, Noll, Vo, Eastlake: The FNV Non-Cryptographic Hash Algorithm (draft-eastlake-fnv).
class Fnv64 {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) state_ = (state_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3;
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace lorasb::io
