// What a pass of an encoder of the BERT family keeps for the pass back.
#pragma once

#include <cstdint>
#include <vector>

#include "lorasb/models/parts.hpp"
#include "lorasb/models/text_encoder.hpp"
#include "lorasb/nn/attention.hpp"
#include "lorasb/nn/feed_forward.hpp"

namespace lorasb::models {

/// Columns are tokens, or texts from `pooled` on.
template <Real S>
struct LORASB_OWNS_MEMORY EncoderCache final : TextEncoderCache<S> {
  struct Block {
    LinearPass<S> query, key, value, out;
    nn::AttentionCache<S> attention;
    nn::FeedForwardCache<S> feed_forward;
    nn::LayerNormCache<S> attention_norm, feed_forward_norm;
    Buffer<S> Q, K, V, mixed;    // mixed: attention of them
    Buffer<S> attention_sum, H;                         // x + attention, its norm h; with pre_norm h alone
    Buffer<S> feed_forward_sum, output;                 // h + feed-forward, its norm x'; with pre_norm x' alone
    Buffer<S> attention_normed, feed_forward_normed;    // with pre_norm: the norms of x and h
  };
  std::vector<Block> blocks;
  std::vector<std::int32_t> positions;               // rows of the table of positions, for each token
  Buffer<S> embedded, normed;                        // sum of the embeddings, its norm
  nn::LayerNormCache<S> embedding_norm, final_norm;
  Buffer<S> states;                                  // the norm of the last block's output, where the family has one
  LinearPass<S> pooler;
  Buffer<S> pooled, projected, activated;            // one column of each text, W pooled + b, its activation
  Buffer<S> d_texts, d_x, d_branch, d_mixed, dQ, dK, dV;  // gradients, for the length of a backward pass
};

}  // namespace lorasb::models
