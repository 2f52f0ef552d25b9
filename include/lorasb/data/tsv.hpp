// Reads a user's own texts: files with lines `label<TAB>text`, or a text on each line.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/data/labels.hpp"

namespace lorasb::data {

/// How the lines of a file are to be read.
struct TsvOptions {
  bool header = false;                              // the first line has names, and is passed over
  bool pairs = false;                               // label<TAB>text<TAB>text
  ProblemType problem = ProblemType::single_label;  // what stands before the first tab: a class, labels with commas, a number
  OptionNames names = {};                           // for messages
};

/// What a file held beside its rows.
struct TsvReport {
  std::size_t lines = 0;           // of the file
  std::size_t trimmed_labels = 0;  // with white space around them
  std::size_t empty_lines = 0;     // at the end, left out
};

namespace detail {

/// What a file that is no UTF-8 may be, from its first bytes; empty when they say nothing.
inline std::string_view other_format(std::string_view first_bytes) {
  if (first_bytes.starts_with("\xFF\xFE") || first_bytes.starts_with("\xFE\xFF")) return "; the file is UTF-16: save it as UTF-8";
  if (first_bytes.starts_with("\x1F\x8B")) return "; the file is compressed (gzip): unpack it";
  if (first_bytes.starts_with("PK\x03\x04")) return "; the file is a zip archive or a spreadsheet: save it as text with tabs";
  return {};
}

inline constexpr const char* old_line_ends =
    " is the whole file: its lines end in carriage returns alone; save it with line feeds (Unix or Windows line ends)";

/// Whether there is a tab with a text on both sides.
inline bool is_pair(std::string_view texts) {
  const std::size_t tab = texts.find('\t');
  return tab != std::string_view::npos && texts.substr(0, tab).find_first_not_of(' ') != std::string_view::npos &&
         texts.find_first_not_of(" \t", tab) != std::string_view::npos;
}

}  // namespace detail

/// The lines of one file. The text goes on to the end of the line, further tabs belong to it; a carriage return at the end of a
/// line, a byte order mark at the start and empty lines at the end are passed over, and with `header` the first line. Labels
/// are trimmed and spelt as texts are (NFKC). Throws ErrorId::data, with file and line, for a line with no tab, no label or no
/// text, an empty line before others, and for a file that is empty, missing, or has carriage returns as line ends;
/// ErrorId::text for a line that is not UTF-8. With `pairs` the text is two, and stays as it is: the first tab in it lies
/// between them. The lines of a multi-label `problem` may have nothing before their first tab.
inline std::vector<Row> read_tsv_file(const std::filesystem::path& path, const TsvOptions& options = {},
                                      TsvReport* report = nullptr) {
  std::ifstream file(path, std::ios::binary);
  require(file.good() && !std::filesystem::is_directory(path), ErrorId::data, "read_tsv: cannot open \"", path.string(), "\"");
  std::vector<Row> rows;
  TsvReport found;
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t number = ++found.lines;
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    const auto check = [&](bool good, ErrorId id, const auto&... what) {
      require(good, id, "read_tsv: \"", path.string(), "\", line ", number, what...);
    };
    if (number == 1 && file.eof()) check(line.find('\r') == std::string::npos, ErrorId::data, detail::old_line_ends);
    if (line.find_first_not_of(" \t") == std::string::npos) {
      ++found.empty_lines;
      continue;
    }
    if (found.empty_lines > 0)
      throw Error(ErrorId::data, concat("read_tsv: \"", path.string(), "\", line ", number - 1,
                                        " is empty, expected label<TAB>text; empty lines may stand at the end alone"));
    const std::optional<std::size_t> byte = text::invalid_utf8(line);
    check(!byte, ErrorId::text, ": byte ", byte.value_or(0), " (counted from 0) is not UTF-8",
          number == 1 ? detail::other_format(line) : "");
    if (options.header && number == 1) continue;
    const std::size_t tab = line.find('\t');
    check(tab != std::string::npos, ErrorId::data, " has no tab, expected label<TAB>text",
          line.find_first_of(",;") == std::string::npos ? "" : "; commas and semicolons do not part them");
    check(std::string_view(line).substr(0, tab).find('\0') == std::string_view::npos, ErrorId::data,
          " has a NUL byte in its label; if the file is UTF-16, save it as UTF-8");
    const bool may_lack = options.problem == ProblemType::multi_label;
    check(tab > 0 || may_lack, ErrorId::data, " has no label before its tab");
    check(line.find_first_not_of(" \t", tab) != std::string::npos, ErrorId::data, " has no text after its tab");
    if (options.pairs)
      check(detail::is_pair(std::string_view(line).substr(tab + 1)), ErrorId::data,
            " has no two texts, expected label<TAB>text<TAB>text");
    auto [label, trimmed] = clean_label(std::string_view(line).substr(0, tab));
    check(!label.empty() || may_lack, ErrorId::data, " has a label of white space alone");
    found.trimmed_labels += trimmed;
    rows.push_back({line.substr(tab + 1), std::move(label)});
  }
  require(!rows.empty(), ErrorId::data, "read_tsv: \"", path.string(), "\" is empty");
  if (report != nullptr) *report = found;
  return rows;
}

/// The lines of a file of labelled texts as examples with labels among `labels`, those of a classifier that is there; their order
/// decides the numbers. `reader` begins the messages. Throws what read_tsv_file() and label_rows() throw: ErrorId::data, with the
/// line, for a label that is none of them.
///
///     const std::vector<Example> held_out = read_labelled_file("test.tsv", {"ham", "spam"});
inline std::vector<Example> read_labelled_file(const std::filesystem::path& path, const std::vector<std::string>& labels,
                                               const TsvOptions& options = {},
                                               std::string_view reader = "read_labelled_file") {
  return label_rows(read_tsv_file(path, options), options.problem, labels, {reader, path, options.header, options.names},
                    "which the classifier does not know");
}

/// A text on each line, or with `pairs` two, with a tab between them; empty lines are texts too. A byte order mark and carriage
/// returns at the ends of lines are left out. `reader` begins the messages. Throws ErrorId::data for a file that cannot be opened or
/// has carriage returns as line ends, and a line that is no pair, ErrorId::text for one that is not UTF-8.
inline std::vector<std::string> read_text_lines(const std::filesystem::path& path, bool pairs = false,
                                                std::string_view reader = "read_text_lines") {
  std::ifstream file(path, std::ios::binary);
  require(file.good() && !std::filesystem::is_directory(path), ErrorId::data, reader, ": cannot open \"", path.string(), "\"");
  std::vector<std::string> lines;
  std::string line;
  while (std::getline(file, line)) {
    if (lines.empty() && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    const auto check = [&](bool good, ErrorId id, const auto&... what) {
      require(good, id, reader, ": \"", path.string(), "\", line ", lines.size() + 1, what...);
    };
    if (lines.empty() && file.eof()) check(line.find('\r') == std::string::npos, ErrorId::data, detail::old_line_ends);
    check(!text::invalid_utf8(line), ErrorId::text, " is not UTF-8", lines.empty() ? detail::other_format(line) : "");
    check(!pairs || detail::is_pair(line), ErrorId::data, " has no two texts, expected text<TAB>text");
    lines.push_back(line);
  }
  return lines;
}

}  // namespace lorasb::data
