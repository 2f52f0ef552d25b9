// The large matrix products of the library, in one place, so that another backend has one place to go.
#pragma once

#include <type_traits>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

// The first argument fixes S; the others are converted, so a matrix or block goes in as it is. When the first one is not a
// view yet, S is named: multiply<float>(weight, X, Y). Outputs must not overlap inputs. Wrong sizes throw ErrorId::shape.
// Every product written out in Eigen costs its user a second of compile time; these are compiled once for a scalar.
namespace lorasb::linalg {

/// Qᵀ as a view of the same memory: a column-major m x k matrix is a row-major k x m one.
template <Real S>
ConstWeightView<S> transposed(ConstMatrixView<S> Q) {
  return {Q.data(), Q.cols(), Q.rows(), Q.outerStride()};
}

/// Y = W X, overwritten. W: m x n, X: n x T, Y: m x T.
template <Real S>
void multiply(ConstWeightView<S> W, ConstMatrixView<std::type_identity_t<S>> X, MatrixView<std::type_identity_t<S>> Y) {
  require_rows(X, W.cols(), "linalg::multiply", "X", "columns of W");
  require_shape(Y, W.rows(), X.cols(), "linalg::multiply", "Y", "rows of W x columns of X");
  Y.noalias() = W * X;
}

/// dX = Wᵀ dY, overwritten: the gradient of Y = W X with respect to X. W: m x n, dY: m x T, dX: n x T.
template <Real S>
void multiply_transposed(ConstWeightView<S> W, ConstMatrixView<std::type_identity_t<S>> dY,
                         MatrixView<std::type_identity_t<S>> dX) {
  require_rows(dY, W.rows(), "linalg::multiply_transposed", "dY", "rows of W");
  require_shape(dX, W.cols(), dY.cols(), "linalg::multiply_transposed", "dX", "columns of W x columns of dY");
  dX.noalias() = W.transpose() * dY;
}

/// dW += alpha dY Xᵀ: the gradient of Y = W X with respect to W, added. dY: m x T, X: n x T, dW: m x n.
template <Real S>
void add_outer(ConstMatrixView<S> dY, ConstMatrixView<std::type_identity_t<S>> X, std::type_identity_t<S> alpha,
               WeightView<std::type_identity_t<S>> dW) {
  require_shape(X, dW.cols(), dY.cols(), "linalg::add_outer", "X", "columns of dW x columns of dY");
  require_shape(dW, dY.rows(), X.rows(), "linalg::add_outer", "dW", "rows of dY x rows of X");
  dW.noalias() += alpha * dY * X.transpose();
}

}  // namespace lorasb::linalg
