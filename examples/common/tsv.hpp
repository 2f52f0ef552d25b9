// Reads the user's own texts from two files with lines `label<TAB>text`.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "examples/common/labelled_rows.hpp"

namespace lorasb::examples {

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

/// Whether there is a tab with a text on both sides.
inline bool is_pair(std::string_view texts) {
  const std::size_t tab = texts.find('\t');
  return tab != std::string_view::npos && texts.substr(0, tab).find_first_not_of(' ') != std::string_view::npos &&
         texts.find_first_not_of(" \t", tab) != std::string_view::npos;
}

/// "3 classes: rare (1), other (20), most (400)", rare ones first, at most 30 of them. `kind` is what they are.
inline std::string class_note(const std::vector<std::pair<std::string, std::size_t>>& counts, std::string_view kind = "classes") {
  constexpr std::size_t most = 30;
  std::vector<std::pair<std::string, std::size_t>> sorted = counts;
  std::ranges::stable_sort(sorted, {}, [](const auto& c) { return c.second; });
  std::string note = concat(sorted.size(), " ", kind, ": ");
  for (std::size_t i = 0; i < std::min(most, sorted.size()); ++i)
    note += concat(i == 0 ? "" : ", ", visible(sorted[i].first), " (", sorted[i].second, ")");
  if (sorted.size() > most) note += concat(" and ", sorted.size() - most, " more");
  return note;
}

/// What the training texts should come out as, in words.
inline std::string target_note(const Corpus& corpus, ProblemType problem) {
  if (problem == ProblemType::regression) {
    const auto [least, most] =
        std::ranges::minmax_element(corpus.examples, {}, [](const Example& e) { return e.values.front(); });
    return concat("numbers from ", least->values.front(), " to ", most->values.front());
  }
  std::vector<std::pair<std::string, std::size_t>> counts;
  for (const std::string& name : corpus.label_names) counts.emplace_back(name, 0);
  std::size_t without = 0;
  for (const Example& example : corpus.examples) {
    if (problem == ProblemType::single_label) ++counts[static_cast<std::size_t>(example.label)].second;
    for (std::size_t c = 0; c < example.values.size(); ++c) counts[c].second += example.values[c] > 0;
    without += std::ranges::count(example.values, 0.0f) == std::ssize(counts);
  }
  if (problem == ProblemType::single_label) return class_note(counts);
  return concat(class_note(counts, "labels"), "; ", without, " texts without any");
}

}  // namespace detail

/// The lines of one file. The text goes on to the end of the line, further tabs belong to it; a carriage return at the end of a
/// line, a byte order mark at the start and empty lines at the end are passed over, and with `header` the first line. Labels
/// are trimmed and spelt as texts are (NFKC). Throws ErrorId::data, with file and line, for a line with no tab, no label or no
/// text, an empty line before others, and for a file that is empty, missing, or has carriage returns as line ends;
/// ErrorId::text for a line that is not UTF-8. With `pairs` the text is two, and stays as it is: the first tab in it lies
/// between them. The lines of a multi-label `problem` may have nothing before their first tab.
inline std::vector<Row> read_tsv_file(const std::filesystem::path& path, bool header = false, TsvReport* report = nullptr,
                                      bool pairs = false, ProblemType problem = ProblemType::single_label) {
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
    if (number == 1 && file.eof())
      check(line.find('\r') == std::string::npos, ErrorId::data,
            " is the whole file: its lines end in carriage returns alone; save it with line feeds (Unix or Windows line ends)");
    if (line.find_first_not_of(" \t") == std::string::npos) {
      ++found.empty_lines;
      continue;
    }
    if (found.empty_lines > 0)
      throw Error(ErrorId::data, concat("read_tsv: \"", path.string(), "\", line ", number - 1, " is empty, expected label<TAB>text; empty lines "
                                        "may stand at the end alone"));
    const std::optional<std::size_t> byte = text::invalid_utf8(line);
    check(!byte, ErrorId::text, ": byte ", byte.value_or(0), " (counted from 0) is not UTF-8",
          number == 1 ? detail::other_format(line) : "");
    if (header && number == 1) continue;
    const std::size_t tab = line.find('\t');
    check(tab != std::string::npos, ErrorId::data, " has no tab, expected label<TAB>text",
          line.find_first_of(",;") == std::string::npos ? "" : "; commas and semicolons do not part them");
    check(std::string_view(line).substr(0, tab).find('\0') == std::string_view::npos, ErrorId::data,
          " has a NUL byte in its label; if the file is UTF-16, save it as UTF-8");
    const bool may_lack = problem == ProblemType::multi_label;
    check(tab > 0 || may_lack, ErrorId::data, " has no label before its tab");
    check(line.find_first_not_of(" \t", tab) != std::string::npos, ErrorId::data, " has no text after its tab");
    if (pairs)
      check(detail::is_pair(std::string_view(line).substr(tab + 1)), ErrorId::data,
            " has no two texts, expected label<TAB>text<TAB>text");
    auto [label, trimmed] = detail::clean_label(std::string_view(line).substr(0, tab));
    check(!label.empty() || may_lack, ErrorId::data, " has a label of white space alone");
    found.trimmed_labels += trimmed;
    rows.push_back({line.substr(tab + 1), std::move(label)});
  }
  require(!rows.empty(), ErrorId::data, "read_tsv: \"", path.string(), "\" is empty");
  if (report != nullptr) *report = found;
  return rows;
}

/// Nothing is left out of the user's texts. Notes tell for each file how many lines it has and what was passed over, the
/// classes or labels with their counts or the range of the numbers, and how many of the test set stand in the training file too.
/// With `header` the first line of both is passed over. Throws what read_tsv_file does, and ErrorId::data, with file and line,
/// for a label of the test file that training never shows and that is not `known`, and what label_rows() throws.
inline Corpus read_tsv(const std::filesystem::path& train, const std::filesystem::path& test, bool header = false,
                       bool pairs = false, const std::vector<std::string>& known = {},
                       ProblemType problem = ProblemType::single_label) {
  Corpus corpus;
  const auto read = [&](const std::filesystem::path& path) {
    TsvReport report;
    std::vector<Row> rows = read_tsv_file(path, header, &report, pairs, problem);
    std::string note = concat(path.string(), ": ", report.lines, " lines");
    if (header) note += ", 1 left out (the header)";
    if (report.empty_lines > 0) note += concat(", ", report.empty_lines, " left out (empty, at the end)");
    if (report.trimmed_labels > 0) note += concat(", ", report.trimmed_labels, " labels without the white space around them");
    corpus.notes.push_back(std::move(note));
    return rows;
  };
  std::vector<Row> train_rows = read(train);
  std::vector<Row> test_rows = read(test);
  const RowSource train_source{"read_tsv", train, header}, test_source{"read_tsv", test, header};
  if (problem == ProblemType::single_label)
    for (const auto& [name, number] : number_labels(train_rows, "read_tsv", known)) corpus.label_names.push_back(name);
  else if (problem == ProblemType::multi_label)
    corpus.label_names = multi_label_names(train_rows, known, train_source);
  else
    corpus.label_names = known.empty() ? std::vector<std::string>{regression_label} : known;
  const std::string unknown = concat("which \"", train.string(), "\" never shows");
  corpus.examples = label_rows(std::move(train_rows), problem, corpus.label_names, train_source, unknown);
  corpus.notes.push_back(detail::target_note(corpus, problem));
  const std::int32_t first = corpus.examples.front().label;
  if (problem == ProblemType::single_label && !header && corpus.label_names.size() > 2 &&
      std::ranges::count(corpus.examples, first, &Example::label) == 1)
    corpus.notes.push_back(concat("the first line of ", train.string(), " is the one example of \"",
                                  detail::visible(corpus.label_names[static_cast<std::size_t>(first)]),
                                  "\": if it is a header, say --header"));
  corpus.test = label_rows(std::move(test_rows), problem, corpus.label_names, test_source, unknown);
  std::unordered_map<std::string_view, const Example*> train_texts;  // each with its first example
  std::size_t disputed = 0;
  for (const Example& example : corpus.examples) {
    const Example& other = *train_texts.emplace(example.text, &example).first->second;
    disputed += other.label != example.label || other.values != example.values;
  }
  if (disputed > 0)
    corpus.notes.push_back(concat(disputed, " lines of the training file have a text that stands there with another label too"));
  const auto repeated = std::ranges::count_if(corpus.test, [&](const Example& e) { return train_texts.contains(e.text); });
  if (repeated > 0) corpus.notes.push_back(concat(repeated, " texts of the test file stand in the training file too"));
  return corpus;
}

}  // namespace lorasb::examples
