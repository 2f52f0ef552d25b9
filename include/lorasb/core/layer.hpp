// The contract of a linear map inside a model, whatever it is made of: frozen, adapted, trained in full.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lorasb/core/layer_gradient.hpp"
#include "lorasb/core/linear_cache.hpp"
#include "lorasb/core/offsets.hpp"

namespace lorasb {

template <Real S>
class LinearLayer;

/// What forward returns and backward takes: which layer was run, on which X, with which cache. backward refuses a pass that is
/// not the last one of its cache, so that a gradient never mixes two batches or two layers.
template <Real S>
class ForwardPass {
 public:
  /// No pass.
  ForwardPass() = default;
  /// X as forward was given it. It must still hold the same numbers.
  ConstMatrixView<S> X() const { return {data_, rows_, cols_, stride_}; }

 private:
  friend class LinearLayer<S>;
  ForwardPass(const LinearLayer<S>* layer, ConstMatrixView<S> X, std::uint64_t id)
      : layer_(layer), data_(X.data()), rows_(X.rows()), cols_(X.cols()), stride_(X.outerStride()), id_(id) {}

  const LinearLayer<S>* layer_ = nullptr;
  const S* data_ = nullptr;  // of X: a view cannot be assigned, a pass can
  Index rows_ = 0, cols_ = 0, stride_ = 0;
  std::uint64_t id_ = 0;
};

/// Y = layer(X), with X: in x tokens and Y: out x tokens, no bias. A layer only describes: a pass changes nothing in it, so
/// many threads and clients share one. Parameter gradients are added to; every other output is overwritten. Wrong sizes throw
/// ErrorId::shape.
///
///     const ForwardPass<float> pass = layer.forward(X, Y, cache);
///     layer.backward(pass, dY, cache, gradient, dX);            // both
///     layer.backward(pass, dY, cache, gradient, not_wanted);    // the lowest layer of a model
///
/// A layer of your own derives from it, calls the constructor with its sizes, and overrides run_forward and run_backward.
template <Real S>
class LinearLayer {
 public:
  virtual ~LinearLayer() = default;

  Index out_features() const { return out_features_; }
  Index in_features() const { return in_features_; }
  /// How many trained values the layer has; 0 when it is frozen.
  Index trainable() const { return trainable_; }
  /// For messages.
  const std::string& name() const { return name_; }
  /// Whether backward has anything to do but dX; a model goes no further down than the lowest layer that wants it.
  virtual bool wants_gradient() const { return trainable_ > 0; }

  /// Overwrites Y and the cache.
  ForwardPass<S> forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const {
    if (X.rows() != in_features_)
      require_rows(X, in_features_, where("forward"), "X", "in_features of \"", name_, "\"");
    if (Y.rows() != out_features_ || Y.cols() != X.cols())
      require_shape(Y, out_features_, X.cols(), where("forward"), "Y", "out_features of \"", name_, "\" x tokens");
    cache.set_pass(0);            // should run_forward throw
    cache.batch_statistics = {};  // those of another batch
    run_forward(X, Y, cache);
    cache.set_pass(next_pass());
    return {this, X, cache.pass()};
  }

  /// dY: out x tokens. Adds to `gradient`, and overwrites dX, in x tokens, unless they are not wanted. `pass` is what the last
  /// forward with this cache returned, or ErrorId::shape is thrown. It may be used more than once.
  void backward(const ForwardPass<S>& pass, ConstMatrixView<S> dY, LinearCache<S>& cache, const LayerGradient<S>& gradient,
                const InputGradient<S>& dX) const {
    check_pass(pass, cache);
    if (dY.rows() != out_features_ || dY.cols() != pass.cols_)
      require_shape(dY, out_features_, pass.cols_, where("backward"), "dY", "out_features of \"", name_,
                    "\" x tokens of the forward pass");
    check_gradient(gradient, dY.cols());
    require(cache.batch_statistics.empty() || std::ssize(cache.batch_statistics) == statistics_size(), ErrorId::shape,
            kind_, "::backward: the batch's statistics are ", cache.batch_statistics.size(), " numbers, expected ",
            statistics_size(), " (\"", name_, "\")");
    if (dX.wanted() && (dX.view().rows() != in_features_ || dX.view().cols() != dY.cols()))
      require_shape(dX.view(), in_features_, dY.cols(), where("backward"), "dX", "in_features of \"", name_, "\" x tokens");
    run_backward(pass.X(), dY, cache, gradient, dX);
  }

  /// A loss of the layer's own, such as the balance of a router: a function of sums over all tokens of a batch, which forward
  /// leaves in cache.statistics, statistics_size() numbers. A batch that is cut into parts adds up the statistics of its parts
  /// and sets cache.batch_statistics before backward, which adds the gradient of the loss of the *whole* batch: loss and
  /// gradient then do not depend on the parts.
  virtual Index statistics_size() const { return 0; }
  virtual double auxiliary_loss(std::span<const double> /*statistics*/) const { return 0; }

 protected:
  /// `kind` is the class, for messages; a literal.
  LinearLayer(const char* kind, std::string name, Index out_features, Index in_features, Index trainable)
      : kind_(kind), name_(std::move(name)), out_features_(out_features), in_features_(in_features), trainable_(trainable) {}
  LinearLayer(const LinearLayer&) = default;
  LinearLayer& operator=(const LinearLayer&) = default;

  /// "AdaptedLinear::forward", for messages.
  std::string where(const char* function) const { return std::string(kind_) + "::" + function; }

 private:
  virtual void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const = 0;
  /// All sizes are checked. gradient.for_each() calls back for the whole batch or for each example.
  virtual void run_backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache,
                            const LayerGradient<S>& gradient, const InputGradient<S>& dX) const = 0;

  static std::uint64_t next_pass() {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  void check_pass(const ForwardPass<S>& pass, const LinearCache<S>& cache) const {
    if (pass.layer_ == this && pass.id_ == cache.pass() && pass.id_ != 0) [[likely]]
      return;
    const char* const why = pass.layer_ == nullptr ? "the pass is empty: give backward what forward returned"
                            : pass.layer_ != this
                                ? "the pass is of another layer"
                                : "the cache holds another forward pass: every layer needs a cache of its own, and a pass over "
                                  "other data between forward and backward needs another one";
    throw Error(ErrorId::shape, concat(where("backward"), ": ", why, " (\"", name_, "\")"));
  }
  void check_gradient(const LayerGradient<S>& gradient, Index tokens) const {
    if (!gradient.wanted() || trainable_ == 0) return;
    if (gradient.per_example()) {
      require_offsets(gradient.offsets(), tokens, where("backward"));
      require_shape(gradient.each(), trainable_, static_cast<Index>(gradient.offsets().size()) - 1, where("backward"),
                    "the gradient", "trained values of \"", name_, "\" x examples");
    } else if (static_cast<Index>(gradient.summed().size()) != trainable_) {
      throw Error(ErrorId::shape, concat(where("backward"), ": the gradient has ", gradient.summed().size(),
                                         " numbers, expected ", trainable_, " (trained values of \"", name_, "\")"));
    }
  }

  const char* kind_;
  std::string name_;
  Index out_features_, in_features_, trainable_;
};

}  // namespace lorasb
