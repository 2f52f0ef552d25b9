// One transformer block of the BERT family.
#pragma once

#include <span>
#include <utility>

#include "lorasb/models/encoder/cache.hpp"

namespace lorasb::models {

/// With x, h, x': hidden x tokens,
///     h    = LN(x + W_o attention(W_q x + b_q, W_k x + b_k, W_v x + b_v) + b_o)
///     x'   = LN(h + W_down f(W_up h + b_up) + b_down)
/// or, with `pre_norm`, where the norms come first (Xiong et al., arXiv 2002.04745),
///     h    = x + W_o attention(W_q n + b_q, W_k n + b_k, W_v n + b_v) + b_o,    n = LN(x)
///     x'   = h + W_down f(W_up m + b_up) + b_down,                              m = LN(h)
template <Real S>
struct EncoderBlock {
  LinearPart<S> query, key, value, out, up, down;
  NormPart<S> attention_norm, feed_forward_norm;
  nn::AttentionOptions attention;
  nn::Activation activation = nn::Activation::gelu;
  bool pre_norm = false;
  bool below_wanted = false;  // whether anything that x depends on is trained

  using Cache = typename EncoderCache<S>::Block;
  /// Buffers that all blocks of a pass share.
  using Scratch = EncoderCache<S>;

  /// Decides what the backward pass has to find: everything that lies above something trained. Returns whether anything up to
  /// the end of this block is trained.
  bool set_wanted(bool below) {
    below_wanted = below;
    const bool input_wanted = below || (pre_norm && attention_norm.trains());
    query.below_wanted = key.below_wanted = value.below_wanted = input_wanted;
    out.below_wanted = input_wanted || query.trains() || key.trains() || value.trains();
    up.below_wanted = attention_sum_wanted() || (pre_norm ? feed_forward_norm : attention_norm).trains();
    return feed_forward_sum_wanted() || (!pre_norm && feed_forward_norm.trains());
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
    const MatrixView<S> output = c.output.reshape(hidden, tokens);
    const auto normed = [&](const NormPart<S>& norm, ConstMatrixView<S> from, Buffer<S>& to,
                            nn::LayerNormCache<S>& kept) -> ConstMatrixView<S> {
      if (!pre_norm) return from;
      norm.forward(from, to.reshape(hidden, tokens), kept);
      return std::as_const(to).view();
    };
    const ConstMatrixView<S> N = normed(attention_norm, X, c.attention_normed, c.attention_norm);
    query.forward(N, Q, c.query);
    key.forward(N, K, c.key);
    value.forward(N, V, c.value);
    nn::attention<S>(Q, K, V, offsets, attention, mixed, c.attention);
    MatrixView<S> sum = pre_norm ? H : c.attention_sum.reshape(hidden, tokens);
    out.forward(mixed, sum, c.out);
    sum += X;
    if (!pre_norm) attention_norm.forward(sum, H, c.attention_norm);
    MatrixView<S> second_sum = pre_norm ? output : c.feed_forward_sum.reshape(hidden, tokens);
    feed_forward().forward(normed(feed_forward_norm, H, c.feed_forward_normed, c.feed_forward_norm), second_sum, c.feed_forward);
    second_sum += H;
    if (!pre_norm) feed_forward_norm.forward(second_sum, output, c.feed_forward_norm);
  }

  /// scratch.d_x holds dx' before and dx after, where below_wanted; adds to the gradients.
  void backward(ConstMatrixView<S> X, std::span<const Index> offsets, Cache& c, Scratch& scratch,
                const ModelGradient<S>& to) const {
    const Index hidden = X.rows(), tokens = X.cols();
    MatrixView<S> dX = scratch.d_x.view();
    const MatrixView<S> branch = scratch.d_branch.reshape(hidden, tokens);
    // x' = LN(h + W_down f(W_up h + b_up) + b_down), or h + W_down f(W_up LN(h) + b_up) + b_down
    if (!pre_norm)
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
    if (pre_norm)
      feed_forward_norm.backward(branch, c.H.view(), c.feed_forward_norm, to,
                                 InputGradient<S>(branch).only_if(attention_sum_wanted()));
    dX += branch;
    // h = LN(x + W_o attention(...) + b_o), or x + W_o attention(...) + b_o of LN(x)
    if (!pre_norm)
      attention_norm.backward(dX, c.attention_sum.view(), c.attention_norm, to,
                              InputGradient<S>(dX).only_if(attention_sum_wanted()));
    if (!attention_sum_wanted()) return;
    const MatrixView<S> d_mixed = scratch.d_mixed.reshape(hidden, tokens);
    out.backward(dX, c.out, to, offsets, d_mixed);
    if (!out.below_wanted) return;
    const MatrixView<S> dQ = scratch.dQ.reshape(hidden, tokens), dK = scratch.dK.reshape(hidden, tokens);
    const MatrixView<S> dV = scratch.dV.reshape(hidden, tokens);
    nn::attention_backward<S>(d_mixed, c.Q.view(), c.K.view(), c.V.view(), offsets, attention, c.attention, dQ, dK, dV);
    MatrixView<S> d_input = pre_norm ? d_mixed : dX;  // of what query, key and value read
    if (pre_norm) d_input.setZero();
    const auto back = [&](const LinearPart<S>& part, ConstMatrixView<S> dY, LinearPass<S>& kept) {
      part.backward(dY, kept, to, offsets, branch);
      if (part.below_wanted) d_input += branch;
    };
    back(query, dQ, c.query);
    back(key, dK, c.key);
    back(value, dV, c.value);
    if (!pre_norm) return;
    attention_norm.backward(d_input, X, c.attention_norm, to, InputGradient<S>(d_input).only_if(below_wanted));
    if (below_wanted) dX += d_input;
  }

 private:
  nn::FeedForward<S> feed_forward() const {
    return {.up = *up.layer, .up_bias = up.bias, .down = *down.layer, .down_bias = down.bias, .activation = activation};
  }
  bool attention_sum_wanted() const { return out.below_wanted || out.trains(); }
  bool feed_forward_sum_wanted() const { return up.below_wanted || up.trains() || down.trains(); }
};

}  // namespace lorasb::models
