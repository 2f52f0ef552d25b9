// Element-wise activations: relu, gelu and its approximation by tanh, tanh.
#pragma once

#include <cmath>
#include <numbers>
#include <unsupported/Eigen/SpecialFunctions>  // erf that vectorises

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

// All matrices have one shape, or ErrorId::shape is thrown. The last argument is overwritten and may be the first itself.
// NaN stays NaN.
namespace lorasb::nn {

/// y = max(x, 0).
template <Real S>
void relu(ConstMatrixView<S> X, MatrixView<S> Y) {
  require_shape(Y, X.rows(), X.cols(), "relu", "Y", "the shape of X");
  Y = X.unaryExpr([](S x) { return x < S(0) ? S(0) : x; });
}

/// dx = dy where y > 0, else 0.
template <Real S>
void relu_backward(ConstMatrixView<S> dY, ConstMatrixView<S> Y, MatrixView<S> dX) {
  require_shape(dY, Y.rows(), Y.cols(), "relu_backward", "dY", "the shape of Y");
  require_shape(dX, Y.rows(), Y.cols(), "relu_backward", "dX", "the shape of Y");
  dX = dY.binaryExpr(Y, [](S dy, S y) { return y > S(0) ? dy : S(0); });  // both are loaded, so no branch: select() has one
}

/// y = x Φ(x), Φ(x) = (1 + erf(x / √2)) / 2 the normal distribution: torch's default, not the approximation by tanh.
/// In float within 4e-7 |x| of the exact value.
template <Real S>
void gelu(ConstMatrixView<S> X, MatrixView<S> Y) {
  require_shape(Y, X.rows(), X.cols(), "gelu", "Y", "the shape of X");
  constexpr S sqrt_half = static_cast<S>(1 / std::numbers::sqrt2);
  Y.array() = S(0.5) * X.array() * (S(1) + (X.array() * sqrt_half).erf());
}

/// dx = dy (Φ(x) + x φ(x)), φ(x) = exp(-x² / 2) / √(2 π). X is what gelu was given.
template <Real S>
void gelu_backward(ConstMatrixView<S> dY, ConstMatrixView<S> X, MatrixView<S> dX) {
  require_shape(dY, X.rows(), X.cols(), "gelu_backward", "dY", "the shape of X");
  require_shape(dX, X.rows(), X.cols(), "gelu_backward", "dX", "the shape of X");
  constexpr S sqrt_half = static_cast<S>(1 / std::numbers::sqrt2);
  constexpr S density = static_cast<S>(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  dX.array() = dY.array() *
               (S(0.5) * (S(1) + (X.array() * sqrt_half).erf()) + density * X.array() * (S(-0.5) * X.array().square()).exp());
}

namespace detail {

constexpr double gelu_tanh_slope = 0.79788456080286535588;  // √(2 / π)
constexpr double gelu_tanh_cubic = 0.044715;

}  // namespace detail

/// y = x (1 + tanh(c (x + a x³))) / 2, c = √(2 / π), a = 0.044715: "gelu_new" of transformers, within 5e-4 of gelu (Hendrycks and
/// Gimpel, arXiv 1606.08415).
template <Real S>
void gelu_tanh(ConstMatrixView<S> X, MatrixView<S> Y) {
  require_shape(Y, X.rows(), X.cols(), "gelu_tanh", "Y", "the shape of X");
  constexpr S c = static_cast<S>(detail::gelu_tanh_slope), ca = static_cast<S>(detail::gelu_tanh_slope * detail::gelu_tanh_cubic);
  Y.array() = S(0.5) * X.array() * (S(1) + (X.array() * (c + ca * X.array().square())).tanh());
}

/// dx = dy (1 + t + x (1 - t²) c (1 + 3 a x²)) / 2, t = tanh(c (x + a x³)). X is what gelu_tanh was given.
template <Real S>
void gelu_tanh_backward(ConstMatrixView<S> dY, ConstMatrixView<S> X, MatrixView<S> dX) {
  require_shape(dY, X.rows(), X.cols(), "gelu_tanh_backward", "dY", "the shape of X");
  require_shape(dX, X.rows(), X.cols(), "gelu_tanh_backward", "dX", "the shape of X");
  constexpr S c = static_cast<S>(detail::gelu_tanh_slope), ca = static_cast<S>(detail::gelu_tanh_slope * detail::gelu_tanh_cubic);
  for (Index j = 0; j < X.cols(); ++j) {
    const auto x = X.col(j).array();
    const Eigen::Array<S, Eigen::Dynamic, 1> t = (x * (c + ca * x.square())).tanh();
    dX.col(j).array() = S(0.5) * dY.col(j).array() * (S(1) + t + x * (S(1) - t.square()) * (c + S(3) * ca * x.square()));
  }
}

/// y = tanh x.
template <Real S>
void tanh(ConstMatrixView<S> X, MatrixView<S> Y) {
  require_shape(Y, X.rows(), X.cols(), "tanh", "Y", "the shape of X");
  Y.array() = X.array().tanh();
}

/// dx = dy (1 - y²).
template <Real S>
void tanh_backward(ConstMatrixView<S> dY, ConstMatrixView<S> Y, MatrixView<S> dX) {
  require_shape(dY, Y.rows(), Y.cols(), "tanh_backward", "dY", "the shape of Y");
  require_shape(dX, Y.rows(), Y.cols(), "tanh_backward", "dX", "the shape of Y");
  dX.array() = dY.array() * (S(1) - Y.array().square());
}

/// The activations by name, for blocks that have one as an option.
enum class Activation { relu, gelu, gelu_tanh, tanh };

/// Whether the backward pass of an activation reads its input; the others read its output.
constexpr bool reads_input(Activation kind) { return kind == Activation::gelu || kind == Activation::gelu_tanh; }

/// y = f(x).
template <Real S>
void activate(Activation kind, ConstMatrixView<S> X, MatrixView<S> Y) {
  switch (kind) {
    case Activation::relu:
      return relu<S>(X, Y);
    case Activation::gelu:
      return gelu<S>(X, Y);
    case Activation::gelu_tanh:
      return gelu_tanh<S>(X, Y);
    case Activation::tanh:
      return nn::tanh<S>(X, Y);
  }
}

/// dx = dy f'(x). `XorY` is the input of the forward pass where reads_input(kind), else its output.
template <Real S>
void activate_backward(Activation kind, ConstMatrixView<S> dY, ConstMatrixView<S> XorY, MatrixView<S> dX) {
  switch (kind) {
    case Activation::relu:
      return relu_backward<S>(dY, XorY, dX);
    case Activation::gelu:
      return gelu_backward<S>(dY, XorY, dX);
    case Activation::gelu_tanh:
      return gelu_tanh_backward<S>(dY, XorY, dX);
    case Activation::tanh:
      return tanh_backward<S>(dY, XorY, dX);
  }
}

}  // namespace lorasb::nn
