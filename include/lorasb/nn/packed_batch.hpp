// Sequences of different lengths side by side, with no padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lorasb/core/check.hpp"
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
  /// `types` are the token types, one for each token; none: all 0. Throws ErrorId::shape for another number of them.
  void add(std::span<const std::int32_t> sequence, std::span<const std::int32_t> types = {}) {
    require(types.empty() || types.size() == sequence.size(), ErrorId::shape, "PackedBatch::add: ", types.size(),
            " token types for ", sequence.size(), " tokens");
    tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
    types_.insert(types_.end(), types.begin(), types.end());
    types_.resize(tokens_.size());
    offsets_.push_back(static_cast<Index>(tokens_.size()));
  }
  /// No sequences; the memory is kept.
  void clear() {
    tokens_.clear();
    types_.clear();
    offsets_.resize(1);
  }

  Index sequences() const { return std::ssize(offsets_) - 1; }
  std::span<const std::int32_t> tokens() const { return tokens_; }
  std::span<const std::int32_t> types() const { return types_; }
  std::span<const Index> offsets() const { return offsets_; }
  bool operator==(const PackedBatch&) const = default;

 private:
  std::vector<std::int32_t> tokens_, types_;
  std::vector<Index> offsets_{0};
};

}  // namespace lorasb::nn
