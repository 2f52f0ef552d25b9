// BERT's normaliser: control characters out, Chinese characters apart, lower case, no accents.
#pragma once

#include <algorithm>
#include <span>

#include "lorasb/text/bert_unicode.hpp"

namespace lorasb::text {

/// In this order, as BertNormalizer of Hugging Face's tokenizers (normalizers/bert.rs):
///     clean_text      drops control characters and U+FFFD; every white space becomes a space
///     chinese_spaces  a space before and behind each Chinese character
///     strip_accents   NFD without non-spacing marks
///     lower_case      each letter in lower case
struct BertNormalizer {
  bool clean_text = true;
  bool chinese_spaces = true;
  bool strip_accents = true;
  bool lower_case = true;

  CodePoints operator()(std::span<const std::int32_t> text) const {
    CodePoints out;
    out.reserve(text.size());
    for (const std::int32_t c : text) {
      if (clean_text && (c == 0 || c == 0xFFFD || is_control(c))) continue;
      const bool apart = chinese_spaces && is_chinese(c);
      if (apart) out.push_back(' ');
      out.push_back(clean_text && is_whitespace(c) ? ' ' : c);
      if (apart) out.push_back(' ');
    }
    if (strip_accents) {
      out = nfd(out);
      std::erase_if(out, bert_unicode::is_nonspacing_mark);
    }
    return lower_case ? lowered(out) : out;
  }

 private:
  /// Categories Cc, Cf, Cs and Co, but for tab, line feed and carriage return.
  static bool is_control(std::int32_t c) { return c != '\t' && c != '\n' && c != '\r' && bert_unicode::is_control(c); }
  /// CJK Unified Ideographs and their extensions A to E, compatibility ideographs; 2B920 is theirs, the block begins at 2B820.
  static constexpr bool is_chinese(std::int32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
  }
};

}  // namespace lorasb::text
