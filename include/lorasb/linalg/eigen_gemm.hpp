// The product of two matrices by Eigen, as plain numbers and strides: one compiled copy serves every kind of view.
#pragma once

#include <algorithm>

#include "lorasb/core/types.hpp"
#include "lorasb/linalg/matrix_vector.hpp"

namespace lorasb::linalg {

/// C = alpha L M + beta C with C: rows x cols, column-major, L: rows x depth and M: depth x cols, either column-major or
/// row-major, each with the distance between its columns (or rows). C is not read when beta is 0, and lies apart from L and M.
template <Real S>
struct Gemm {
  Index rows = 0, cols = 0, depth = 0;
  S alpha = 1;
  const S* left = nullptr;
  Index left_stride = 0;
  bool left_row_major = false;
  const S* right = nullptr;
  Index right_stride = 0;
  bool right_row_major = false;
  S beta = 0;
  S* result = nullptr;
  Index result_stride = 0;
};

namespace detail {

template <Real S>
void scale_result(const Gemm<S>& g) {
  if (g.beta == S(1)) return;
  for (Index j = 0; j < g.cols; ++j) {
    S* const column = g.result + j * g.result_stride;
    if (g.beta == S(0)) std::fill_n(column, g.rows, S(0));
    if (g.beta != S(0))
      for (Index i = 0; i < g.rows; ++i) column[i] *= g.beta;
  }
}

/// result += alpha left right by loops: for matrices so small that calling a kernel costs more than it saves.
template <Real S>
void add_by_loops(const Gemm<S>& g) {
  const Index left_row = g.left_row_major ? g.left_stride : 1, left_column = g.left_row_major ? 1 : g.left_stride;
  const Index right_row = g.right_row_major ? g.right_stride : 1, right_column = g.right_row_major ? 1 : g.right_stride;
  for (Index j = 0; j < g.cols; ++j)
    for (Index i = 0; i < g.rows; ++i) {
      const S *const l = g.left + i * left_row, *const r = g.right + j * right_column;
      S sum = 0;
      for (Index k = 0; k < g.depth; ++k) sum += l[k * left_column] * r[k * right_row];
      g.result[j * g.result_stride + i] += g.alpha * sum;
    }
}

/// result += alpha left right where the left one is a row: the row result is (rightᵀ leftᵀ)ᵀ, and rightᵀ has the other storage order.
template <Real S>
void add_row(const Gemm<S>& g) {
  const Index step = g.left_row_major ? 1 : g.left_stride;
  const auto add = g.right_row_major ? add_matrix_vector<S, Eigen::ColMajor> : add_matrix_vector<S, Eigen::RowMajor>;
  add(g.cols, g.depth, g.right, g.right_stride, g.left, step, g.result, g.result_stride, g.alpha);
}

/// result += alpha left right where the depth is one: the outer product of a column and a row.
template <Real S>
void add_outer(const Gemm<S>& g) {
  const Index left_row = g.left_row_major ? g.left_stride : 1, right_column = g.right_row_major ? 1 : g.right_stride;
  if (left_row != 1) return add_by_loops(g);
  const Eigen::Map<const Vector<S>> left(g.left, g.rows);
  for (Index j = 0; j < g.cols; ++j)
    Eigen::Map<Vector<S>>(g.result + j * g.result_stride, g.rows) += (g.alpha * g.right[j * right_column]) * left;
}

/// result += alpha left right by the kernel behind Eigen's own products, which EIGEN_USE_BLAS replaces by BLAS's gemm. Called
/// here without the expressions around it: those cost a user a second of compile time for each pair of types. One thread.
template <Real S, int LeftOrder, int RightOrder>
[[gnu::noinline]] void add_by_blocks(const Gemm<S>& g) {
  Eigen::internal::gemm_blocking_space<Eigen::ColMajor, S, S, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, 1, false>
      blocking(g.rows, g.cols, g.depth, 1, true);
  Eigen::internal::general_matrix_matrix_product<Index, S, LeftOrder, false, S, RightOrder, false, Eigen::ColMajor, 1>::run(
      g.rows, g.cols, g.depth, g.left, g.left_stride, g.right, g.right_stride, g.result, 1, g.result_stride, g.alpha, blocking,
      nullptr);
}

}  // namespace detail

/// y = alpha M x + beta y, for M: rows x depth of either storage order and a vector y without gaps: eigen_gemm for one column, with
/// less on the way to it.
template <Real S>
void eigen_gemv(Index rows, Index depth, const S* M, Index stride, bool row_major, const S* x, Index x_step, S* y, S alpha, S beta) {
  if (beta == S(0))
    Eigen::Map<Vector<S>>(y, rows).setZero();  // std::fill_n leaves stores that the kernel waits for
  else if (beta != S(1))
    for (Index i = 0; i < rows; ++i) y[i] *= beta;
  if (rows == 0 || depth == 0) return;
  if (row_major)
    detail::add_matrix_vector<S, Eigen::RowMajor>(rows, depth, M, stride, x, x_step, y, 1, alpha);
  else
    detail::add_matrix_vector<S, Eigen::ColMajor>(rows, depth, M, stride, x, x_step, y, 1, alpha);
}

template <Real S>
void eigen_gemm(const Gemm<S>& g) {
  if (g.cols == 1)
    return eigen_gemv<S>(g.rows, g.depth, g.left, g.left_stride, g.left_row_major, g.right, g.right_row_major ? g.right_stride : 1, g.result, g.alpha,
                         g.beta);
  detail::scale_result(g);
  if (g.rows == 0 || g.cols == 0 || g.depth == 0) return;
  if (g.rows == 1) return detail::add_row(g);
  if (g.depth == 1) return detail::add_outer(g);
  if (g.rows + g.cols + g.depth < 20) return detail::add_by_loops(g);
  if (!g.left_row_major && !g.right_row_major) return detail::add_by_blocks<S, Eigen::ColMajor, Eigen::ColMajor>(g);
  if (!g.left_row_major) return detail::add_by_blocks<S, Eigen::ColMajor, Eigen::RowMajor>(g);
  if (!g.right_row_major) return detail::add_by_blocks<S, Eigen::RowMajor, Eigen::ColMajor>(g);
  return detail::add_by_blocks<S, Eigen::RowMajor, Eigen::RowMajor>(g);
}

}  // namespace lorasb::linalg
