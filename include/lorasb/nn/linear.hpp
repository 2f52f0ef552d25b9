// A plain linear layer over weights that the caller owns: frozen, or trained in full.
#pragma once

#include <string>
#include <utility>

#include "lorasb/core/layer.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb::nn {

/// Whether a layer has a gradient for its weights: none costs nothing in the backward pass.
enum class WeightGradient { none, full };

/// Y = W X,    dX = Wᵀ dY,    dW += dY Xᵀ         W: out x in, X: in x tokens, Y: out x tokens
///
/// No bias (nn/bias.hpp). The gradient of a layer with WeightGradient::full is dW, out * in numbers, row-major like W.
template <Real S>
class Linear final : public LinearLayer<S> {
 public:
  explicit Linear(FrozenWeight<S> W, WeightGradient gradient = WeightGradient::none, std::string name = "layer")
      : LinearLayer<S>("Linear", std::move(name), W.rows(), W.cols(), gradient == WeightGradient::full ? W.size() : 0), W_(W) {}

 private:
  void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>&) const override { linalg::multiply(W_, X, Y); }
  void run_backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>&, const LayerGradient<S>& gradient,
                    const InputGradient<S>& dX) const override {
    if (this->trainable() > 0)
      gradient.for_each(dY.cols(), [&](Index first, Index count, std::span<S> dW) {  // dW += dY Xᵀ
        linalg::multiply(dY.middleCols(first, count), linalg::transposed(X.middleCols(first, count)),
                         WeightView<S>(dW.data(), W_.rows(), W_.cols()), 1, 1);
      });
    if (dX.wanted()) linalg::multiply_transposed(W_, dY, dX.view());
  }

  FrozenWeight<S> W_;
};

}  // namespace lorasb::nn
