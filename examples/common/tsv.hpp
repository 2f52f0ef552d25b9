// Reads the user's own texts from two files with lines `label<TAB>text`.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "examples/common/dataset.hpp"
#include "lorasb/text/utf8.hpp"

namespace lorasb::examples {

/// The lines of one file. The text goes on to the end of the line, further tabs belong to it; a carriage return at the end of a
/// line and a byte order mark at the start are passed over. Throws ErrorId::data, with file and line, for a line with no tab,
/// no label or no text, and for a file that is empty or missing; ErrorId::text for a line that is not UTF-8.
inline std::vector<Row> read_tsv_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good() && !std::filesystem::is_directory(path), ErrorId::data, "read_tsv: cannot open \"", path.string(), "\"");
  std::vector<Row> rows;
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t number = rows.size() + 1;
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    const auto check = [&](bool good, ErrorId id, const auto&... what) {
      require(good, id, "read_tsv: \"", path.string(), "\", line ", number, what...);
    };
    const std::optional<std::size_t> byte = text::invalid_utf8(line);
    check(!byte, ErrorId::text, ": byte ", byte.value_or(0), " (counted from 0) is not UTF-8");
    const std::size_t tab = line.find('\t');
    check(tab != std::string::npos, ErrorId::data, " has no tab, expected label<TAB>text");
    check(tab > 0, ErrorId::data, " has no label before its tab");
    check(line.find_first_not_of(" \t", tab) != std::string::npos, ErrorId::data, " has no text after its tab");
    rows.push_back({line.substr(tab + 1), line.substr(0, tab)});
  }
  require(!rows.empty(), ErrorId::data, "read_tsv: \"", path.string(), "\" is empty");
  return rows;
}

/// Nothing is left out of the user's texts; a note tells how many of the test set stand in the training file too.
/// Throws what read_tsv_file does, and ErrorId::data, with file and line, for a label of the test file that training never
/// shows.
inline Corpus read_tsv(const std::filesystem::path& train, const std::filesystem::path& test) {
  std::vector<Row> train_rows = read_tsv_file(train);
  std::vector<Row> test_rows = read_tsv_file(test);
  const std::map<std::string, std::int32_t> numbers = number_labels(train_rows, "read_tsv");
  Corpus corpus;
  for (const auto& [name, number] : numbers) corpus.label_names.push_back(name);
  std::unordered_set<std::string> known;
  for (Row& row : train_rows) {
    known.insert(row.text);
    corpus.examples.push_back({std::move(row.text), numbers.at(row.label), {}});
  }
  std::size_t repeated = 0;
  for (Row& row : test_rows) {
    const auto label = numbers.find(row.label);
    require(label != numbers.end(), ErrorId::data, "read_tsv: \"", test.string(), "\", line ", corpus.test.size() + 1,
            " has the label \"", row.label, "\", which \"", train.string(), "\" never shows");
    repeated += known.contains(row.text);
    corpus.test.push_back({std::move(row.text), label->second, {}});
  }
  if (repeated > 0) corpus.notes.push_back(concat(repeated, " texts of the test file stand in the training file too"));
  return corpus;
}

}  // namespace lorasb::examples
