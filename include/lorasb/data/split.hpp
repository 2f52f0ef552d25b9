// Divides a labelled set of texts into training, validation and test.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/random.hpp"
#include "lorasb/data/corpus.hpp"

namespace lorasb::data {

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
    if (got < wanted && wanted != no_limit)
      result.notes.push_back(concat(name, ": ", got, " examples, fewer than the ", wanted, " allowed"));
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
    if (there > wanted)
      result.notes.push_back(concat(name, ": ", there - wanted, " of ", there, " texts left out, the limit is ", wanted));
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

}  // namespace lorasb::data
