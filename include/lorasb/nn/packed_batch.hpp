// Sequences of different lengths side by side, with no padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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
  void add(std::span<const std::int32_t> sequence) {
    tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
    offsets_.push_back(static_cast<Index>(tokens_.size()));
  }
  /// No sequences; the memory is kept.
  void clear() {
    tokens_.clear();
    offsets_.resize(1);
  }

  Index sequences() const { return std::ssize(offsets_) - 1; }
  std::span<const std::int32_t> tokens() const { return tokens_; }
  std::span<const Index> offsets() const { return offsets_; }

 private:
  std::vector<std::int32_t> tokens_;
  std::vector<Index> offsets_{0};
};

}  // namespace lorasb::nn
