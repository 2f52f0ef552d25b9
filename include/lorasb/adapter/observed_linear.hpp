// A frozen linear layer that shows its backward pass to somebody: how a whole model's updates are estimated.
#pragma once

#include <functional>
#include <utility>

#include "lorasb/core/linear_layer.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb {

/// Y = W0 X. backward_parameters calls observer(dY, X) instead of adding to a gradient, so that an UpdateEstimate or
/// UpdateSketch can stand in a model's place for an adapter before there is one. The observer is called from the thread that
/// runs the pass.
template <Real S>
class ObservedLinear final : public LinearLayer<S> {
 public:
  using Observer = std::function<void(ConstMatrixView<S> dY, ConstMatrixView<S> X)>;

  /// Throws ErrorId::value for an empty observer.
  ObservedLinear(FrozenWeight<S> W0, Observer observer) : W0_(W0), observer_(std::move(observer)) {
    require(observer_ != nullptr, ErrorId::value, "ObservedLinear: the observer is empty");
  }
  template <class D>
  ObservedLinear(Eigen::PlainObjectBase<D>&&, Observer) = delete;  // the layer would outlive it

  Index out_features() const override { return W0_.rows(); }
  Index in_features() const override { return W0_.cols(); }
  Index trainable() const override { return 0; }
  bool wants_gradient() const override { return true; }

  void forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>&) const override {
    require_rows(X, in_features(), "ObservedLinear::forward", "X", "in_features");
    require_shape(Y, out_features(), X.cols(), "ObservedLinear::forward", "Y", "out_features x tokens");
    linalg::multiply(W0_, X, Y);
  }
  void backward_parameters(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>&, std::span<S>) const override {
    observer_(dY, X);
  }
  void backward_input(ConstMatrixView<S> dY, LinearCache<S>&, MatrixView<S> dX) const override {
    require_rows(dY, out_features(), "ObservedLinear::backward_input", "dY", "out_features");
    require_shape(dX, in_features(), dY.cols(), "ObservedLinear::backward_input", "dX", "in_features x tokens");
    linalg::multiply_transposed(W0_, dY, dX);
  }

 private:
  FrozenWeight<S> W0_;
  Observer observer_;
};

}  // namespace lorasb
