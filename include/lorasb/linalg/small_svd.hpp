// The singular value decomposition of a small matrix, up to some hundred columns.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

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
struct SmallSvd {
  Matrix<S> U;                // k x p, orthonormal columns
  Vector<S> singular_values;  // p, descending, >= 0
  Matrix<S> V;                // l x p, orthonormal columns
  SvdStatus status = SvdStatus::exact;
};

namespace detail {

/// Rotates pairs of columns of W until all are orthogonal: W J = X diag(σ) with J orthogonal, so that the columns end up as
/// left singular vectors times singular values. Returns false when `max_sweeps` over all pairs did not do. One-sided Jacobi
/// with the longest column in front (de Rijk, SIAM J. Sci. Stat. Comput. 10 (1989) 359-371).
inline bool orthogonalize_by_rotations(Matrix<double>& W, int max_sweeps) {
  const Index n = W.cols();
  if (n == 0) return true;
  // Two columns count as orthogonal when their cosine is at the rounding of the dot product that measures it.
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  const double tolerance = 4 * epsilon * std::sqrt(static_cast<double>(W.rows()));
  Vector<double> squared(n), old(W.rows());
  for (int sweep = 0; sweep < max_sweeps; ++sweep) {
    bool rotated = false;
    squared = W.colwise().squaredNorm().transpose();                 // afresh: the updates below drift
    const double rounding = epsilon * epsilon * squared.maxCoeff();  // of the longest: a column below it counts as zero
    for (Index p = 0; p + 1 < n; ++p) {
      Index longest = 0;
      squared.tail(n - p).maxCoeff(&longest);
      if (longest > 0) {
        W.col(p).swap(W.col(p + longest));
        std::swap(squared(p), squared(p + longest));
      }
      for (Index q = p + 1; q < n; ++q) {
        const double dot = W.col(p).dot(W.col(q));
        if (std::abs(dot) <= tolerance * std::sqrt(squared(p) * std::max(squared(q), rounding))) continue;
        rotated = true;
        const double zeta = (squared(q) - squared(p)) / (2 * dot);
        const double tangent = std::copysign(1, zeta) / (std::abs(zeta) + std::hypot(1, zeta));
        const double cosine = 1 / std::hypot(1, tangent);
        const double sine = cosine * tangent;
        old = W.col(p);
        W.col(p) = cosine * old - sine * W.col(q);
        W.col(q) = sine * old + cosine * W.col(q);
        squared(p) = std::max(0.0, squared(p) - tangent * dot);
        squared(q) = std::max(0.0, squared(q) + tangent * dot);
      }
    }
    if (!rotated) return true;
  }
  return false;
}

}  // namespace detail

/// The SVD of M (k x l). It computes in double for float too, so that float results have their last digits right; singular
/// values are accurate to a few epsilon of the largest one. U and V are orthonormal also where singular values are zero.
/// On one core 20 ms for p = 200 and 0.4 s for p = 560; it grows with p³.
/// Throws ErrorId::not_finite for NaN or infinity; that the sweeps did not suffice is a status.
///
/// A = Q R with A = M or Mᵀ, whichever is tall; Rᵀ J = X Σ by rotations; so A = (Q J) Σ Xᵀ, and Q J is A X made orthonormal.
/// Rotating the columns of Rᵀ takes fewer sweeps than those of A (Drmač, Veselić, SIAM J. Matrix Anal. Appl. 29 (2008)
/// 1322-1342).
template <Real S>
SmallSvd<S> small_svd(ConstMatrixView<S> M, int max_sweeps = 40) {
  require_finite(M, "linalg::small_svd", "M");
  SmallSvd<S> svd;
  const bool wide = M.rows() < M.cols();
  Matrix<double> A = wide ? Matrix<double>(M.transpose().template cast<double>()) : Matrix<double>(M.template cast<double>());
  const Index p = A.cols();
  const double scale = A.size() == 0 ? 0 : A.cwiseAbs().maxCoeff();
  if (scale > 0) A /= scale;  // squares stay in range

  Matrix<double> left = A;  // Q, tall x p
  orthonormalize<double>(left, 0);
  Matrix<double> XS(p, p);  // Rᵀ = Aᵀ Q, then X Σ
  multiply<double>(transposed<double>(A), left, XS);
  if (!detail::orthogonalize_by_rotations(XS, max_sweeps)) svd.status = SvdStatus::not_converged;

  const Vector<double> sigma = XS.colwise().norm().transpose();
  std::vector<Index> order(static_cast<std::size_t>(p));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return sigma(a) > sigma(b); });
  Matrix<double> X(p, p);
  svd.singular_values.resize(p);
  for (Index j = 0; j < p; ++j) {
    const Index from = order[static_cast<std::size_t>(j)];
    X.col(j) = XS.col(from);
    svd.singular_values(j) = static_cast<S>(scale * sigma(from));
  }
  orthonormalize<double>(X, 0);
  multiply_transposed<double>(transposed<double>(A), X, left);
  orthonormalize<double>(left, 0);
  svd.U = (wide ? X : left).template cast<S>();
  svd.V = (wide ? left : X).template cast<S>();
  return svd;
}

}  // namespace lorasb::linalg
