// A labelled set of texts, and how it is split into training, validation and test.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"

namespace lorasb::examples {

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

/// A size of a split without a limit: the default for texts of the user's own.
inline constexpr std::size_t no_limit = 1'000'000'000'000;

struct SplitOptions {
  std::size_t train = 10000;
  std::size_t validation = 2000;
  std::size_t test = 10000;
  std::uint64_t seed = 1;  // of the split alone: other seeds of a run leave test and validation set as they are

  /// Throws ErrorId::value.
  void validate() const {
    require(train > 0, ErrorId::value, "SplitOptions: train is 0, expected at least 1");
    require(test > 0, ErrorId::value, "SplitOptions: test is 0, expected at least 1");
  }
};

struct Dataset {
  std::vector<std::string> label_names;
  std::vector<Example> train, validation, test;
  std::vector<std::string> notes;
};

/// Shuffles the examples by the split's seed; the first are the test set, the last the validation set, and the training set
/// lies before that. So another test size leaves the others as they are, and what was chosen on validation texts beside a
/// small test set has not seen the large one. The sizes are upper limits: the test set gets at most a fifth of the examples
/// and validation at most a tenth, and a note says so. Test and validation sets that a set brings stay apart. Throws ErrorId::value,
/// and ErrorId::data when nothing is left to train on.
inline Dataset split(Corpus corpus, const SplitOptions& options) {
  options.validate();
  const auto shuffle = [&](std::vector<Example>& examples, std::uint64_t stream) {
    Random random(options.seed, stream);
    for (std::size_t i = examples.size(); i > 1; --i) std::swap(examples[i - 1], examples[random.below(i)]);
  };
  Dataset result;
  result.label_names = std::move(corpus.label_names);
  result.notes = std::move(corpus.notes);
  const auto note = [&](std::string_view name, std::size_t wanted, std::size_t got) {
    if (got < wanted && wanted != no_limit) result.notes.push_back(concat(name, ": ", got, " examples, fewer than the ", wanted, " allowed"));
  };
  std::vector<Example>& all = corpus.examples;
  shuffle(all, 0);
  const std::size_t total = all.size();
  const auto take_last = [&](std::size_t count) {
    const auto first = std::make_move_iterator(all.end() - static_cast<std::ptrdiff_t>(count));
    const std::vector<Example> taken(first, std::make_move_iterator(all.end()));
    all.resize(all.size() - count);
    return taken;
  };
  const auto left_out = [&](std::string_view name, std::size_t wanted, std::size_t there) {
    if (there > wanted) result.notes.push_back(concat(name, ": ", there - wanted, " of ", there, " texts left out, the limit is ", wanted));
  };
  const auto take_own = [&](std::vector<Example>& own, std::size_t wanted, std::uint64_t stream) {
    shuffle(own, stream);
    left_out(stream == 1 ? "test" : "validation", wanted, own.size());
    own.resize(std::min(wanted, own.size()));
    return std::move(own);
  };
  if (corpus.test.empty()) {
    const std::size_t count = std::min(options.test, total / 5);
    std::rotate(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end());
    result.test = take_last(count);
  } else {
    result.test = take_own(corpus.test, options.test, 1);
  }
  result.validation = corpus.validation.empty() ? take_last(std::min(options.validation, total / 10))
                                                : take_own(corpus.validation, options.validation, 2);
  left_out("training", options.train, all.size());
  result.train = take_last(std::min(options.train, all.size()));
  std::reverse(result.train.begin(), result.train.end());  // a larger set goes on where a smaller one ends
  require(!result.train.empty() && !result.test.empty(), ErrorId::data, "split: ", total,
          " examples are too few for a training and a test set");
  note("training", options.train, result.train.size());
  note("validation", options.validation, result.validation.size());
  note("test", options.test, result.test.size());
  return result;
}

}  // namespace lorasb::examples
