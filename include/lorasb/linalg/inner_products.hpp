// Inner products of columns, summed in double whatever the scalar: what an orthonormal basis is made and judged by.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::linalg {
namespace detail {

/// tile(i, j) = Σ_k l(k, i) m(k, j) for 4 x 4 columns, each `rows` numbers apart; `rows` is a multiple of 16. The index
/// sequence spells the tile out, so that its sums stay in registers.
template <int... T>
void multiply_tile(std::integer_sequence<int, T...>, const double* l, const double* m, Index rows, double (&tile)[16]) {
  using Packet = Eigen::internal::packet_traits<double>::type;
  constexpr Index width = Eigen::internal::packet_traits<double>::size;
  Packet sums[] = {(void(T), Eigen::internal::pset1<Packet>(0))...};
  for (Index k = 0; k < rows; k += width) {
    const Packet left[] = {Eigen::internal::pload<Packet>(l + k), Eigen::internal::pload<Packet>(l + rows + k),
                           Eigen::internal::pload<Packet>(l + 2 * rows + k), Eigen::internal::pload<Packet>(l + 3 * rows + k)};
    const Packet right[] = {Eigen::internal::pload<Packet>(m + k), Eigen::internal::pload<Packet>(m + rows + k),
                            Eigen::internal::pload<Packet>(m + 2 * rows + k), Eigen::internal::pload<Packet>(m + 3 * rows + k)};
    ((sums[T] = Eigen::internal::pmadd(left[T % 4], right[T / 4], sums[T])), ...);
  }
  ((tile[T] = Eigen::internal::predux(sums[T])), ...);
}

/// Rows begin to begin + count - 1 of M in double, in columns of `rows` numbers, up to a multiple of four columns; zero beyond.
template <Real S>
void widen(ConstMatrixView<S> M, Index begin, Index count, Index rows, Vector<double>& widened) {
  widened.resize(rows * ((M.cols() + 3) / 4 * 4));
  for (Index j = 0; j < widened.size() / rows; ++j) {
    double* const column = widened.data() + j * rows;
    const Index filled = j < M.cols() ? count : 0;
    for (Index i = 0; i < filled; ++i) column[i] = double(M(begin + i, j));
    std::fill(column + filled, column + rows, 0.0);
  }
}

}  // namespace detail

/// C = Lᵀ M in double, overwritten. L: m x p, M: m x q, C: p x q. The products of floats are exact, and their sums are rounded
/// as doubles: for float a squared length is as good as the length itself.
/// For L = M the lower triangle will do: `lower_only` leaves the rest of C undefined.
template <Real S>
void inner_products(ConstMatrixView<S> L, ConstMatrixView<S> M, MatrixView<double> C, bool lower_only = false) {
  require_rows(M, L.rows(), "linalg::inner_products", "M", "rows of L");
  require_shape(C, L.cols(), M.cols(), "linalg::inner_products", "C", "columns of L x columns of M");
  constexpr Index block = 128;  // rows at a time: 400 columns of them stay in a second-level cache
  const Index rows = std::min(block, (L.rows() + 15) / 16 * 16);
  for (Index j = 0; j < C.cols(); ++j) std::fill_n(C.data() + j * C.outerStride(), C.rows(), 0.0);
  Vector<double> left, right;
  double tile[16];
  for (Index begin = 0; begin < L.rows(); begin += block) {
    const Index count = std::min(block, L.rows() - begin);
    detail::widen<S>(L, begin, count, rows, left);
    detail::widen<S>(M, begin, count, rows, right);
    for (Index i = 0; i < C.rows(); i += 4)
      for (Index j = 0; j < (lower_only ? std::min(i + 4, C.cols()) : C.cols()); j += 4) {
        detail::multiply_tile(std::make_integer_sequence<int, 16>(), left.data() + i * rows, right.data() + j * rows, rows,
                              tile);
        for (Index t = 0; t < 16; ++t)
          if (i + t % 4 < C.rows() && j + t / 4 < C.cols()) C(i + t % 4, j + t / 4) += tile[t];
      }
  }
}

}  // namespace lorasb::linalg
