// What a pass of the sentence encoder keeps for the pass back.
#pragma once

#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/nn/attention.hpp"
#include "lorasb/nn/feed_forward.hpp"
#include "lorasb/nn/layer_norm.hpp"
#include "lorasb/nn/packed_batch.hpp"

namespace lorasb::models {

/// The cache of a linear layer and the pass that wrote it.
template <Real S>
struct LORASB_OWNS_MEMORY LinearPass {
  LinearCache<S> cache;
  ForwardPass<S> pass;
};

/// What a pass keeps, owned by the caller, one for each thread. Columns are tokens, or texts from `pooled` on.
template <Real S>
struct LORASB_OWNS_MEMORY SentenceEncoderCache {
  struct Block {
    nn::LayerNormCache<S> attention_norm, feed_forward_norm;
    nn::AttentionCache<S> attention;
    nn::FeedForwardCache<S> feed_forward;
    LinearPass<S> residual, qkv, out;
    Buffer<S> normed, stacked, mixed;  // LN(x), [q; k; v], attention of them
    Buffer<S> middle, middle_normed;   // h, LN(h)
    Buffer<S> output;                  // x'
  };
  std::vector<Block> blocks;
  LinearPass<S> projection;
  LinearCache<S> shared;  // of all layers (LinearCache::shared)
  nn::PackedBatch batch;                             // of the last forward
  Buffer<S> embedded;                                // x of the first block
  Buffer<S> pooled, activated;                       // mean over tokens, tanh of the projection
  std::vector<Index> text_offsets;                   // 0, 1, ... for layers whose columns are texts
  Buffer<S> d_texts, d_x, d_h, d_branch, d_stacked;  // gradients, for the length of a backward pass
};

}  // namespace lorasb::models
