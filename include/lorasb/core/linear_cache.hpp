// What a pass through a linear layer keeps for the pass back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "lorasb/core/buffer.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/input_dropout.hpp"

namespace lorasb {

/// The caller owns it, one for each layer and thread, and reuses it from batch to batch; its buffers grow and never shrink.
/// A layer names its slots as it likes and gets as many as it uses.
template <Real S>
class LORASB_OWNS_MEMORY LinearCache {
 public:
  /// A matrix; references stay valid for the life of the cache.
  Buffer<S>& buffer(std::size_t slot) { return at(buffers_, slot); }
  /// Whole numbers, such as the tokens that go to an expert.
  std::vector<Index>& indices(std::size_t slot) { return at(indices_, slot); }
  /// The cache of a layer inside this one, such as an expert.
  LinearCache& child(std::size_t slot) { return at(children_, slot); }

  /// Sums over the columns of the last forward pass, of which the layer's auxiliary loss is a function (see
  /// LinearLayer::auxiliary_loss): written by forward. Empty for a layer that has none.
  std::vector<double> statistics;
  /// The same sums over the whole batch, when this pass is one part of it. Set by the trainer between forward and backward, and
  /// read by backward; empty: this pass is the whole batch.
  std::span<const double> batch_statistics;

  /// The task of each column (-1: padding, which counts nowhere), for a layer that routes by it, such as a mixture of experts;
  /// empty: unknown. Set by the model before forward.
  std::span<const Index> tasks;
  /// What an adapter's input leaves out. Set by the model before forward and, unchanged, before backward.
  InputDropout dropout;
  /// What all layers of one pass through a model share, such as the decision of a router that several of them follow. Set by the
  /// model before forward and backward.
  LinearCache* shared = nullptr;

  /// Identifies the last forward pass that wrote to this cache; 0: none.
  std::uint64_t pass() const { return pass_; }
  void set_pass(std::uint64_t pass) { pass_ = pass; }

 private:
  template <class T>
  static T& at(std::deque<T>& all, std::size_t slot) {
    if (slot >= all.size()) all.resize(slot + 1);
    return all[slot];
  }

  std::deque<Buffer<S>> buffers_;
  std::deque<std::vector<Index>> indices_;
  std::deque<LinearCache> children_;
  std::uint64_t pass_ = 0;
};

}  // namespace lorasb
