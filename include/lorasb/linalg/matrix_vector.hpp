// The product of a matrix and one vector: one token of a decoder, or one row of a weight.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "lorasb/core/types.hpp"

namespace lorasb::linalg::detail {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // of SIMD types as arguments of templates: they change no layout here

/// y += alpha M x with M: rows x depth, row-major, for a matrix that a cache holds. As many rows as a SIMD register has numbers are
/// summed side by side and added up together: Eigen's kernel adds up the register of each row by itself, which takes longer than
/// the products of a short row. What fills no register goes to registers of half the width.
template <Real S, class Packet>
struct ShortRows {
  using Half = typename Eigen::internal::unpacket_traits<Packet>::half;
  static constexpr int width = Eigen::internal::unpacket_traits<Packet>::size;

  static void add_product(Index rows, Index depth, const S* M, Index stride, const S* x, S* y, S alpha) {
    const Index whole_rows = rows - rows % width, whole = depth - depth % width;
    if (whole > 0)
      for (Index i = 0; i < whole_rows; i += width)
        add_block(std::make_integer_sequence<int, width>(), whole, M + i * stride, stride, x, y + i, alpha);
    if (whole > 0 && whole_rows < rows)
      add_rest(rows - whole_rows, whole, M + whole_rows * stride, stride, x, y + whole_rows, alpha);
    if (whole < depth) add_rest(rows, depth - whole, M + whole, stride, x + whole, y, alpha);
  }

 private:
  /// The same for `width` rows and whole registers: entry (l, k) of the sums is added over k.
  template <int... L>
  static void add_block(std::integer_sequence<int, L...>, Index depth, const S* M, Index stride, const S* x, S* y, S alpha) {
    using namespace Eigen::internal;
    PacketBlock<Packet, width> sums{{(static_cast<void>(L), pset1<Packet>(S(0)))...}};
    for (Index k = 0; k < depth; k += width) {
      const Packet x_k = ploadu<Packet>(x + k);
      ((sums.packet[L] = pmadd(ploadu<Packet>(M + L * stride + k), x_k, sums.packet[L])), ...);
    }
    ptranspose(sums);
    pstoreu(y, pmadd(pset1<Packet>(alpha), sum_of<0, width>(sums), ploadu<Packet>(y)));
  }
  /// Pairs of pairs, so that no addition waits for all before it.
  template <int first, int count>
  static Packet sum_of(const Eigen::internal::PacketBlock<Packet, width>& all) {
    if constexpr (count == 1)
      return all.packet[first];
    else
      return Eigen::internal::padd(sum_of<first, count / 2>(all), sum_of<first + count / 2, count / 2>(all));
  }
  static void add_rest(Index rows, Index depth, const S* M, Index stride, const S* x, S* y, S alpha) {
    if constexpr (!std::is_same_v<Half, Packet>)
      return ShortRows<S, Half>::add_product(rows, depth, M, stride, x, y, alpha);
    else
      for (Index i = 0; i < rows; ++i) {
        S sum = 0;
        for (Index k = 0; k < depth; ++k) sum += M[i * stride + k] * x[k];
        y[i] += alpha * sum;
      }
  }
};

/// y += alpha M x with M: rows x depth, column-major, of few rows. Eight sums of a register each, of neighbouring columns where the rows
/// do not fill as many: Eigen's kernel has one sum for a register of rows, and every product waits for the one before.
template <Real S, class Packet>
struct ShortColumns {
  using Half = typename Eigen::internal::unpacket_traits<Packet>::half;
  static constexpr int width = Eigen::internal::unpacket_traits<Packet>::size;

  static void add_product(Index rows, Index depth, const S* M, Index stride, const S* x, Index x_step, S* y, S alpha) {
    Index i = 0;
    for (; i + 2 * width <= rows; i += 2 * width)
      add_block<2>(std::make_integer_sequence<int, 8>(), depth, M + i, stride, x, x_step, y + i, alpha);
    for (; i + width <= rows; i += width)
      add_block<1>(std::make_integer_sequence<int, 8>(), depth, M + i, stride, x, x_step, y + i, alpha);
    if (i == rows) return;
    if constexpr (!std::is_same_v<Half, Packet>)
      ShortColumns<S, Half>::add_product(rows - i, depth, M + i, stride, x, x_step, y + i, alpha);
    else
      for (; i < rows; ++i) {
        S sum = 0;
        for (Index k = 0; k < depth; ++k) sum += M[k * stride + i] * x[k * x_step];
        y[i] += alpha * sum;
      }
  }

 private:
  /// The same for `packets` registers of rows.
  template <int packets, int... T>
  static void add_block(std::integer_sequence<int, T...>, Index depth, const S* M, Index stride, const S* x, Index x_step, S* y,
                        S alpha) {
    using namespace Eigen::internal;
    constexpr int columns = static_cast<int>(sizeof...(T)) / packets;
    Packet sums[] = {(static_cast<void>(T), pset1<Packet>(S(0)))...};
    Index k = 0;
    for (; k + columns <= depth; k += columns)
      ((sums[T] = pmadd(ploadu<Packet>(M + (k + T / packets) * stride + T % packets * width),
                        pset1<Packet>(x[(k + T / packets) * x_step]), sums[T])),
       ...);
    for (; k < depth; ++k)
      for (int p = 0; p < packets; ++p) sums[p] = pmadd(ploadu<Packet>(M + k * stride + p * width), pset1<Packet>(x[k * x_step]), sums[p]);
    for (int count = columns / 2; count > 0; count /= 2)
      for (int t = 0; t < count * packets; ++t) sums[t] = padd(sums[t], sums[t + count * packets]);
    for (int p = 0; p < packets; ++p) pstoreu(y + p * width, pmadd(pset1<Packet>(alpha), sums[p], ploadu<Packet>(y + p * width)));
  }
};

/// y += alpha M x by one of these, y without gaps and with a row-major M x too; false, and nothing done, where Eigen's kernel is as fast.
template <Real S, int Order>
bool add_short(Index rows, Index depth, const S* M, Index stride, const S* x, [[maybe_unused]] Index x_step, S* y, S alpha) {
  using Widest = typename Eigen::internal::packet_traits<S>::type;
  using Half = typename Eigen::internal::unpacket_traits<Widest>::half;
  // turning 16 registers takes longer than 8 with half as many numbers
  using Packet = std::conditional_t<sizeof(Widest) == 64, Half, Widest>;
  if constexpr (Eigen::internal::unpacket_traits<Packet>::size == 1) {  // EIGEN_DONT_VECTORIZE
    return false;
  } else if constexpr (Order == Eigen::RowMajor) {
    constexpr Index most = 1 << 14;  // numbers: 64 KiB of float
    if (rows * depth > most) return false;
    ShortRows<S, Packet>::add_product(rows, depth, M, stride, x, y, alpha);
    return true;
  } else {
    if (rows >= 4 * ShortColumns<S, Packet>::width) return false;
    ShortColumns<S, Packet>::add_product(rows, depth, M, stride, x, x_step, y, alpha);
    return true;
  }
}

#pragma GCC diagnostic pop

/// y += alpha M x with M: rows x depth in this storage order; from one entry to the next x_step and y_step. A large matrix goes to the
/// kernel behind Eigen's own products of a matrix and a vector. A row-major matrix wants x without gaps, a column-major
/// one y without gaps: a copy is made where there are some.
template <Real S, int Order>
void add_matrix_vector(Index rows, Index depth, const S* M, Index stride, const S* x, Index x_step, S* y, Index y_step, S alpha) {
  using Matrix = Eigen::internal::const_blas_data_mapper<S, Index, Order>;
  constexpr bool row_major = Order == Eigen::RowMajor;
  using VectorMapper = Eigen::internal::const_blas_data_mapper<S, Index, row_major ? Eigen::ColMajor : Eigen::RowMajor>;
  using Kernel = Eigen::internal::general_matrix_vector_product<Index, S, Matrix, Order, false, S, VectorMapper, false>;
  if (row_major && x_step != 1) {
    thread_local std::vector<S> copy;
    copy.resize(static_cast<std::size_t>(depth));
    for (Index k = 0; k < depth; ++k) copy[static_cast<std::size_t>(k)] = x[k * x_step];
    return add_matrix_vector<S, Order>(rows, depth, M, stride, copy.data(), 1, y, y_step, alpha);
  }
  if (!row_major && y_step != 1) {
    thread_local std::vector<S> copy;
    copy.assign(static_cast<std::size_t>(rows), S(0));
    Kernel::run(rows, depth, Matrix(M, stride), VectorMapper(x, x_step), copy.data(), 1, alpha);
    for (Index i = 0; i < rows; ++i) y[i * y_step] += copy[static_cast<std::size_t>(i)];
    return;
  }
  if (y_step != 1 || !add_short<S, Order>(rows, depth, M, stride, x, x_step, y, alpha))
    Kernel::run(rows, depth, Matrix(M, stride), VectorMapper(x, x_step), y, y_step, alpha);
}

}  // namespace lorasb::linalg::detail
