// One transformer block of the BERT family.
#pragma once

#include <span>

#include "lorasb/models/encoder/cache.hpp"

namespace lorasb::models {

/// With x, h, x': hidden x tokens,
///     h    = LN(x + W_o attention(W_q x + b_q, W_k x + b_k, W_v x + b_v) + b_o)
///     x'   = LN(h + W_down f(W_up h + b_up) + b_down)
template <Real S>
struct EncoderBlock {
  LinearPart<S> query, key, value, out, up, down;
  NormPart<S> attention_norm, feed_forward_norm;
  nn::AttentionOptions attention;
  nn::Activation activation = nn::Activation::gelu;
  bool below_wanted = false;  // whether anything that x depends on is trained

  using Cache = typename EncoderCache<S>::Block;
  /// Buffers that all blocks of a pass share.
  using Scratch = EncoderCache<S>;

  /// Decides what the backward pass has to find: everything that lies above something trained. Returns whether anything up to
  /// the end of this block is trained.
  bool set_wanted(bool below) {
    below_wanted = query.below_wanted = key.below_wanted = value.below_wanted = below;
    out.below_wanted = below || query.trains() || key.trains() || value.trains();
    up.below_wanted = attention_sum_wanted() || attention_norm.trains();
    return feed_forward_sum_wanted() || feed_forward_norm.trains();
  }
  /// visit(layer, cache) for each of its layers.
  template <class Visit>
  void for_each_layer(Cache& c, const Visit& visit) const {
    visit(*query.layer, c.query.cache);
    visit(*key.layer, c.key.cache);
    visit(*value.layer, c.value.cache);
    visit(*out.layer, c.out.cache);
    visit(*up.layer, c.feed_forward.up);
    visit(*down.layer, c.feed_forward.down);
  }

  /// Overwrites c.output with x'.
  void forward(ConstMatrixView<S> X, std::span<const Index> offsets, Cache& c) const {
    const Index hidden = X.rows(), tokens = X.cols();
    const MatrixView<S> Q = c.Q.reshape(hidden, tokens), K = c.K.reshape(hidden, tokens), V = c.V.reshape(hidden, tokens);
    const MatrixView<S> mixed = c.mixed.reshape(hidden, tokens), H = c.H.reshape(hidden, tokens);
    query.forward(X, Q, c.query);
    key.forward(X, K, c.key);
    value.forward(X, V, c.value);
    nn::attention<S>(Q, K, V, offsets, attention, mixed, c.attention);
    MatrixView<S> sum = c.attention_sum.reshape(hidden, tokens);
    out.forward(mixed, sum, c.out);
    sum += X;
    attention_norm.forward(sum, H, c.attention_norm);
    MatrixView<S> second_sum = c.feed_forward_sum.reshape(hidden, tokens);
    feed_forward().forward(H, second_sum, c.feed_forward);
    second_sum += H;
    feed_forward_norm.forward(second_sum, c.output.reshape(hidden, tokens), c.feed_forward_norm);
  }

  /// scratch.d_x holds dx' before and dx after, where below_wanted; adds to the gradients.
  void backward(ConstMatrixView<S> X, std::span<const Index> offsets, Cache& c, Scratch& scratch,
                const ModelGradient<S>& to) const {
    const Index hidden = X.rows(), tokens = X.cols();
    MatrixView<S> dX = scratch.d_x.view();
    const MatrixView<S> branch = scratch.d_branch.reshape(hidden, tokens);
    // x' = LN(h + W_down f(W_up h + b_up) + b_down)
    feed_forward_norm.backward(dX, c.feed_forward_sum.view(), c.feed_forward_norm, to,
                               InputGradient<S>(dX).only_if(feed_forward_sum_wanted()));
    if (!feed_forward_sum_wanted()) return;
    feed_forward().backward(dX, c.feed_forward,
                            {.up = to.of(up.gradient, offsets),
                             .up_bias = to.of(up.bias_gradient),
                             .down = to.of(down.gradient, offsets),
                             .down_bias = to.of(down.bias_gradient)},
                            InputGradient<S>(branch).only_if(up.below_wanted));
    if (!up.below_wanted) return;
    dX += branch;
    // h = LN(x + W_o attention(...) + b_o)
    attention_norm.backward(dX, c.attention_sum.view(), c.attention_norm, to, InputGradient<S>(dX).only_if(attention_sum_wanted()));
    if (!attention_sum_wanted()) return;
    const MatrixView<S> d_mixed = scratch.d_mixed.reshape(hidden, tokens);
    out.backward(dX, c.out, to, offsets, d_mixed);
    if (!out.below_wanted) return;
    const MatrixView<S> dQ = scratch.dQ.reshape(hidden, tokens), dK = scratch.dK.reshape(hidden, tokens);
    const MatrixView<S> dV = scratch.dV.reshape(hidden, tokens);
    nn::attention_backward<S>(d_mixed, c.Q.view(), c.K.view(), c.V.view(), offsets, attention, c.attention, dQ, dK, dV);
    const auto back = [&](const LinearPart<S>& part, ConstMatrixView<S> dY, LinearPass<S>& kept) {
      part.backward(dY, kept, to, offsets, branch);
      if (below_wanted) dX += branch;
    };
    back(query, dQ, c.query);
    back(key, dK, c.key);
    back(value, dV, c.value);
  }

 private:
  nn::FeedForward<S> feed_forward() const {
    return {.up = *up.layer, .up_bias = up.bias, .down = *down.layer, .down_bias = down.bias, .activation = activation};
  }
  bool attention_sum_wanted() const { return out.below_wanted || out.trains(); }
  bool feed_forward_sum_wanted() const { return up.below_wanted || up.trains() || down.trains(); }
};

}  // namespace lorasb::models
