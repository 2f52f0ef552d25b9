// Sequences of different lengths side by side, with no padding.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"

namespace lorasb::nn {

/// Throws ErrorId::shape, in the name of the function `where`, unless offsets are n + 1 numbers that rise from 0 to `columns`.
/// Sequence i then owns columns offsets[i] to offsets[i + 1] - 1; it is empty when both are equal.
inline void require_offsets(std::span<const Index> offsets, Index columns, std::string_view where) {
  require(!offsets.empty() && offsets.front() == 0, ErrorId::shape, where, ": offsets must start with 0",
          offsets.empty() ? ", but there are none" : "");
  for (std::size_t i = 1; i < offsets.size(); ++i)
    require(offsets[i] >= offsets[i - 1], ErrorId::shape, where, ": offsets[", i, "] is ", offsets[i], ", below offsets[",
            i - 1, "], ", offsets[i - 1]);
  require(offsets.back() == columns, ErrorId::shape, where, ": offsets end at ", offsets.back(), ", expected the ", columns,
          " columns of the batch");
}

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
