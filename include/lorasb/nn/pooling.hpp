// One column per sequence from its tokens.
#pragma once

#include <span>
#include <string_view>

#include "lorasb/core/view.hpp"
#include "lorasb/core/offsets.hpp"

namespace lorasb::nn {
namespace detail {

inline void require_tokens(std::span<const Index> offsets, Index columns, std::string_view where) {
  require_offsets(offsets, columns, where);
  for (std::size_t i = 1; i < offsets.size(); ++i)
    require(offsets[i] > offsets[i - 1], ErrorId::value, where, ": sequence ", i - 1, " has no tokens to pool");
}

}  // namespace detail

/// y_i = mean of the columns of sequence i. X: d x tokens, Y: d x sequences, overwritten. Offsets as in PackedBatch.
/// Throws ErrorId::value for a sequence without tokens.
template <Real S>
void mean_pool(ConstMatrixView<S> X, std::span<const Index> offsets, MatrixView<S> Y) {
  detail::require_tokens(offsets, X.cols(), "mean_pool");
  require_shape(Y, X.rows(), std::ssize(offsets) - 1, "mean_pool", "Y", "rows of X x sequences");
  for (Index i = 0; i < Y.cols(); ++i) {
    const Index first = offsets[static_cast<std::size_t>(i)], end = offsets[static_cast<std::size_t>(i) + 1];
    Y.col(i) = X.col(first);
    for (Index t = first + 1; t < end; ++t) Y.col(i) += X.col(t);
    Y.col(i) /= static_cast<S>(end - first);
  }
}

/// dx_t = dy_i / tokens of i, for every token t of sequence i. Overwrites dX, d x tokens.
template <Real S>
void mean_pool_backward(ConstMatrixView<S> dY, std::span<const Index> offsets, MatrixView<S> dX) {
  detail::require_tokens(offsets, dX.cols(), "mean_pool_backward");
  require_shape(dY, dX.rows(), std::ssize(offsets) - 1, "mean_pool_backward", "dY", "rows of dX x sequences");
  for (Index i = 0; i < dY.cols(); ++i) {
    const Index first = offsets[static_cast<std::size_t>(i)], end = offsets[static_cast<std::size_t>(i) + 1];
    for (Index t = first; t < end; ++t) dX.col(t) = dY.col(i) / static_cast<S>(end - first);
  }
}

/// y_i = the first column of sequence i, such as that of [CLS]. Shapes and errors as in mean_pool.
template <Real S>
void first_pool(ConstMatrixView<S> X, std::span<const Index> offsets, MatrixView<S> Y) {
  detail::require_tokens(offsets, X.cols(), "first_pool");
  require_shape(Y, X.rows(), std::ssize(offsets) - 1, "first_pool", "Y", "rows of X x sequences");
  for (Index i = 0; i < Y.cols(); ++i) Y.col(i) = X.col(offsets[static_cast<std::size_t>(i)]);
}

/// dx_t = dy_i for the first token of sequence i, 0 for the others. Overwrites dX, d x tokens.
template <Real S>
void first_pool_backward(ConstMatrixView<S> dY, std::span<const Index> offsets, MatrixView<S> dX) {
  detail::require_tokens(offsets, dX.cols(), "first_pool_backward");
  require_shape(dY, dX.rows(), std::ssize(offsets) - 1, "first_pool_backward", "dY", "rows of dX x sequences");
  dX.setZero();
  for (Index i = 0; i < dY.cols(); ++i) dX.col(offsets[static_cast<std::size_t>(i)]) = dY.col(i);
}

}  // namespace lorasb::nn
