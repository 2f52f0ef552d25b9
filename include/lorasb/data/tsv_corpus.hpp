// A user's own training and test texts, from two files, with notes of what was found in them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lorasb/data/tsv.hpp"

namespace lorasb::data {
namespace detail {

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
    require(least->values.front() < most->values.front(), ErrorId::data, "all training texts (", corpus.examples.size(),
            ") have the number ", least->values.front(), ": there is nothing to learn");
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

/// The label of the first line, where no other line has one of its labels, as no line has those of a header; else empty. Two lines
/// say nothing.
inline std::string label_of_first_line_alone(const Corpus& corpus, ProblemType problem) {
  if (corpus.examples.size() < 3 || problem == ProblemType::regression) return {};
  const Example& first = corpus.examples.front();
  if (problem == ProblemType::single_label)
    return std::ranges::count(corpus.examples, first.label, &Example::label) == 1 ? corpus.label_names[static_cast<std::size_t>(first.label)] : "";
  std::string label;
  for (std::size_t c = 0; c < first.values.size(); ++c) {
    if (first.values[c] <= 0) continue;
    if (std::ranges::count_if(corpus.examples, [&](const Example& e) { return e.values[c] > 0; }) > 1) return {};
    label += (label.empty() ? "" : ",") + corpus.label_names[c];
  }
  return label;
}

}  // namespace detail

/// Nothing is left out of the user's texts. Notes tell for each file how many lines it has and what was passed over, the
/// classes or labels with their counts or the range of the numbers, and how many of the test set stand in the training file too.
/// Labels that are `known` need not occur. Throws what read_tsv_file does, and ErrorId::data, with file and line,
/// for a label of the test file that training never shows and that is not `known`, and what label_rows() throws.
inline Corpus read_tsv(const std::filesystem::path& train, const std::filesystem::path& test, const TsvOptions& options = {},
                       const std::vector<std::string>& known = {}) {
  Corpus corpus;
  const ProblemType problem = options.problem;
  const auto read = [&](const std::filesystem::path& path) {
    TsvReport report;
    std::vector<Row> rows = read_tsv_file(path, options, &report);
    std::string note = concat(path.string(), ": ", report.lines, " lines");
    if (options.header) note += ", 1 left out (the header)";
    if (report.empty_lines > 0) note += concat(", ", report.empty_lines, " left out (empty, at the end)");
    if (report.trimmed_labels > 0) note += concat(", ", report.trimmed_labels, " labels without the white space around them");
    corpus.notes.push_back(std::move(note));
    return rows;
  };
  std::vector<Row> train_rows = read(train);
  std::vector<Row> test_rows = read(test);
  const RowSource train_source{"read_tsv", train, options.header, options.names},
      test_source{"read_tsv", test, options.header, options.names};
  if (problem == ProblemType::single_label)
    for (const auto& [name, number] : number_labels(train_rows, "read_tsv", known)) corpus.label_names.push_back(name);
  else if (problem == ProblemType::multi_label)
    corpus.label_names = multi_label_names(train_rows, known, train_source);
  else
    corpus.label_names = known.empty() ? std::vector<std::string>{regression_label} : known;
  const std::string unknown = concat("which \"", train.string(), "\" never shows");
  corpus.examples = label_rows(std::move(train_rows), problem, corpus.label_names, train_source, unknown);
  corpus.notes.push_back(detail::target_note(corpus, problem));
  if (const std::string lone = detail::label_of_first_line_alone(corpus, problem); !lone.empty() && !options.header)
    corpus.notes.push_back(concat("the first line of ", train.string(), " is the one example of \"", detail::visible(lone),
                                  "\": if it is a header, say ", options.names.header));
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

}  // namespace lorasb::data
