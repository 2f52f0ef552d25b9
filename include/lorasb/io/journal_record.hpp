// The bytes of a journal's record: what stands around its content, and the configuration as a content.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/digest.hpp"
#include "lorasb/core/little_endian.hpp"

namespace lorasb::io::detail {

/// Name and text in turn, in the order of the names, each after the number of its bytes.
inline std::vector<std::byte> config_bytes(const std::map<std::string, std::string>& config) {
  std::vector<std::byte> bytes;
  const auto put = [&bytes](const std::string& text) {
    for (const std::byte byte : little_endian(text.size())) bytes.push_back(byte);
    for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  };
  for (const auto& [name, text] : config) put(name), put(text);
  return bytes;
}
/// Nothing when the bytes are no such thing.
inline std::optional<std::map<std::string, std::string>> config_from(std::span<const std::byte> bytes) {
  bool good = true;
  const auto take = [&]() -> std::string {
    const std::uint64_t length = bytes.size() < 8 ? 0 : from_little_endian(bytes.first<8>());
    good = good && bytes.size() >= 8 && length <= bytes.size() - 8;
    if (!good) return {};
    std::string text(reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<std::size_t>(length));
    bytes = bytes.subspan(8 + text.size());
    return text;
  };
  std::map<std::string, std::string> config;
  while (good && !bytes.empty()) {
    std::string name = take();
    std::string text = take();
    good = config.emplace(std::move(name), std::move(text)).second && good;
  }
  return good ? std::optional(std::move(config)) : std::nullopt;
}

/// What stands around the content of a record. With n its length and d' the digest of the record before (zeros for the first):
///   head    n (8 bytes), then the first 8 of SHA-256(d', n): a damaged length shows before anybody believes it
///   digest  SHA-256(d', n, content), 32 bytes: so a record shows that is not where it was written
class RecordFrame {
 public:
  RecordFrame(const Digest& before, std::uint64_t length) {
    const std::array<std::byte, 8> n = little_endian(length);
    sha_.update(before);
    sha_.update(n);
    const Digest check = sha_.digest();
    std::copy_n(n.begin(), 8, head_.begin());
    std::copy_n(check.begin(), 8, head_.begin() + 8);
  }
  const std::array<std::byte, 16>& head() const { return head_; }
  Digest digest(std::span<const std::byte> content) const {
    Sha256 sha = sha_;
    sha.update(content);
    return sha.digest();
  }

 private:
  Sha256 sha_;
  std::array<std::byte, 16> head_;
};

}  // namespace lorasb::io::detail
