// Sequences of different lengths side by side, with no padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/input_dropout.hpp"
#include "lorasb/core/offsets.hpp"

namespace lorasb::nn {

/// Token ids of n sequences. Every matrix of activations of the batch has a column for each token, in this order.
///
///     PackedBatch batch;
///     batch.add(std::vector<std::int32_t>{5, 17, 4});
///     batch.add(std::vector<std::int32_t>{9, 4});
///     batch.tokens();   // 5 17 4 9 4
///     batch.offsets();  // 0 3 5
class PackedBatch {
 public:
  static constexpr Index no_task = -1;
  /// `types` are the token types, one for each token; none: all 0. `task` is that of the sequence, where layers route by it; beside
  /// sequences that have one, a sequence without is left out by them. Throws ErrorId::shape for another number of types.
  void add(std::span<const std::int32_t> sequence, std::span<const std::int32_t> types = {}, Index task = no_task) {
    require(types.empty() || types.size() == sequence.size(), ErrorId::shape, "PackedBatch::add: ", types.size(),
            " token types for ", sequence.size(), " tokens");
    tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
    types_.insert(types_.end(), types.begin(), types.end());
    types_.resize(tokens_.size());
    offsets_.push_back(static_cast<Index>(tokens_.size()));
    tasks_.push_back(task);
    token_tasks_.resize(tokens_.size(), task);
    has_tasks_ = has_tasks_ || task != no_task;
  }
  /// Adapters drop inputs at that rate. `keys` has one for each sequence, another one in each step; those of its tokens follow
  /// from it and from their places, wherever in a batch the sequence stands. Throws ErrorId::shape for another number of keys,
  /// ErrorId::value for a rate that is not from 0 to below 1.
  void drop_inputs(double rate, std::span<const std::uint64_t> keys) {
    require(std::ssize(keys) == sequences(), ErrorId::shape, "PackedBatch::drop_inputs: ", keys.size(), " keys for ",
            sequences(), " sequences");
    require(rate >= 0 && rate < 1, ErrorId::value, "PackedBatch::drop_inputs: the rate is ", rate, ", expected 0 to below 1");
    dropout_rate_ = rate;
    keys_.assign(keys.begin(), keys.end());
    token_keys_.clear();
    for (std::size_t i = 0; i < keys.size(); ++i) {
      Random tokens(keys[i], 1);
      for (Index t = offsets_[i]; t < offsets_[i + 1]; ++t) token_keys_.push_back(tokens.bits());
    }
  }
  /// No sequences, and nothing is dropped; the memory is kept.
  void clear() {
    tokens_.clear();
    types_.clear();
    offsets_.resize(1);
    tasks_.clear();
    token_tasks_.clear();
    has_tasks_ = false;
    dropout_rate_ = 0;
    keys_.clear();
    token_keys_.clear();
  }

  Index sequences() const { return std::ssize(offsets_) - 1; }
  std::span<const std::int32_t> tokens() const { return tokens_; }
  std::span<const std::int32_t> types() const { return types_; }
  std::span<const Index> offsets() const { return offsets_; }
  /// The task of each sequence and of each token, for layers that route by it (LinearCache::tasks); empty when none was given.
  std::span<const Index> tasks() const { return has_tasks_ ? std::span<const Index>(tasks_) : std::span<const Index>(); }
  std::span<const Index> token_tasks() const { return has_tasks_ ? std::span<const Index>(token_tasks_) : std::span<const Index>(); }
  /// What layers whose columns are the sequences, or the tokens, drop (LinearCache::dropout).
  InputDropout dropout(std::uint64_t layer) const { return {dropout_rate_, layer, keys_}; }
  InputDropout token_dropout(std::uint64_t layer) const { return {dropout_rate_, layer, token_keys_}; }
  bool operator==(const PackedBatch&) const = default;

 private:
  std::vector<std::int32_t> tokens_, types_;
  std::vector<Index> offsets_{0};
  std::vector<Index> tasks_, token_tasks_;
  bool has_tasks_ = false;
  double dropout_rate_ = 0;
  std::vector<std::uint64_t> keys_, token_keys_;
};

}  // namespace lorasb::nn
