// What an iteration needs of a matrix: its size and its products.
#pragma once

#include "lorasb/linalg/thin_product.hpp"

namespace lorasb::linalg {

/// A matrix W (rows x cols) given by its products. Derive from it what is cheaper to multiply than to form.
template <Real S>
class LinearOperator {
 public:
  virtual ~LinearOperator() = default;
  virtual Index rows() const = 0;
  virtual Index cols() const = 0;
  /// Y = W X, overwritten. X: cols x k, Y: rows x k.
  virtual void multiply(ConstMatrixView<S> X, MatrixView<S> Y) const = 0;
  /// Y = Wᵀ X, overwritten. X: rows x k, Y: cols x k.
  virtual void multiply_transposed(ConstMatrixView<S> X, MatrixView<S> Y) const = 0;
};

/// A matrix in memory as an operator, by products that are fast for a few columns (thin_product.hpp) and do not go through the
/// chosen backend. It views W and owns nothing.
template <Real S>
class ThinOperator final : public LinearOperator<S> {
 public:
  explicit ThinOperator(ConstWeightView<S> W) : W_(W) {}
  template <class D>
  explicit ThinOperator(Eigen::PlainObjectBase<D>&&) = delete;  // the operator would outlive it

  Index rows() const override { return W_.rows(); }
  Index cols() const override { return W_.cols(); }
  void multiply(ConstMatrixView<S> X, MatrixView<S> Y) const override { multiply_thin<S>(W_, X, Y); }
  void multiply_transposed(ConstMatrixView<S> X, MatrixView<S> Y) const override { multiply_thin_transposed<S>(W_, X, Y); }

 private:
  ConstWeightView<S> W_;
};

/// Wᵀ of an operator W, by swapping the two products. It views W.
template <Real S>
class TransposedOperator final : public LinearOperator<S> {
 public:
  explicit TransposedOperator(const LinearOperator<S>& W) : W_(W) {}

  Index rows() const override { return W_.cols(); }
  Index cols() const override { return W_.rows(); }
  void multiply(ConstMatrixView<S> X, MatrixView<S> Y) const override { W_.multiply_transposed(X, Y); }
  void multiply_transposed(ConstMatrixView<S> X, MatrixView<S> Y) const override { W_.multiply(X, Y); }

 private:
  const LinearOperator<S>& W_;
};

}  // namespace lorasb::linalg
