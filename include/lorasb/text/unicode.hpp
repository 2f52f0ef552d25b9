// What tokenizers ask of a code point, and Unicode normalisation form NFD.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <string>

#include "lorasb/text/utf8.hpp"

namespace lorasb::text {

/// The property White_Space of the Unicode standard.
constexpr bool is_whitespace(std::int32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

namespace detail {

/// Whether the general category of c lies between two of utf8proc's, which are in groups: L, M, N, P, S, Z, C.
inline bool category_is(std::int32_t c, utf8proc_category_t first, utf8proc_category_t last) {
  const utf8proc_category_t category = utf8proc_category(c);
  return category >= first && category <= last;
}

}  // namespace detail

/// General category L.
inline bool is_letter(std::int32_t c) { return detail::category_is(c, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO); }
/// General category N.
inline bool is_number(std::int32_t c) { return detail::category_is(c, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO); }
/// General category M.
inline bool is_mark(std::int32_t c) { return detail::category_is(c, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME); }
/// General category Mn.
inline bool is_nonspacing_mark(std::int32_t c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_MN; }
/// General category P.
inline bool is_punctuation(std::int32_t c) { return detail::category_is(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO); }

namespace detail {

/// The code points decomposed, those below `first` as they are, then marks in canonical order: linear in time but for runs of marks, which
/// are sorted. (utf8proc's own order exchanges neighbours, which is quadratic in a run.)
inline CodePoints decomposed(std::span<const std::int32_t> text, std::int32_t first_decomposed, utf8proc_option_t options) {
  CodePoints out;
  out.reserve(text.size());
  std::array<std::int32_t, 32> parts;  // no code point has more than 18
  for (const std::int32_t c : text) {
    if (c < first_decomposed) {
      out.push_back(c);
      continue;
    }
    const utf8proc_ssize_t count = utf8proc_decompose_char(c, parts.data(), std::ssize(parts), options, nullptr);
    out.insert(out.end(), parts.begin(), parts.begin() + std::clamp<utf8proc_ssize_t>(count, 0, std::ssize(parts)));
  }
  const auto order = [](std::int32_t c) { return utf8proc_get_property(c)->combining_class; };
  const auto moves = [&](std::int32_t c) { return c >= 0x300 && order(c) > 0; };
  for (auto first = std::find_if(out.begin(), out.end(), moves); first != out.end();) {
    const auto end = std::find_if_not(first, out.end(), moves);
    std::stable_sort(first, end, [&](std::int32_t a, std::int32_t b) { return order(a) < order(b); });
    first = std::find_if(end, out.end(), moves);
  }
  return out;
}

}  // namespace detail

/// The code points in NFD (Unicode Standard Annex 15: canonical decomposition, then marks in canonical order).
inline CodePoints nfd(std::span<const std::int32_t> text) { return detail::decomposed(text, 0xC0, UTF8PROC_DECOMPOSE); }

/// Each letter in lower case, whatever stands beside it.
inline CodePoints lowered(std::span<const std::int32_t> text) {
  CodePoints out;
  out.reserve(text.size());
  for (const std::int32_t c : text) {
    out.push_back(c == 0x130 ? 'i' : utf8proc_tolower(c));
    if (c == 0x130) out.push_back(0x307);  // İ, the one letter with two in lower case
  }
  return out;
}

/// Appends the UTF-8 bytes of a code point.
inline void append_utf8(std::int32_t c, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const utf8proc_ssize_t count = utf8proc_encode_char(c, bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(count));
}

}  // namespace lorasb::text
