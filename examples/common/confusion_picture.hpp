// A picture of which classes are taken for which.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "examples/common/library.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/data/metrics.hpp"
#include "lorasb/io/atomic_file.hpp"
#include "lorasb/text/nfkc.hpp"

namespace lorasb::examples {

/// Text that stands between tags: at most 24 characters, without control characters, `&`, `<`, `>` and quotes as entities.
inline std::string svg_text(std::string_view utf8) {
  std::string out;
  int left = 24;
  for (const std::int32_t c : text::decode_utf8(utf8)) {
    if (--left < 0) return out + "…";
    const std::string_view entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : "";
    if (entity.empty())
      text::append_utf8(c < 32 || c == 127 ? ' ' : c, out);
    else
      out += entity;
  }
  return out;
}

/// A row for each true class, a column for each given one, counts in the squares, darker the larger their share of the row. The
/// file grows with classes and counts, not with their squares: what is 0 is the white ground.
inline void write_confusion_picture(const std::filesystem::path& path, const ConfusionMatrix& m,
                                    const std::vector<std::string>& names) {
  const Index side = m.classes() <= 20 ? 40 : 24, left = 190, top = 190;
  const Index size = side * m.classes();
  std::string svg = concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", left + size + 20, "\" height=\"",
                           top + size + 20, "\" font-family=\"sans-serif\" font-size=\"", side / 4 + 2,
                           "\">\n<text x=\"10\" y=\"20\" font-size=\"12\">rows: true class, "
                           "columns: given class; accuracy ",
                           accuracy(m), ", macro F1 ", macro_f1(m), "</text>\n");
  for (Index c = 0; c < m.classes(); ++c) {
    const std::string name = svg_text(names[static_cast<std::size_t>(c)]);
    const Index middle = side * c + side / 2;
    svg +=
        concat("<text text-anchor=\"end\" x=\"", left - 6, "\" y=\"", top + middle + 4, "\">", name,
               "</text>\n<text transform=\"translate(", left + middle + 4, ",", top - 6, ") rotate(-60)\">", name, "</text>\n");
  }
  svg += concat("<rect x=\"", left, "\" y=\"", top, "\" width=\"", size, "\" height=\"", size, "\" fill=\"rgb(255,255,255)\"/>\n");
  for (const auto& [cell, count] : m.cells()) {
    const auto [c, p] = cell;
    const double share = double(count) / double(m.of_truth(c));
    const int light = int(255 - 205 * share);
    svg += concat("<rect x=\"", left + side * p, "\" y=\"", top + side * c, "\" width=\"", side - 1, "\" height=\"", side - 1,
                  "\" fill=\"rgb(", light, ",", light, ",255)\"/><text text-anchor=\"middle\" x=\"", left + side * p + side / 2,
                  "\" y=\"", top + side * c + side / 2 + 4, "\" fill=\"", share > 0.6 ? "white" : "black", "\">", count,
                  "</text>\n");
  }
  io::write_file(path, svg + "</svg>\n");
}

}  // namespace lorasb::examples
