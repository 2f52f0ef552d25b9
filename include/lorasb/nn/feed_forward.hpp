// The feed-forward block of a transformer.
#pragma once

#include <span>

#include "lorasb/core/config.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/nn/activation.hpp"
#include "lorasb/nn/bias.hpp"

namespace lorasb::nn {

/// What forward keeps for backward.
template <Real S>
struct LORASB_OWNS_MEMORY FeedForwardCache {
  LinearCache<S> up, down;
  ForwardPass<S> up_pass, down_pass;
  Buffer<S> U;   // hidden x tokens, before the activation; only for activations whose backward pass reads it
  Buffer<S> H;   // hidden x tokens, after the activation: written by forward
  Buffer<S> dH;  // for the length of one backward pass
};

/// Gradients, each added to. An empty span for a bias means that it is frozen, and costs nothing.
template <Real S>
struct FeedForwardGradient {
  LayerGradient<S> up = {};
  std::span<S> up_bias = {};
  LayerGradient<S> down = {};
  std::span<S> down_bias = {};
};

/// H = f(W1 X + b1),    Y = W2 H + b2          X, Y: d x tokens, H: hidden x tokens
///
/// W1 is `up`, W2 is `down`, each frozen, adapted or trained; f is relu, gelu or tanh; an empty span means that there is no
/// bias. The block only views layers and biases, which must outlive it.
///
///     FeedForward<float> block{.up = up, .up_bias = b1, .down = down, .down_bias = b2, .activation = Activation::gelu};
///     block.forward(X, Y, cache);
///     block.backward(dY, cache, {.up = dR1, .down = dR2}, dX);  // the biases are frozen
template <Real S>
struct FeedForward {
  const LinearLayer<S>& up;
  std::span<const S> up_bias = {};
  const LinearLayer<S>& down;
  std::span<const S> down_bias = {};
  Activation activation = Activation::relu;

  /// Overwrites Y and the cache.
  void forward(ConstMatrixView<S> X, MatrixView<S> Y, FeedForwardCache<S>& cache) const {
    const MatrixView<S> H = cache.H.reshape(up.out_features(), X.cols());
    const MatrixView<S> U = reads_input(activation) ? cache.U.reshape(up.out_features(), X.cols()) : H;
    cache.up_pass = up.forward(X, U, cache.up);
    if (!up_bias.empty()) add_bias<S>(U, up_bias);
    activate<S>(activation, U, H);
    cache.down_pass = down.forward(H, Y, cache.down);
    if (!down_bias.empty()) add_bias<S>(Y, down_bias);
  }

  /// Overwrites dX unless it is not wanted, and adds to the gradients, for the batch of the last forward with this cache.
  void backward(ConstMatrixView<S> dY, FeedForwardCache<S>& cache, const FeedForwardGradient<S>& gradient,
                const InputGradient<S>& dX) const {
    const MatrixView<S> H = cache.H.view();
    MatrixView<S> dH = cache.dH.reshape(up.out_features(), dY.cols());
    // Y = W2 H + b2
    if (!gradient.down_bias.empty()) add_bias_backward_parameters<S>(dY, gradient.down_bias);
    const bool further = dX.wanted() || up.wants_gradient() || !gradient.up_bias.empty();
    down.backward(cache.down_pass, dY, cache.down, gradient.down, InputGradient<S>(dH).only_if(further));
    if (!further) return;
    // H = f(W1 X + b1)
    activate_backward<S>(activation, dH, reads_input(activation) ? cache.U.view() : H, dH);
    if (!gradient.up_bias.empty()) add_bias_backward_parameters<S>(dH, gradient.up_bias);
    up.backward(cache.up_pass, dH, cache.up, gradient.up, dX);
  }
};

}  // namespace lorasb::nn
