// A plain linear layer over weights that somebody else owns.
#pragma once

#include "lorasb/core/linear_layer.hpp"
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
  explicit Linear(FrozenWeight<S> W, WeightGradient gradient = WeightGradient::none) : W_(W), gradient_(gradient) {}
  template <class D>
  explicit Linear(Eigen::PlainObjectBase<D>&&, WeightGradient = WeightGradient::none) = delete;  // the layer would outlive it

  Index out_features() const override { return W_.rows(); }
  Index in_features() const override { return W_.cols(); }
  Index trainable() const override { return gradient_ == WeightGradient::full ? W_.size() : 0; }

  void forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>&) const override {
    require_rows(X, in_features(), "Linear::forward", "X", "in_features");
    require_shape(Y, out_features(), X.cols(), "Linear::forward", "Y", "out_features x tokens");
    linalg::multiply(W_, X, Y);
  }

  void backward_parameters(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>&, std::span<S> gradient) const override {
    require(std::ssize(gradient) == trainable(), ErrorId::shape, "Linear::backward_parameters: gradient holds ",
            gradient.size(), " numbers, expected ", trainable());
    require_shape(X, in_features(), dY.cols(), "Linear::backward_parameters", "X", "in_features x columns of dY");
    require_rows(dY, out_features(), "Linear::backward_parameters", "dY", "out_features");
    if (trainable() > 0)
      linalg::multiply(dY, linalg::transposed(X), WeightView<S>(gradient.data(), W_.rows(), W_.cols()), 1, 1);
  }

  void backward_input(ConstMatrixView<S> dY, LinearCache<S>&, MatrixView<S> dX) const override {
    require_rows(dY, out_features(), "Linear::backward_input", "dY", "out_features");
    require_shape(dX, in_features(), dY.cols(), "Linear::backward_input", "dX", "in_features x tokens");
    linalg::multiply_transposed(W_, dY, dX);
  }

 private:
  FrozenWeight<S> W_;
  WeightGradient gradient_;
};

}  // namespace lorasb::nn
