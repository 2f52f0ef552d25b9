// Products of a large matrix with a few columns. A general product copies the matrix into the order of its kernel, which pays
// when many columns share the copy; with a few dozen columns the copy takes a quarter to a half of the time.
#pragma once

#include <algorithm>
#include <utility>

#include "lorasb/core/view.hpp"

namespace lorasb::linalg {
namespace detail {

/// Up to `packets` SIMD registers of columns, interleaved: entry (k, c) of the columns stands at [k * columns + c]. The matrix
/// beside them is read where it lies, `lines` of its rows at a time, each number once. Index sequences spell the tiles out, so
/// that their sums stay in registers.
template <Real S, int packets>
struct ColumnPanel {
  using Packet = typename Eigen::internal::packet_traits<S>::type;
  static constexpr int width = Eigen::internal::packet_traits<S>::size;
  static constexpr Index columns = packets * width;
  static constexpr int lines = sizeof(Packet) == 64 ? 8 : 4;  // as many sums as there are registers, less those of x and W
  static constexpr Index chunk = 2048;  // of the long side: as much of a panel stays in the second-level cache

  /// y += W x with W: lines x depth, x: depth x columns, y: lines x columns.
  template <int... T>
  static void add_product(std::integer_sequence<int, T...>, const S* W, Index stride, const S* x, Index depth, S* y) {
    using namespace Eigen::internal;
    Packet sums[] = {ploadu<Packet>(y + T * width)...};
    for (Index k = 0; k < depth; ++k)
      ((sums[T] =
            pmadd(pset1<Packet>(W[T / packets * stride + k]), ploadu<Packet>(x + k * columns + T % packets * width), sums[T])),
       ...);
    (pstoreu(y + T * width, sums[T]), ...);
  }

  /// y += Wᵀ x with W: lines x length, x: lines x columns, y: length x columns.
  template <int... T, int... P>
  static void add_transposed(std::integer_sequence<int, T...>, std::integer_sequence<int, P...>, const S* W, Index stride,
                             const S* x, Index length, S* y) {
    using namespace Eigen::internal;
    const Packet all_of_x[] = {ploadu<Packet>(x + T * width)...};
    for (Index j = 0; j < length; ++j, y += columns) {
      Packet sums[] = {ploadu<Packet>(y + P * width)...};
      ((sums[T % packets] = pmadd(pset1<Packet>(W[T / packets * stride + j]), all_of_x[T], sums[T % packets])), ...);
      (pstoreu(y + P * width, sums[P]), ...);
    }
  }

  /// Y = W X, or Wᵀ X when `transpose`, for at most `columns` columns.
  static void multiply(ConstWeightView<S> W, bool transpose, ConstMatrixView<S> X, MatrixView<S> Y) {
    const Index padded = (W.rows() + lines - 1) / lines * lines;
    const Index long_side = std::max(padded, W.cols());
    const std::make_integer_sequence<int, lines * packets> tile;
    Vector<S> x(long_side * columns), y(long_side * columns);
    Vector<S> rest(lines * std::min(chunk, W.cols()));  // the last rows of W, filled up with zeros
    std::fill_n(x.data(), x.size(), S(0));
    std::fill_n(y.data(), y.size(), S(0));
    for (Index c = 0; c < X.cols(); ++c)
      for (Index k = 0; k < X.rows(); ++k) x(k * columns + c) = X(k, c);
    for (Index begin = 0; begin < W.cols(); begin += chunk) {
      const Index count = std::min(chunk, W.cols() - begin);
      for (Index i = 0; i < padded; i += lines) {
        const S* rows = W.data() + i * W.outerStride() + begin;
        Index stride = W.outerStride();
        if (i + lines > W.rows()) {
          std::fill_n(rest.data(), rest.size(), S(0));
          for (Index k = 0; k < W.rows() - i; ++k) std::copy_n(rows + k * stride, count, rest.data() + k * count);
          rows = rest.data();
          stride = count;
        }
        if (transpose)
          add_transposed(tile, std::make_integer_sequence<int, packets>(), rows, stride, x.data() + i * columns, count,
                         y.data() + begin * columns);
        else
          add_product(tile, rows, stride, x.data() + begin * columns, count, y.data() + i * columns);
      }
    }
    for (Index c = 0; c < Y.cols(); ++c)
      for (Index i = 0; i < Y.rows(); ++i) Y(i, c) = y(i * columns + c);
  }
};

template <Real S>
void run_thin(ConstWeightView<S> W, bool transpose, ConstMatrixView<S> X, MatrixView<S> Y) {
  constexpr Index narrow = ColumnPanel<S, 2>::columns, wide = ColumnPanel<S, 3>::columns;
  for (Index begin = 0, count; begin < X.cols(); begin += count) {
    const Index left = X.cols() - begin;
    const bool use_wide = left % wide == 0 || left > 2 * narrow;  // so that little of the last panel is idle
    count = std::min(left, use_wide ? wide : narrow);
    const auto multiply = use_wide ? ColumnPanel<S, 3>::multiply : ColumnPanel<S, 2>::multiply;
    multiply(W, transpose, X.middleCols(begin, count), Y.middleCols(begin, count));
  }
}

}  // namespace detail

/// Y = W X, overwritten; the same bits whatever the backend. W: m x n, X: n x k, Y: m x k, for k up to a hundred or so and a W
/// that is larger than a cache. Throws ErrorId::shape.
template <Real S>
void multiply_thin(ConstWeightView<S> W, ConstMatrixView<S> X, MatrixView<S> Y) {
  require_rows(X, W.cols(), "linalg::multiply_thin", "X", "columns of W");
  require_shape(Y, W.rows(), X.cols(), "linalg::multiply_thin", "Y");
  detail::run_thin<S>(W, false, X, Y);
}
/// Y = Wᵀ X, overwritten. X: m x k, Y: n x k.
template <Real S>
void multiply_thin_transposed(ConstWeightView<S> W, ConstMatrixView<S> X, MatrixView<S> Y) {
  require_rows(X, W.rows(), "linalg::multiply_thin_transposed", "X", "rows of W");
  require_shape(Y, W.cols(), X.cols(), "linalg::multiply_thin_transposed", "Y");
  detail::run_thin<S>(W, true, X, Y);
}

}  // namespace lorasb::linalg
