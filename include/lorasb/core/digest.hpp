// SHA-256: a name for bytes that nobody can give to other bytes.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lorasb {

/// 32 bytes, in the order in which they are written.
using Digest = std::array<std::byte, 32>;

/// 64 lower-case hexadecimal digits.
inline std::string hex(const Digest& digest) {
  std::string text;
  for (const std::byte byte : digest) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

/// The digest of all bytes that `update` was given, in whatever portions. It may be asked for at any time, and more may follow.
/// Anybody can compute it: it shows that bytes are the same, not who wrote them. Source: NIST FIPS 180-4, sections 4 to 6.
class Sha256 {
 public:
  void update(std::span<const std::byte> bytes) {
    std::size_t filled = std::size_t(length_ % block_.size());
    length_ += bytes.size();
    while (!bytes.empty()) {
      const std::size_t n = std::min(bytes.size(), block_.size() - filled);
      std::copy_n(bytes.begin(), n, block_.begin() + std::ptrdiff_t(filled));
      bytes = bytes.subspan(n);
      filled += n;
      if (filled < block_.size()) return;
      compress();
      filled = 0;
    }
  }

  Digest digest() const {
    Sha256 padded = *this;  // a one bit, zeros up to 8 bytes before the end of a block, the length in bits
    const std::size_t zeros = std::size_t((119 - length_ % 64) % 64);
    std::array<std::byte, 72> padding{std::byte(0x80)};
    for (std::size_t i = 0; i < 8; ++i) padding[1 + zeros + i] = std::byte(8 * length_ >> (56 - 8 * i));
    padded.update(std::span(padding).first(1 + zeros + 8));
    Digest out;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::byte(padded.state_[i / 4] >> (24 - 8 * (i % 4)));
    return out;
  }

 private:
  // The first 32 bits of the fractions of the cube roots of the first 64 primes (section 4.2.2).
  static constexpr std::array<std::uint32_t, 64> constants{
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
      0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
      0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
      0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
      0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
      0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

  // Takes in the full block (section 6.2.2, with its names).
  void compress() {
    std::array<std::uint32_t, 64> w;
    for (std::size_t t = 0; t < 16; ++t)
      w[t] = std::uint32_t(block_[4 * t]) << 24 | std::uint32_t(block_[4 * t + 1]) << 16 |
             std::uint32_t(block_[4 * t + 2]) << 8 | std::uint32_t(block_[4 * t + 3]);
    for (std::size_t t = 16; t < 64; ++t) {
      const std::uint32_t x = w[t - 15], y = w[t - 2];
      const std::uint32_t s0 = std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3;
      const std::uint32_t s1 = std::rotr(y, 17) ^ std::rotr(y, 19) ^ y >> 10;
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t t = 0; t < 64; ++t) {
      const std::uint32_t t1 =
          h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + constants[t] + w[t];
      const std::uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<std::uint32_t, 8> step{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state_[i] += step[i];
  }

  // The first 32 bits of the fractions of the square roots of the first 8 primes (section 5.3.3).
  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> block_{};
  std::uint64_t length_ = 0;  // bytes added; the first length % 64 of the block wait for more
};

}  // namespace lorasb
