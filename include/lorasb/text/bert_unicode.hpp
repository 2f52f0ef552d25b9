// The categories of code points as BERT's tokenizers know them: those of Unicode 8.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>

#include "lorasb/text/unicode.hpp"

namespace lorasb::text {

/// Hugging Face's tokenizers ask the Rust package unicode_categories, whose tables are of 2016: a mark, sign or control
/// character that Unicode took up later is nothing there, neither taken out of a word nor a place to cut it. utf8proc knows it,
/// so it is left out here. For each code point, alone between two letters, the ids are then those of tokenizers 0.23.
namespace bert_unicode {
namespace detail {

/// Whether Unicode took up the code point after version 8, or moved it to another category. In these ranges of first and last
/// code points no control character, mark without a width or punctuation is older (up to Unicode 16).
inline bool is_newer(std::int32_t c) {
  struct Range {
    std::int32_t first, last;
  };
  static constexpr std::array<Range, 44> ranges{{
      {0x61D, 0x61D},     {0x7FD, 0x7FD},     {0x890, 0x8E2},     {0x9FD, 0x9FE},     {0xA76, 0xA76},     {0xAFA, 0xAFF},
      {0xB55, 0xB55},     {0xC04, 0xC3C},     {0xC77, 0xC77},     {0xC84, 0xC84},     {0xD00, 0xD00},     {0xD3B, 0xD3C},
      {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x180F, 0x1886},   {0x1ABF, 0x1ACE},   {0x1B4E, 0x1B4F},
      {0x1B7D, 0x1B7F},   {0x1DF6, 0x1DFB},   {0x2E43, 0x2E5D},   {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},   {0xA8FF, 0xA8FF},
      {0xA9BD, 0xA9BD},   {0x10D24, 0x10F89}, {0x11070, 0x11074}, {0x110C2, 0x110CD}, {0x111CF, 0x111CF}, {0x1123E, 0x11241},
      {0x1133B, 0x1133B}, {0x113BB, 0x113E2}, {0x11438, 0x1145E}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1182F, 0x11FFF},
      {0x12FF1, 0x13455}, {0x1611E, 0x1612F}, {0x16D6D, 0x16D6F}, {0x16E97, 0x16F4F}, {0x16FE2, 0x16FE4}, {0x1CF00, 0x1CF46},
      {0x1E000, 0x1E5FF}, {0x1E944, 0x1E95F},
  }};
  if (c < ranges.front().first) return false;
  const auto* range = std::ranges::upper_bound(ranges, c, {}, &Range::first);
  return c <= std::prev(range)->last;
}

}  // namespace detail

/// Categories Cc, Cf, Cs and Co.
inline bool is_control(std::int32_t c) {
  return text::detail::category_is(c, UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO) && !detail::is_newer(c);
}
/// Category Mn; U+1734 has a width since Unicode 14, U+111C9 is a mark since Unicode 11.
inline bool is_nonspacing_mark(std::int32_t c) {
  return c == 0x1734 || (text::is_nonspacing_mark(c) && c != 0x111C9 && !detail::is_newer(c));
}
/// Category P; U+166D is a symbol since Unicode 12, U+111C9 a mark since Unicode 11.
inline bool is_punctuation(std::int32_t c) {
  return c == 0x166D || c == 0x111C9 || (text::is_punctuation(c) && !detail::is_newer(c));
}

}  // namespace bert_unicode
}  // namespace lorasb::text
