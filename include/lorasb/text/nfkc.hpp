// Unicode normalisation form NFKC: one spelling for letters that look alike to a reader ("ﬁ" and "fi", "Ａ" and "A", "é" and "e
// + ´").
#pragma once

#include <algorithm>

#include "lorasb/text/unicode.hpp"

namespace lorasb::text {

/// The text in NFKC (Unicode Standard Annex 15: compatibility decomposition, then composition), as code points, by utf8proc.
/// Letters newer than the installed utf8proc's Unicode version (`utf8proc_unicode_version()`) stay as they are.
inline CodePoints nfkc(CodePoints out) {
  // Nothing below U+00A0 decomposes or composes with what is below U+00A0.
  if (std::all_of(out.begin(), out.end(), [](std::int32_t c) { return c < 0xA0; })) return out;

  out = detail::decomposed(out, 0xA0, static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT));
  const utf8proc_ssize_t length = utf8proc_normalize_utf32(out.data(), std::ssize(out), static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  require(length >= 0, ErrorId::text, "nfkc: ", length < 0 ? utf8proc_errmsg(length) : "");
  out.resize(static_cast<std::size_t>(length));
  return out;
}
/// Throws ErrorId::text, with the position of the byte, when the text is not UTF-8.
inline CodePoints nfkc(std::string_view utf8) { return nfkc(decode_utf8(utf8)); }

}  // namespace lorasb::text
