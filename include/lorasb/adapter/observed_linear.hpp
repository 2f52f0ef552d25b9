// A frozen linear layer that passes dY and X of each backward pass to a callback; used to estimate the first step.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "lorasb/core/layer.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb {

/// Y = W0 X. backward calls observer(dY, X), for instance to add them to a GradientEstimate or GradientSketch before there
/// is an adapter. The observer runs on the thread that runs the pass.
template <Real S>
class ObservedLinear final : public LinearLayer<S> {
 public:
  using Observer = std::function<void(ConstMatrixView<S> dY, ConstMatrixView<S> X)>;

  /// Throws ErrorId::value for an empty observer.
  ObservedLinear(FrozenWeight<S> W0 LORASB_LIFETIMEBOUND, Observer observer, std::string name = "layer")
      : LinearLayer<S>("ObservedLinear", std::move(name), W0.rows(), W0.cols(), 0), W0_(W0), observer_(std::move(observer)) {
    require(observer_ != nullptr, ErrorId::value, "ObservedLinear: the observer is empty (\"", this->name(), "\")");
  }

  bool wants_gradient() const override { return true; }

 private:
  void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>&) const override { linalg::multiply(W0_, X, Y); }
  void run_backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>&, const LayerGradient<S>&,
                    const InputGradient<S>& dX) const override {
    observer_(dY, X);
    if (dX.wanted()) linalg::multiply_transposed(W0_, dY, dX.view());
  }

  FrozenWeight<S> W0_;
  Observer observer_;
};

}  // namespace lorasb
