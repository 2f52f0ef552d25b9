// What a pass of the sentence encoder keeps for the pass back.
#pragma once

#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/models/parts.hpp"
#include "lorasb/models/text_encoder.hpp"
#include "lorasb/nn/attention.hpp"
#include "lorasb/nn/feed_forward.hpp"

namespace lorasb::models {

/// What a pass keeps, owned by the caller, one for each thread. Columns are tokens, or texts from `pooled` on.
template <Real S>
struct LORASB_OWNS_MEMORY SentenceEncoderCache final : TextEncoderCache<S> {
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
  Buffer<S> embedded;                                // x of the first block
  Buffer<S> pooled, activated;                       // mean over tokens, tanh of the projection
  Buffer<S> d_texts, d_x, d_h, d_branch, d_stacked;  // gradients, for the length of a backward pass
};

}  // namespace lorasb::models
