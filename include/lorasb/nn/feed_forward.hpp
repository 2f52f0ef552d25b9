// The feed-forward block of a transformer.
#pragma once

#include <span>

#include "lorasb/core/layer.hpp"
#include "lorasb/nn/activation.hpp"
#include "lorasb/nn/bias.hpp"

namespace lorasb::nn {

/// What forward keeps for backward.
template <Real S>
struct FeedForwardCache {
  LinearCache<S> up, down;
  Buffer<S> H;   // hidden x tokens, after relu: written by forward
  Buffer<S> dH;  // for the length of one backward pass
};

/// Gradients, each added to. Those of a layer have trainable() numbers, none when it is frozen; an empty span for a bias means
/// that it is frozen, and costs nothing.
template <Real S>
struct FeedForwardGradient {
  LayerGradient<S> up = {};
  std::span<S> up_bias = {};
  LayerGradient<S> down = {};
  std::span<S> down_bias = {};
};

/// H = relu(W1 X + b1),    Y = W2 H + b2          X, Y: d x tokens, H: hidden x tokens
///
/// W1 is `up`, W2 is `down`, each frozen, adapted or trained. The block only views layers and biases, which must outlive it.
///
///     FeedForward<float> block{up, up_bias, down, down_bias};
///     block.forward(X, Y, cache);
///     block.backward(X, dY, cache, {.up = dR1, .down = dR2}, dX);  // the biases are frozen
template <Real S>
struct FeedForward {
  const LinearLayer<S>& up;
  std::span<const S> up_bias;
  const LinearLayer<S>& down;
  std::span<const S> down_bias;

  /// Overwrites Y and the cache.
  void forward(ConstMatrixView<S> X, MatrixView<S> Y, FeedForwardCache<S>& cache) const {
    const MatrixView<S> H = cache.H.reshape(up.out_features(), X.cols());
    up.forward(X, H, cache.up);
    add_bias<S>(H, up_bias);
    relu<S>(H, H);
    down.forward(H, Y, cache.down);
    add_bias<S>(Y, down_bias);
  }

  /// Overwrites dX, unless it has no columns because nobody below wants it, and adds to the gradients. X is what forward was
  /// given.
  void backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, FeedForwardCache<S>& cache, FeedForwardGradient<S> gradient,
                MatrixView<S> dX) const {
    const MatrixView<S> H = cache.H.view(), dH = cache.dH.reshape(up.out_features(), X.cols());
    require_shape(H, up.out_features(), X.cols(), "FeedForward::backward", "cache", "the forward pass of X");
    if (!gradient.down_bias.empty()) add_bias_backward_parameters<S>(dY, gradient.down_bias);
    const bool further = dX.cols() > 0 || up.wants_gradient() || !gradient.up_bias.empty();
    down.backward_to(H, dY, cache.down, gradient.down, further ? dH : MatrixView<S>(nullptr, dH.rows(), 0));
    if (!further) return;
    relu_backward<S>(dH, H, dH);
    if (!gradient.up_bias.empty()) add_bias_backward_parameters<S>(dH, gradient.up_bias);
    up.backward_to(X, dH, cache.up, gradient.up, dX);
  }
};

}  // namespace lorasb::nn
