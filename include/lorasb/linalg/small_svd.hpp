// The singular value decomposition of a small matrix, up to some hundred columns.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/linalg/orthonormalize.hpp"

namespace lorasb::linalg {

/// How a singular value decomposition ended.
enum class SvdStatus {
  exact,          // singular values and vectors to rounding
  approximate,    // an iteration over a fixed number of steps did what it was asked to; its result says how much it captured
  not_converged,  // the iteration ran out of sweeps: bases are orthonormal, singular values are not to rounding
};

/// M = U diag(singular_values) Vᵀ, with p = min(k, l).
template <Real S>
struct LORASB_OWNS_MEMORY SmallSvd {
  Matrix<S> U;                // k x p, orthonormal columns
  Vector<S> singular_values;  // p, descending, >= 0
  Matrix<S> V;                // l x p, orthonormal columns
  SvdStatus status = SvdStatus::exact;
};

namespace detail {

/// [x, y] = [cosine x - sine y, sine x + cosine y], n numbers each.
inline void rotate(double* x, double* y, Index n, double cosine, double sine) {
  for (Index i = 0; i < n; ++i) {
    const double xi = x[i], yi = y[i];
    x[i] = cosine * xi - sine * yi;
    y[i] = sine * xi + cosine * yi;
  }
}

/// C = Lᵀ M by dot products, for small matrices. L: d x p, M: d x q, C: p x q.
inline Matrix<double> dot_products(const Matrix<double>& L, const Matrix<double>& M) {
  Matrix<double> C(L.cols(), M.cols());
  for (Index j = 0; j < C.cols(); ++j)
    for (Index i = 0; i < C.rows(); ++i) C(i, j) = dot(&L(0, i), &M(0, j), L.rows());
  return C;
}

/// An orthonormal basis of the columns of Y in place, one column after the other.
inline void orthonormalize_small(Matrix<double>& Y) {
  std::vector<double> kept(static_cast<std::size_t>(Y.cols()));
  for (Index j = 0; j < Y.cols(); ++j) kept[static_cast<std::size_t>(j)] = normalize<double>(Y.middleCols(j, 1)) > 0 ? 1 : 0;
  orthonormalize_columns<double>(Y, 0, Y.cols(), kept.data(), 0);
}

/// Rotates pairs of columns of W until all are orthogonal: W J = X diag(σ) with J orthogonal, so that the columns end up as
/// left singular vectors times singular values. Returns false when `max_sweeps` over all pairs did not do. One-sided Jacobi
/// with the longest column in front (de Rijk, SIAM J. Sci. Stat. Comput. 10 (1989) 359-371).
inline bool orthogonalize_by_rotations(Matrix<double>& W, int max_sweeps) {
  const Index n = W.cols();
  if (n == 0) return true;
  // Two columns count as orthogonal when their cosine is at the rounding of the dot product that measures it.
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  const double tolerance = 4 * epsilon * std::sqrt(static_cast<double>(W.rows()));
  Vector<double> squared(n);
  const auto column = [&](Index j) { return &W(0, j); };
  for (int sweep = 0; sweep < max_sweeps; ++sweep) {
    bool rotated = false;
    for (Index j = 0; j < n; ++j) squared(j) = dot(column(j), column(j), W.rows());  // afresh: the updates below drift
    const double largest = *std::max_element(squared.begin(), squared.end());
    const double rounding = epsilon * epsilon * largest;  // a column below it counts as zero
    for (Index p = 0; p + 1 < n; ++p) {
      const Index longest = std::max_element(squared.begin() + p, squared.end()) - squared.begin();
      if (longest != p) {
        std::swap_ranges(column(p), column(p) + W.rows(), column(longest));
        std::swap(squared(p), squared(longest));
      }
      for (Index q = p + 1; q < n; ++q) {
        const double inner = dot(column(p), column(q), W.rows());
        if (std::abs(inner) <= tolerance * std::sqrt(squared(p) * std::max(squared(q), rounding))) continue;
        rotated = true;
        const double zeta = (squared(q) - squared(p)) / (2 * inner);
        const double tangent = std::copysign(1, zeta) / (std::abs(zeta) + std::hypot(1, zeta));
        const double cosine = 1 / std::hypot(1, tangent);
        const double sine = cosine * tangent;
        rotate(column(p), column(q), W.rows(), cosine, sine);
        squared(p) = std::max(0.0, squared(p) - tangent * inner);
        squared(q) = std::max(0.0, squared(q) + tangent * inner);
      }
    }
    if (!rotated) return true;
  }
  return false;
}

}  // namespace detail

/// The SVD of M (k x l). It computes in double for float too, so that float results have their last digits right; singular
/// values are accurate to a few epsilon of the largest one. U and V are orthonormal also where singular values are zero.
/// On one core about 2 ms for p = 64, 50 ms for p = 256 and 1 s for p = 700 (k = l = p); it grows with p³.
/// Throws ErrorId::not_finite for NaN or infinity; that the sweeps did not suffice is a status.
///
/// A = Q R with A = M or Mᵀ, whichever is tall; Rᵀ J = X Σ by rotations; so A = (Q J) Σ Xᵀ, and Q J is A X made orthonormal.
/// Rotating the columns of Rᵀ takes fewer sweeps than those of A (Drmač, Veselić, SIAM J. Matrix Anal. Appl. 29 (2008)
/// 1322-1342).
template <Real S>
[[gnu::cold]] SmallSvd<S> small_svd(ConstMatrixView<S> M, int max_sweeps = 40) {
  require_finite(M, "linalg::small_svd", "M");
  SmallSvd<S> svd;
  const bool wide = M.rows() < M.cols();
  const Index p = wide ? M.rows() : M.cols();
  double scale = 0;  // divided out, so that squares stay in range
  for (Index j = 0; j < M.cols(); ++j)
    for (Index i = 0; i < M.rows(); ++i) scale = std::max(scale, std::abs(double(M(i, j))));
  Matrix<double> A(wide ? M.cols() : M.rows(), p);
  for (Index j = 0; j < p; ++j)
    for (Index i = 0; i < A.rows(); ++i) A(i, j) = scale > 0 ? double(wide ? M(j, i) : M(i, j)) / scale : 0;

  Matrix<double> left = A;  // Q, tall x p
  detail::orthonormalize_small(left);
  Matrix<double> XS = detail::dot_products(A, left);  // Rᵀ = Aᵀ Q, then X Σ
  if (!detail::orthogonalize_by_rotations(XS, max_sweeps)) svd.status = SvdStatus::not_converged;

  Vector<double> sigma(p);
  for (Index j = 0; j < p; ++j) sigma(j) = std::sqrt(dot(&XS(0, j), &XS(0, j), p));
  std::vector<Index> order;  // of descending sigma, by insertion: the rotations leave it nearly so
  for (Index j = 0; j < p; ++j) {
    auto place = order.end();
    while (place != order.begin() && sigma(*(place - 1)) < sigma(j)) --place;
    order.insert(place, j);
  }
  Matrix<double> X(p, p);
  svd.singular_values.resize(p);
  for (Index j = 0; j < p; ++j) {
    const Index from = order[static_cast<std::size_t>(j)];
    std::copy_n(&XS(0, from), p, &X(0, j));
    svd.singular_values(j) = static_cast<S>(scale * sigma(from));
  }
  detail::orthonormalize_small(X);
  std::fill_n(left.data(), left.size(), 0.0);  // A X
  for (Index j = 0; j < p; ++j)
    for (Index k = 0; k < p; ++k) add_multiple(X(k, j), &A(0, k), &left(0, j), A.rows());
  detail::orthonormalize_small(left);
  const auto rounded = [](const Matrix<double>& basis) {
    Matrix<S> result(basis.rows(), basis.cols());
    std::transform(basis.data(), basis.data() + basis.size(), result.data(), [](double x) { return static_cast<S>(x); });
    return result;
  };
  svd.U = rounded(wide ? X : left);
  svd.V = rounded(wide ? left : X);
  return svd;
}

}  // namespace lorasb::linalg
