// One transformer block of the sentence encoder.
#pragma once

#include <span>
#include <string>

#include "lorasb/models/sentence_encoder/config.hpp"
#include "lorasb/models/sentence_encoder/cache.hpp"
#include "lorasb/nn/attention.hpp"
#include "lorasb/nn/feed_forward.hpp"

namespace lorasb::models {

/// With x: width x tokens and x': hidden x tokens,
///     h    = W_out attention(W_qkv LN(x) + b_qkv) + b_out + r(x),    r(x) = W_res x + b_res in layer 0, x above
///     x'   = h + W_down relu(W_up LN(h) + b_up) + b_down
template <Real S>
struct SentenceEncoderBlock {
  NormPart<S> attention_norm, feed_forward_norm;
  LinearPart<S> residual, qkv, out, up, down;  // residual: of layer 0 alone
  nn::AttentionOptions attention;
  bool below_wanted = false;  // whether anything that x depends on is trained

  using Cache = typename SentenceEncoderCache<S>::Block;
  /// Buffers that all blocks of a pass share.
  using Scratch = SentenceEncoderCache<S>;

  /// Decides what the backward pass has to find: everything that lies above something trained. Returns whether anything up to
  /// the end of this block is trained.
  bool set_wanted(bool below) {
    below_wanted = below;
    residual.below_wanted = below;
    qkv.below_wanted = below || attention_norm.trains();
    out.below_wanted = qkv.below_wanted || qkv.trains();
    const bool middle = out.below_wanted || out.trains() || residual.trains();
    up.below_wanted = middle || feed_forward_norm.trains();
    return up.below_wanted || up.trains() || down.trains();
  }
  /// The feed-forward part as a block of nn/.
  nn::FeedForward<S> feed_forward() const {
    return {.up = *up.layer, .up_bias = up.bias, .down = *down.layer, .down_bias = down.bias};
  }
  /// visit(layer, cache) for each of its layers.
  template <class Visit>
  void for_each_layer(Cache& c, const Visit& visit) const {
    if (residual.layer != nullptr) visit(*residual.layer, c.residual.cache);
    visit(*qkv.layer, c.qkv.cache);
    visit(*out.layer, c.out.cache);
    visit(*up.layer, c.feed_forward.up);
    visit(*down.layer, c.feed_forward.down);
  }

  /// Overwrites c.output with x'.
  void forward(ConstMatrixView<S> X, std::span<const Index> offsets, Cache& c, Scratch& scratch) const {
    const Index width = X.rows(), tokens = X.cols(), hidden = out.layer->out_features();
    const MatrixView<S> normed = c.normed.reshape(width, tokens);
    const MatrixView<S> stacked = c.stacked.reshape(3 * width, tokens);
    const MatrixView<S> mixed = c.mixed.reshape(width, tokens);
    MatrixView<S> H = c.middle.reshape(hidden, tokens);
    const MatrixView<S> normed_H = c.middle_normed.reshape(hidden, tokens);
    MatrixView<S> next = c.output.reshape(hidden, tokens);

    attention_norm.forward(X, normed, c.attention_norm);
    qkv.forward(normed, stacked, c.qkv);
    nn::attention<S>(stacked.topRows(width), stacked.middleRows(width, width), stacked.bottomRows(width), offsets, attention,
                     mixed, c.attention);
    out.forward(mixed, H, c.out);
    if (residual.layer != nullptr) {
      const MatrixView<S> branch = scratch.d_branch.reshape(hidden, tokens);
      residual.forward(X, branch, c.residual);
      H += branch;
    } else {
      H += X;
    }
    feed_forward_norm.forward(H, normed_H, c.feed_forward_norm);
    feed_forward().forward(normed_H, next, c.feed_forward);
    next += H;
  }

  /// scratch.d_x holds dx' before and dx after, where below_wanted; adds to the gradients.
  void backward(ConstMatrixView<S> X, std::span<const Index> offsets, Cache& c, Scratch& scratch,
                const ModelGradient<S>& to) const {
    const Index width = X.rows(), tokens = X.cols(), hidden = out.layer->out_features();
    MatrixView<S> dH = scratch.d_x.view();
    MatrixView<S> branch = scratch.d_branch.reshape(hidden, tokens);

    // x' = h + W_down relu(W_up LN(h) + b_up) + b_down
    feed_forward().backward(dH, c.feed_forward,
                            {.up = to.of(up.gradient, offsets),
                             .up_bias = to.of(up.bias_gradient),
                             .down = to.of(down.gradient, offsets),
                             .down_bias = to.of(down.bias_gradient)},
                            InputGradient<S>(branch).only_if(up.below_wanted));
    if (!up.below_wanted) return;
    feed_forward_norm.backward(branch, c.middle.view(), c.feed_forward_norm, to, branch);
    dH += branch;

    // h = W_out attention(...) + b_out + r(x)
    const MatrixView<S> d_mixed = scratch.d_h.reshape(width, tokens);
    out.backward(dH, c.out, to, offsets, d_mixed);
    MatrixView<S> dX = scratch.d_branch.reshape(width, tokens);
    if (out.below_wanted) {
      // attention(W_qkv LN(x) + b_qkv)
      MatrixView<S> d_stacked = scratch.d_stacked.reshape(3 * width, tokens);
      const ConstMatrixView<S> stacked = c.stacked.view();
      nn::attention_backward<S>(d_mixed, stacked.topRows(width), stacked.middleRows(width, width), stacked.bottomRows(width),
                                offsets, attention, c.attention, d_stacked.topRows(width), d_stacked.middleRows(width, width),
                                d_stacked.bottomRows(width));
      qkv.backward(d_stacked, c.qkv, to, offsets, dX);
      if (qkv.below_wanted) attention_norm.backward(dX, X, c.attention_norm, to, dX);
    }
    // r(x) = W_res x + b_res, or x
    if (residual.layer == nullptr) {
      if (below_wanted) dH += dX;
      return;
    }
    const MatrixView<S> d_residual = scratch.d_h.reshape(width, tokens);
    residual.backward(dH, c.residual, to, offsets, d_residual);
    if (below_wanted) scratch.d_x.reshape(width, tokens) = d_residual + dX;
  }
};

}  // namespace lorasb::models
