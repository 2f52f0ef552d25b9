// The contract of a linear map inside a model, whatever it is made of: frozen, adapted, trained in full.
#pragma once

#include <span>

#include "lorasb/core/buffer.hpp"
#include "lorasb/core/check.hpp"

namespace lorasb {

/// What forward keeps for backward. The caller owns it, one for each layer and thread, and reuses it from batch to batch.
template <Real S>
struct LinearCache {
  Buffer<S> Z;        // A X, rank x tokens: written by forward, read by backward
  Buffer<S> P;        // s Bᵀ dY, rank x tokens: written by backward
  Buffer<S> scratch;  // rank x tokens: for the length of one call
};

/// Where a layer adds the gradient of its numbers: summed over all columns of a batch, or each example's in a column of its
/// own. Neither, for a frozen layer.
template <Real S>
class LayerGradient {
 public:
  LayerGradient() = default;
  /// trainable() numbers.
  LayerGradient(std::span<S> summed) : summed_(summed) {}
  /// trainable() x examples. Example i owns columns offsets[i] to offsets[i + 1] - 1 of the batch.
  LayerGradient(MatrixView<S> each, std::span<const Index> offsets)
      : each_(each.data()), rows_(each.rows()), stride_(each.outerStride()), offsets_(offsets) {}

  bool per_example() const { return !offsets_.empty(); }
  std::span<S> summed() const { return summed_; }
  MatrixView<S> each() const { return {each_, rows_, std::ssize(offsets_) - 1, stride_}; }
  std::span<const Index> offsets() const { return offsets_; }

 private:
  std::span<S> summed_ = {};
  S* each_ = nullptr;
  Index rows_ = 0, stride_ = 0;
  std::span<const Index> offsets_ = {};
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

  /// Adds the gradient of each example to its column of `each`, trainable() x examples; the columns add up to what
  /// backward_parameters adds. Example i owns columns offsets[i] to offsets[i + 1] - 1 of X and dY. Overwrites dX, unless it
  /// has no columns. Throws ErrorId::value for a layer that wants a gradient and has none per example.
  virtual void backward_per_example(ConstMatrixView<S> /*X*/, ConstMatrixView<S> dY, LinearCache<S>& cache,
                                    std::span<const Index> /*offsets*/, MatrixView<S> /*each*/, MatrixView<S> dX) const {
    require(!wants_gradient(), ErrorId::value, "LinearLayer: this kind of layer has no gradients per example");
    if (dX.cols() > 0) backward_input(dY, cache, dX);
  }

  /// Adds to `gradient` in either form. Overwrites dX, unless it has no columns because nobody below wants it.
  void backward_to(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache, const LayerGradient<S>& gradient,
                   MatrixView<S> dX) const {
    if (gradient.per_example()) {
      backward_per_example(X, dY, cache, gradient.offsets(), gradient.each(), dX);
    } else if (dX.cols() > 0) {
      backward(X, dY, cache, gradient.summed(), dX);
    } else {
      backward_parameters(X, dY, cache, gradient.summed());
    }
  }
};

}  // namespace lorasb
