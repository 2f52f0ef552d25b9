// Unicode normalisation form NFKC: one spelling for letters that look alike to a reader ("ﬁ" and "fi", "Ａ" and "A", "é" and "e
// + ´").
#pragma once

#include <algorithm>

#include "lorasb/text/utf8.hpp"

namespace lorasb::text {

/// The text in NFKC (Unicode Standard Annex 15: compatibility decomposition, then composition), as code points, by utf8proc.
/// Letters newer than the installed utf8proc's Unicode version (`utf8proc_unicode_version()`) stay as they are.
/// Throws ErrorId::text, with the position of the byte, when the text is not UTF-8.
inline CodePoints nfkc(std::string_view utf8) {
  CodePoints out = decode_utf8(utf8);
  // Nothing below U+00A0 decomposes or composes with what is below U+00A0.
  if (std::all_of(out.begin(), out.end(), [](std::int32_t c) { return c < 0xA0; })) return out;

  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE);
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(utf8.data());
  const auto decompose = [&] {
    return utf8proc_decompose(bytes, static_cast<utf8proc_ssize_t>(utf8.size()), out.data(),
                              static_cast<utf8proc_ssize_t>(out.size()), options);
  };
  utf8proc_ssize_t length = decompose();  // the size that is needed, also when `out` is too small
  if (length > static_cast<utf8proc_ssize_t>(out.size())) {
    out.resize(static_cast<std::size_t>(length));
    length = decompose();
  }
  if (length >= 0) length = utf8proc_normalize_utf32(out.data(), length, options);
  require(length >= 0, ErrorId::text, "nfkc: ", length < 0 ? utf8proc_errmsg(length) : "");
  out.resize(static_cast<std::size_t>(length));
  return out;
}

}  // namespace lorasb::text
