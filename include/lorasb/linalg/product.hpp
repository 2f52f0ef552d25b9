// The product of two matrices, by the backend that the program has chosen. Only the SVD of a large matrix has one of its own
// (column_product.hpp).
#pragma once

#include <type_traits>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/linalg/backend.hpp"

namespace lorasb::linalg {

/// What a product reads: a matrix, map or block of either storage order, looked at and never copied.
template <Real S>
struct Factor {
  /// An m x n matrix that lies there.
  Factor(const S* numbers, Index m, Index n, Index from_line_to_line, bool is_row_major)
      : data(numbers), rows(m), cols(n), stride(from_line_to_line), row_major(is_row_major) {}
  template <int Order>
  Factor(ConstView<S, Order> m)
      : data(m.data()), rows(m.rows()), cols(m.cols()), stride(m.outerStride()), row_major(Order == Eigen::RowMajor) {}
  template <class D>
  requires(lorasb::detail::ViewableAs<D, S, Eigen::ColMajor> || lorasb::detail::ViewableAs<D, S, Eigen::RowMajor>)
      Factor(const Eigen::DenseBase<D>& m)
      : Factor(ConstView<S, order_of<D>>(m)) {}

  const S* data;
  Index rows, cols;
  Index stride;  // from one column (or row) to the next
  bool row_major;
};

/// What a product writes: the same, where entries can be written.
template <Real S>
struct Target {
  template <int Order>
  Target(View<S, Order> m)
      : data(m.data()), rows(m.rows()), cols(m.cols()), stride(m.outerStride()), row_major(Order == Eigen::RowMajor) {}
  template <class D>
  requires(lorasb::detail::WritableAs<D, S, Eigen::ColMajor> || lorasb::detail::WritableAs<D, S, Eigen::RowMajor>)
      Target(Eigen::DenseBase<D>& m)
      : Target(View<S, order_of<D>>(m)) {}
  template <class D>  // a block or map passed as it is made
  requires(!std::derived_from<D, Eigen::PlainObjectBase<D>> &&
           (lorasb::detail::WritableAs<D, S, Eigen::ColMajor> || lorasb::detail::WritableAs<D, S, Eigen::RowMajor>))
      Target(Eigen::DenseBase<D>&& m)
      : Target(View<S, order_of<D>>(std::move(m))) {}

  S* data;
  Index rows, cols;
  Index stride;
  bool row_major;
};

namespace detail {

template <Real S>
void run_gemm(const Factor<S>& left, const Factor<S>& right, const Target<S>& result, S alpha, S beta) {
  require(right.rows == left.cols, ErrorId::shape, "linalg::multiply: right is ", right.rows, " x ", right.cols, ", expected ",
          left.cols, " rows (columns of left)");
  require(result.rows == left.rows && result.cols == right.cols, ErrorId::shape, "linalg::multiply: result is ", result.rows,
          " x ", result.cols, ", expected ", left.rows, " x ", right.cols, " (rows of left x columns of right)");
  require(result.rows == 0 || result.cols == 0 || (result.data != left.data && result.data != right.data), ErrorId::value,
          "linalg::multiply: the result lies where a factor does");
  const Backend* chosen = nullptr;
  if constexpr (std::same_as<S, float>) chosen = backend();
  if (chosen == nullptr && result.cols == 1 && !result.row_major)
    return eigen_gemv<S>(left.rows, left.cols, left.data, left.stride, left.row_major, right.data, right.row_major ? right.stride : 1, result.data,
                      alpha, beta);
  // A row-major result is the column-major (left right)ᵀ = rightᵀ leftᵀ.
  const bool turned = result.row_major;
  const Factor<S>& l = turned ? right : left;
  const Factor<S>& r = turned ? left : right;
  const Gemm<S> gemm{.rows = turned ? result.cols : result.rows,
                     .cols = turned ? result.rows : result.cols,
                     .depth = left.cols,
                     .alpha = alpha,
                     .left = l.data,
                     .left_stride = l.stride,
                     .left_row_major = l.row_major != turned,
                     .right = r.data,
                     .right_stride = r.stride,
                     .right_row_major = r.row_major != turned,
                     .beta = beta,
                     .result = result.data,
                     .result_stride = result.stride};
  if constexpr (std::same_as<S, float>)
    if (chosen != nullptr) return chosen->gemm(gemm);
  eigen_gemm(gemm);
}

}  // namespace detail

/// Mᵀ as a view of the same memory: a column-major m x k matrix is a row-major k x m one.
template <Real S, int Order>
View<S, other_order<Order>> transposed(View<S, Order> m) {
  return {m.data(), m.cols(), m.rows(), m.outerStride()};
}
template <class D>
ConstView<typename D::Scalar, other_order<order_of<D>>> transposed(const Eigen::DenseBase<D>& m) {
  const ConstView<typename D::Scalar, order_of<D>> view(m);
  return {view.data(), view.cols(), view.rows(), view.outerStride()};
}

template <class D>
void transposed(Eigen::PlainObjectBase<D>&&) = delete;  // the view would outlive the matrix

/// result = alpha left right + beta result. Each may be a matrix, map or block of either storage order; what would have to be
/// copied first does not compile. With beta = 0 the result is overwritten, whatever stood there. It must not overlap the
/// others. One thread, unless a BLAS has more. Throws ErrorId::shape, and ErrorId::value when it begins where another one does.
///
///     multiply(W, X, Y);                            // Y = W X
///     multiply(transposed(W), dY, dX);              // dX = Wᵀ dY
///     multiply(dY, transposed(X), dW, alpha, 1);    // dW += alpha dY Xᵀ
template <class D, class S = typename D::Scalar>
void multiply(const Eigen::DenseBase<D>& left, Factor<std::type_identity_t<S>> right, Target<std::type_identity_t<S>> result,
              std::type_identity_t<S> alpha = 1, std::type_identity_t<S> beta = 0) {
  detail::run_gemm<S>(left, right, result, alpha, beta);
}

/// alpha left right as a new matrix.
template <class D, class S = typename D::Scalar>
Matrix<S> product(const Eigen::DenseBase<D>& left, Factor<std::type_identity_t<S>> right, std::type_identity_t<S> alpha = 1) {
  Matrix<S> result(left.rows(), right.cols);
  detail::run_gemm<S>(left, right, result, alpha, S(0));
  return result;
}

}  // namespace lorasb::linalg
