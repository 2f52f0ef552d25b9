// The contract of a linear map inside a model, whatever it is made of: frozen, adapted, trained in full.
#pragma once

#include <span>

#include "lorasb/core/buffer.hpp"

namespace lorasb {

/// What forward keeps for backward. The caller owns it, one for each layer and thread, and reuses it from batch to batch.
template <Real S>
struct LinearCache {
  Buffer<S> Z;        // A X, rank x tokens: written by forward, read by backward
  Buffer<S> P;        // s Bᵀ dY, rank x tokens: written by backward
  Buffer<S> scratch;  // rank x tokens: for the length of one call
};

/// Y = layer(X), with X: in x tokens and Y: out x tokens, no bias. A layer only describes: a pass changes nothing in it, so
/// many threads and clients share one. Parameter gradients are added to; every other output is overwritten. Wrong sizes throw
/// ErrorId::shape.
template <Real S>
class LinearLayer {
 public:
  virtual ~LinearLayer() = default;

  virtual Index out_features() const = 0;
  virtual Index in_features() const = 0;
  /// How many numbers the gradient of this layer has; 0 when it is frozen.
  virtual Index trainable() const = 0;
  /// Whether backward_parameters has anything to do; a model goes no further down than the lowest layer that wants it.
  virtual bool wants_gradient() const { return trainable() > 0; }

  /// Overwrites Y and the cache.
  virtual void forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const = 0;
  /// Adds to `gradient`, trainable() numbers. X is what forward was given.
  virtual void backward_parameters(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache,
                                   std::span<S> gradient) const = 0;
  /// Overwrites dX, in x tokens.
  virtual void backward_input(ConstMatrixView<S> dY, LinearCache<S>& cache, MatrixView<S> dX) const = 0;
  /// Both at once, for layers that can share work between them.
  virtual void backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache, std::span<S> gradient,
                        MatrixView<S> dX) const {
    backward_parameters(X, dY, cache, gradient);
    backward_input(dY, cache, dX);
  }
};

}  // namespace lorasb
