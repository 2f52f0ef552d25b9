// What an iteration needs to know of a matrix: its size and its products.
#pragma once

#include <concepts>

#include "lorasb/linalg/product.hpp"

namespace lorasb::linalg {

/// A matrix W (rows x cols) given by its products: `multiply(X, Y)` overwrites Y (rows x k) with W X,
/// `multiply_transposed(X, Y)` overwrites Y (cols x k) with Wᵀ X.
template <class Op, class S>
concept LinearOperator = Real<S> && requires(const Op& op, ConstMatrixView<S> X, MatrixView<S> Y) {
  { op.rows() } -> std::convertible_to<Index>;
  { op.cols() } -> std::convertible_to<Index>;
  op.multiply(X, Y);
  op.multiply_transposed(X, Y);
};

/// A matrix in memory as an operator. It looks at W and owns nothing.
template <Real S>
class DenseOperator {
 public:
  explicit DenseOperator(ConstWeightView<S> W) : W_(W) {}

  Index rows() const { return W_.rows(); }
  Index cols() const { return W_.cols(); }
  void multiply(ConstMatrixView<S> X, MatrixView<S> Y) const { linalg::multiply(W_, X, Y); }
  void multiply_transposed(ConstMatrixView<S> X, MatrixView<S> Y) const { linalg::multiply_transposed(W_, X, Y); }

 private:
  ConstWeightView<S> W_;
};

/// Wᵀ of an operator W, by swapping the two products.
template <Real S, LinearOperator<S> Op>
class TransposedOperator {
 public:
  explicit TransposedOperator(const Op& op) : op_(op) {}

  Index rows() const { return op_.cols(); }
  Index cols() const { return op_.rows(); }
  void multiply(ConstMatrixView<S> X, MatrixView<S> Y) const { op_.multiply_transposed(X, Y); }
  void multiply_transposed(ConstMatrixView<S> X, MatrixView<S> Y) const { op_.multiply(X, Y); }

 private:
  const Op& op_;
};

}  // namespace lorasb::linalg
