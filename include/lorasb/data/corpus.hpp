// A labelled set of texts, before it is split into training, validation and test.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"

namespace lorasb::data {

struct Example {
  std::string text;
  std::int32_t label = 0;      // place in label_names
  std::string natural_client = {};  // who the text comes from, where the set tells it: the maintainers of a Debian package
  std::vector<float> values = {};   // of a regression or a multi-label problem, a number for each of label_names; else none
};

/// What a reader found, before it is split.
struct Corpus {
  std::vector<std::string> label_names;  // sorted
  std::vector<Example> examples;         // to be split
  std::vector<Example> validation, test;  // only of a set that brings its own
  std::vector<std::string> notes;        // what was left out, in words
};

/// An example as it is read, its label still a name.
struct Row {
  std::string text;
  std::string label;
  std::string natural_client = {};
};

/// The label names that occur or are `known`, sorted, each with its place. Throws ErrorId::data for fewer than two: there is
/// nothing to learn then.
inline std::map<std::string, std::int32_t> number_labels(const std::vector<Row>& rows, std::string_view source,
                                                         const std::vector<std::string>& known = {}) {
  std::map<std::string, std::int32_t> numbers;
  for (const std::string& name : known) numbers.emplace(name, 0);
  for (const Row& row : rows) numbers.emplace(row.label, 0);
  require(numbers.size() >= 2, ErrorId::data, source, ": ", rows.size(), " examples with ", numbers.size(),
          " labels, expected at least 2 labels");
  std::int32_t next = 0;
  for (auto& [name, number] : numbers) number = next++;
  return numbers;
}

/// The rows with numbered labels. Rows whose texts have the same key(text) are one example, the first of them, so that no text
/// stands on both sides of a split; when they differ in their label, all of them are left out.
template <class Key>
Corpus gather(std::vector<Row> rows, std::string_view source, const Key& key) {
  struct Seen {
    std::size_t first;
    bool agree;
  };
  std::unordered_map<std::string, Seen> seen;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto [it, is_new] = seen.try_emplace(key(rows[i].text), Seen{i, true});
    if (!is_new && rows[it->second.first].label != rows[i].label) it->second.agree = false;
  }
  std::vector<std::size_t> kept;
  std::size_t disputed = 0;
  for (const auto& [text, entry] : seen) {
    if (entry.agree)
      kept.push_back(entry.first);
    else
      ++disputed;
  }
  std::sort(kept.begin(), kept.end());

  Corpus corpus;
  corpus.notes.push_back(concat(rows.size(), " texts read, ", rows.size() - seen.size(), " repetitions left out"));
  if (disputed > 0) corpus.notes.push_back(concat(disputed, " texts left out because they occur with two labels"));
  const std::map<std::string, std::int32_t> numbers = number_labels(rows, source);
  for (const auto& [name, number] : numbers) corpus.label_names.push_back(name);
  for (const std::size_t i : kept)
    corpus.examples.push_back({std::move(rows[i].text), numbers.at(rows[i].label), std::move(rows[i].natural_client)});
  return corpus;
}
inline Corpus gather(std::vector<Row> rows, std::string_view source) {
  return gather(std::move(rows), source, [](const std::string& text) { return text; });
}

/// Renumbers labels so that those a classifier knows already stand first, in its order, and new ones follow; a note names the
/// new ones.
inline void put_known_first(Corpus& corpus, const std::vector<std::string>& known) {
  if (known.empty()) return;
  std::vector<std::string> all = known;
  std::vector<std::int32_t> place;  // of a label of the corpus
  std::string added;
  for (const std::string& name : corpus.label_names) {
    const auto at = std::ranges::find(all, name);
    place.push_back(static_cast<std::int32_t>(at - all.begin()));
    if (at != all.end()) continue;
    all.push_back(name);
    added += (added.empty() ? "" : ", ") + without_controls(name);
  }
  for (std::vector<Example>* const set : {&corpus.examples, &corpus.validation, &corpus.test})
    for (Example& example : *set) example.label = place[static_cast<std::size_t>(example.label)];
  const std::size_t fresh = all.size() - known.size();
  if (fresh > 0)
    corpus.notes.push_back(
        concat(fresh, " labels that the classifier does not know yet; their rows of the head start at 0: ", added));
  corpus.label_names = std::move(all);
}

}  // namespace lorasb::data
