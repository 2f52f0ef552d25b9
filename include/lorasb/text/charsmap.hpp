// SentencePiece's table of replacements, which its normaliser applies to a text: a "precompiled_charsmap".
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/text/unicode.hpp"

namespace lorasb::text {

/// The bytes of a table are, numbers little-endian,
///
///     uint32 n;  uint32 units[n / 4];  replacements, UTF-8, each behind the last with a zero byte after it
///
/// The units are a trie over bytes, a double array as the package darts-clone writes it: from the unit at p with the offset o a byte c
/// leads to the unit at p ^ o ^ c, if its label is c. A unit with a leaf has the place of its replacement in the unit at p ^ o.
///
/// It is applied as Hugging Face's tokenizers do (normalizers/precompiled.rs, spm_precompiled): a grapheme cluster of less than six
/// bytes becomes the replacement of its shortest prefix that has one, which loses the rest of the cluster ("Ａ" with an accent becomes
/// "A"); else each of its code points that has one becomes its own. A replacement has at most 256 bytes. Clusters are those of
/// Unicode 17, as far as they matter here.
class Charsmap {
 public:
  /// Throws ErrorId::vocabulary when `bytes` are no such table.
  explicit Charsmap(std::string_view bytes) {
    const std::size_t units = bytes.size() < 4 ? 0 : number(bytes, 0) / 4;
    require(units > 0 && units <= bytes.size() / 4 - 1, ErrorId::vocabulary, "Charsmap: ", bytes.size(),
            " bytes are no table of replacements");
    for (std::size_t i = 1; i <= units; ++i) units_.push_back(number(bytes, 4 * i));
    replacements_ = bytes.substr(4 * (units + 1));
    require(!invalid_utf8(replacements_), ErrorId::vocabulary, "Charsmap: the replacements are not UTF-8");
  }

  /// Throws ErrorId::vocabulary where the trie leads to what is no unit and no replacement.
  CodePoints operator()(std::span<const std::int32_t> text) const {
    CodePoints out;
    out.reserve(text.size());
    std::string bytes;
    for (std::size_t first = 0, end = 0; first < text.size(); first = end) {
      end = end_of_cluster(text, first);
      bool whole = false;
      if (end - first > 1) {
        bytes.clear();
        for (std::size_t i = first; i < end && bytes.size() <= longest_cluster; ++i) append_utf8(text[i], bytes);
        whole = bytes.size() <= longest_cluster && replace(bytes, out);
      }
      for (std::size_t i = first; i < end && !whole; ++i) {
        bytes.clear();
        append_utf8(text[i], bytes);
        if (!replace(bytes, out)) out.push_back(text[i]);
      }
    }
    return out;
  }

 private:
  static constexpr std::size_t longest_cluster = 5;  // in bytes, that is looked up whole
  static constexpr std::size_t longest_replacement = 256;

  static std::uint32_t number(std::string_view bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
  }
  static std::size_t end_of_cluster(std::span<const std::int32_t> text, std::size_t first) {
    utf8proc_int32_t state = 0;
    std::size_t end = first + 1;
    while (end < text.size() && (is_newer_mark(text[end]) || !utf8proc_grapheme_break_stateful(text[end - 1], text[end], &state))) ++end;
    return end;
  }
  /// Marks of Unicode 16 and 17 in the blocks whose clusters can be short enough to be looked up whole.
  static bool is_newer_mark(std::int32_t c) { return c == 0x897 || (c >= 0x1ACF && c <= 0x1ADD) || (c >= 0x1AE0 && c <= 0x1AEB); }

  std::uint32_t unit(std::size_t at) const {
    require(at < units_.size(), ErrorId::vocabulary, "Charsmap: unit ", at, " of ", units_.size(), " is wanted: the table is damaged");
    return units_[at];
  }
  static std::size_t offset(std::uint32_t unit) { return static_cast<std::size_t>(unit >> 10) << ((unit & 0x200) >> 6); }

  /// Appends the replacement of the shortest prefix that has one.
  bool replace(std::string_view bytes, CodePoints& out) const {
    std::size_t at = offset(units_[0]);
    for (const char byte : bytes) {
      const std::uint32_t c = static_cast<unsigned char>(byte);
      if (c == 0) return false;
      at ^= c;
      const std::uint32_t found = unit(at);
      if ((found & 0x800000FF) != c) return false;
      at ^= offset(found);
      if ((found & 0x100) == 0) continue;
      const std::size_t place = unit(at) & 0x7FFFFFFF, end = std::min(replacements_.find('\0', place), replacements_.size());
      const bool good = place <= end && end - place <= longest_replacement;
      const std::string_view replacement = std::string_view(replacements_).substr(good ? place : end, end - place);
      require(good && detail::decode(replacement, out) == replacement.size(), ErrorId::vocabulary, "Charsmap: place ", place, " of ",
              replacements_.size(), " holds no replacement of at most ", longest_replacement, " bytes: the table is damaged");
      return true;
    }
    return false;
  }

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

/// Throws ErrorId::vocabulary for what is not base64 with its padding (RFC 4648).
inline std::string decode_base64(std::string_view text) {
  const auto value = [](char c) -> std::optional<std::uint32_t> {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return std::nullopt;
  };
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  bool good = text.size() % 4 == 0;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  for (std::size_t i = 0; good && i < text.size(); ++i) {
    const std::optional<std::uint32_t> six = i < text.size() - padding ? value(text[i]) : 0;
    good = six.has_value();
    bits = bits << 6 | six.value_or(0);
    if (i % 4 == 3)
      for (const int shift : {16, 8, 0}) out.push_back(static_cast<char>(bits >> shift & 0xFF));
  }
  require(good, ErrorId::vocabulary, "decode_base64: ", text.size(), " characters are not base64");
  out.erase(out.end() - static_cast<std::ptrdiff_t>(padding), out.end());
  return out;
}

}  // namespace lorasb::text
