// An orthonormal basis of the columns of a tall matrix, safe on whatever columns there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "lorasb/core/sums.hpp"
#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/linalg/cholesky_qr.hpp"

namespace lorasb::linalg {
namespace detail {

/// A column with less of its length left than this, outside the span of those before it, depends on them.
template <Real S>
inline constexpr double negligible_share = 100.0 * std::numeric_limits<S>::epsilon();

/// v / ‖v‖ in place, v: m x 1; returns ‖v‖. A zero vector stays as it is.
template <Real S>
double normalize(MatrixView<S> v) {
  const double length = norm<S>(std::span<const S>(v.data(), static_cast<std::size_t>(v.rows())));
  if (length == 0) return 0;
  if (length > std::numeric_limits<double>::max() || length < std::numeric_limits<double>::min()) {
    const double power = length < 1 ? 0x1p1000 : 0x1p-1000;  // 1 / length, or length itself, is beyond double
    for (Index i = 0; i < v.rows(); ++i) v(i, 0) = static_cast<S>(double(v(i, 0)) * power);
    return normalize<S>(v) / power;
  }
  for (Index i = 0; i < v.rows(); ++i) v(i, 0) = static_cast<S>(double(v(i, 0)) / length);
  return length;
}

/// P -= Q Qᵀ P, with Q: m x j orthonormal, P: m x k.
template <Real S>
void project_out(ConstMatrixView<S> Q, MatrixView<S> P) {
  const Matrix<S> C = product(transposed(Q), P);
  multiply(Q, C, P, -1, 1);
}

/// Makes the unit vector in column j of Y orthogonal to the columns before it, to rounding, and a unit vector again; those
/// before column `from` have been projected out of it already. Returns how much of it was left: at rounding level when it
/// depends on the columns before it, and then what stands there is noise.
/// A pass that leaves less than half of the vector magnifies the rounding of the passes before it, so another one follows
/// (Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772-795).
template <Real S>
double orthogonalize_column(MatrixView<S> Y, Index from, Index j, double negligible) {
  const Index m = Y.rows();
  S* const v = &Y(0, j);
  double kept = 1;
  for (int pass = 0;; ++pass) {
    for (Index k = from; k < j; ++k) {
      const S* const q = &Y(0, k);
      const S along = static_cast<S>(dot(q, v, m));
      for (Index i = 0; i < m; ++i) v[i] -= along * q[i];
    }
    const double left = normalize<S>(Y.middleCols(j, 1));
    kept *= left;
    if (!(kept > negligible) || (left >= 0.5 && pass > 0)) return kept;
    if (left < 0.5) from = 0;
  }
}

/// Column j of Y becomes a random unit vector orthogonal to the columns before it.
template <Real S>
void replace_column(MatrixView<S> Y, Index j, std::uint64_t seed, double negligible) {
  Random random(seed, static_cast<std::uint64_t>(j));
  do {
    for (Index i = 0; i < Y.rows(); ++i) Y(i, j) = static_cast<S>(random.normal());
    normalize<S>(Y.middleCols(j, 1));
  } while (orthogonalize_column(Y, Index{0}, j, negligible) <= negligible);
}

/// Columns begin to end - 1 of Y, each of which has the share `kept` of its length left after the columns before `begin` were
/// projected out of it, become orthonormal to all before them. Returns how many were independent.
template <Real S>
Index orthonormalize_columns(MatrixView<S> Y, Index begin, Index end, const double* kept, std::uint64_t seed) {
  constexpr double negligible = negligible_share<S>;
  Index independent = 0;
  for (Index j = begin; j < end; ++j) {
    double left = kept[j - begin];
    if (left > negligible) left *= orthogonalize_column(Y, begin, j, negligible / left);
    if (left > negligible)
      ++independent;
    else
      replace_column(Y, j, seed, negligible);
  }
  return independent;
}

/// P -= Q Qᵀ P, and each column a unit vector again: kept(j) shrinks to what column j has left. Returns the smallest share that
/// one of the columns has left of this pass. Q: m x begin, P: the `width` columns of Y after them.
template <Real S>
double project_panel(MatrixView<S> Y, Index begin, Index width, Vector<double>& kept) {
  if (begin == 0) return 1;
  project_out<S>(Y.leftCols(begin), Y.middleCols(begin, width));
  double smallest = 1;
  for (Index j = begin; j < begin + width; ++j) {
    const double left = normalize<S>(Y.middleCols(j, 1));
    kept(j) *= left;
    smallest = std::min(smallest, left);
  }
  return smallest;
}

/// Makes columns begin to begin + width - 1 of Y (unit vectors) orthonormal among themselves, then against the columns before
/// and again among themselves, until a round leaves most of every column: then what it left is orthogonal to rounding
/// (Daniel et al., above). True when all of them were safely independent. If not, the columns span what they did together with
/// those before, and `kept` says how much of each is new so far.
template <Real S>
bool orthonormalize_panel(MatrixView<S> Y, Index begin, Index width, Vector<double>& kept, double negligible) {
  Vector<double> left;
  const auto smallest = [width](const double* first) { return *std::min_element(first, first + width); };
  double* const ours = kept.data() + begin;
  for (int round = 0; round < 4; ++round) {
    const double projected = round > 0 || begin == 0 ? project_panel<S>(Y, begin, width, kept) : 0;
    if (smallest(ours) <= negligible || !cholesky_qr<S>(Y.middleCols(begin, width), left)) return false;
    for (Index j = 0; j < width; ++j) ours[j] *= left(j);
    // so near one the diagonal of L leaves the rows beside it below 0.05 in length: Q is then orthonormal to rounding
    if (projected >= 0.5 && smallest(left.data()) >= 0.999) return smallest(ours) > negligible;
  }
  return false;
}

}  // namespace detail

/// Overwrites Y (m x k, k <= m) with an orthonormal basis Q of its columns: max |QᵀQ - I| is a few roundings, whatever Y is.
/// Columns before `first` must be orthonormal already and stay as they are.
/// Column j of Q lies in the span of columns 0 to j of Y, so R = Qᵀ Y, with Y as it was, is the upper triangle of Y = Q R.
///
/// Columns need not be of similar size, as each is compared with itself: one whose part outside the span of the earlier
/// columns is below 100 epsilon of its length (zero, or a combination of them up to rounding) is replaced by a random
/// direction orthogonal to the others, drawn from (seed, j).
/// Returns how many of the columns from `first` on were independent, that is, not replaced.
/// Throws ErrorId::shape when k > m, ErrorId::value for `first` outside 0..k, ErrorId::not_finite for NaN or infinity.
///
/// Block Gram-Schmidt in panels: each is projected against all earlier columns by two matrix products, and made orthonormal in
/// itself by Cholesky factors, until both leave it as it is (Björck, Linear Algebra Appl. 197-198 (1994) 297-316). Where a
/// panel holds columns that are nearly dependent, its first columns go one by one.
template <Real S>
Index orthonormalize(MatrixView<S> Y, std::uint64_t seed, Index first = 0) {
  const Index k = Y.cols();
  require(k <= Y.rows(), ErrorId::shape, "linalg::orthonormalize: Y is ", Y.rows(), " x ", k,
          ", expected no more columns than rows");
  require(first >= 0 && first <= k, ErrorId::value, "linalg::orthonormalize: first is ", first, ", expected 0 to ", k);
  require_finite(Y.rightCols(k - first), "linalg::orthonormalize", "Y");

  Vector<double> kept(k);  // of each column, relative to its length in Y
  for (Index j = first; j < k; ++j) kept(j) = detail::normalize<S>(Y.middleCols(j, 1)) > 0 ? 1 : 0;
  Index independent = 0;
  for (Index begin = first; begin < k;) {
    Index width = std::min<Index>(128, k - begin);
    if (detail::orthonormalize_panel<S>(Y, begin, width, kept, detail::negligible_share<S>)) {
      independent += width;
    } else {
      width = std::min<Index>(32, width);  // wide enough for the products of the projection to pay
      for (int pass = 0; pass < 2; ++pass) detail::project_panel<S>(Y, begin, width, kept);
      independent += detail::orthonormalize_columns(Y, begin, begin + width, kept.data() + begin, seed);
    }
    begin += width;
  }
  return independent;
}

}  // namespace lorasb::linalg
