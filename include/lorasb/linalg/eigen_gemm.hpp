// The product of two matrices by Eigen, as plain numbers and strides: one compiled copy serves every kind of view.
#pragma once

#include <algorithm>

#include "lorasb/core/sums.hpp"

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
  for (Index j = 0; j < g.cols; ++j) {
    S* const column = g.result + j * g.result_stride;
    if (g.beta == S(0)) std::fill_n(column, g.rows, S(0));
    if (g.beta != S(0) && g.beta != S(1))
      for (Index i = 0; i < g.rows; ++i) column[i] *= g.beta;
  }
}

/// result += alpha left right by loops: for vectors and for matrices so small that blocking costs more than it saves.
template <Real S>
void add_by_loops(const Gemm<S>& g) {
  const Index right_step = g.right_row_major ? g.right_stride : 1;  // from one row of right to the next
  const Index right_column = g.right_row_major ? 1 : g.right_stride;
  for (Index j = 0; j < g.cols; ++j) {
    S* const column = g.result + j * g.result_stride;
    const S* const r = g.right + j * right_column;
    if (g.rows == 1 && right_step == 1 && (g.left_row_major || g.left_stride == 1)) {
      column[0] += g.alpha * S(dot(g.left, r, g.depth));
    } else if (!g.left_row_major) {
      for (Index k = 0; k < g.depth; ++k) {
        const S factor = g.alpha * r[k * right_step];
        const S* const l = g.left + k * g.left_stride;
        for (Index i = 0; i < g.rows; ++i) column[i] += factor * l[i];
      }
    } else if (right_step == 1) {
      for (Index i = 0; i < g.rows; ++i) column[i] += g.alpha * S(dot(g.left + i * g.left_stride, r, g.depth));
    } else {
      for (Index i = 0; i < g.rows; ++i) {
        const S* const l = g.left + i * g.left_stride;
        S sum = 0;
        for (Index k = 0; k < g.depth; ++k) sum += l[k] * r[k * right_step];
        column[i] += g.alpha * sum;
      }
    }
  }
}

/// result += alpha left right by the kernel behind Eigen's own products, which EIGEN_USE_BLAS replaces by BLAS's gemm. Called
/// here without the expressions around it: those cost a user a second of compile time for each pair of types. One thread.
template <Real S, int LeftOrder, int RightOrder>
void add_by_blocks(const Gemm<S>& g) {
  Eigen::internal::gemm_blocking_space<Eigen::ColMajor, S, S, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, 1, false>
      blocking(g.rows, g.cols, g.depth, 1, true);
  Eigen::internal::general_matrix_matrix_product<Index, S, LeftOrder, false, S, RightOrder, false, Eigen::ColMajor, 1>::run(
      g.rows, g.cols, g.depth, g.left, g.left_stride, g.right, g.right_stride, g.result, 1, g.result_stride, g.alpha, blocking,
      nullptr);
}

}  // namespace detail

template <Real S>
void eigen_gemm(const Gemm<S>& g) {
  detail::scale_result(g);
  if (g.rows == 0 || g.cols == 0 || g.depth == 0) return;
  if (g.rows == 1 || g.cols == 1 || g.rows + g.cols + g.depth < 20) return detail::add_by_loops(g);
  if (!g.left_row_major && !g.right_row_major) return detail::add_by_blocks<S, Eigen::ColMajor, Eigen::ColMajor>(g);
  if (!g.left_row_major) return detail::add_by_blocks<S, Eigen::ColMajor, Eigen::RowMajor>(g);
  if (!g.right_row_major) return detail::add_by_blocks<S, Eigen::RowMajor, Eigen::ColMajor>(g);
  return detail::add_by_blocks<S, Eigen::RowMajor, Eigen::RowMajor>(g);
}

}  // namespace lorasb::linalg
