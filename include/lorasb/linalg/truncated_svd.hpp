// The leading part of the singular value decomposition of a large matrix, by randomized block iterations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "lorasb/core/config.hpp"
#include "lorasb/linalg/krylov_basis.hpp"
#include "lorasb/linalg/small_svd.hpp"

namespace lorasb::linalg {

enum class SvdMethod {
  block_krylov,  // the projection uses the blocks of all steps: captures most per product
  subspace,      // it uses the last block only (power iteration): least memory, for spectra that decay fast
};

struct TruncatedSvdOptions {
  Index rank = 16;          // r, 1 to min(m, n)
  Index block = 0;          // b, columns of a product; 0: half the rank, at least 32 (`subspace`: rank + 16)
  int steps = 10;           // applications of W Wᵀ after the first product, at most
  double tolerance = 1e-5;  // the iteration stops when a step adds less than this share of the captured energy
  SvdMethod method = SvdMethod::block_krylov;
  std::uint64_t seed = 0;  // of the random start

  /// Throws ErrorId::rank or ErrorId::value, for a matrix of rows x cols.
  void validate(Index rows, Index cols) const {
    require(rank >= 1 && rank <= std::min(rows, cols), ErrorId::rank, "linalg::truncated_svd: rank is ", rank,
            ", expected 1 to ", std::min(rows, cols), " for a matrix of ", rows, " x ", cols);
    require(block >= 0, ErrorId::value, "linalg::truncated_svd: block is ", block, ", expected 0 or more");
    require(steps >= 0, ErrorId::value, "linalg::truncated_svd: steps is ", steps, ", expected 0 or more");
    require(tolerance >= 0, ErrorId::value, "linalg::truncated_svd: tolerance is ", tolerance, ", expected 0 or more");
  }
};

/// W ≈ U diag(singular_values) Vᵀ.
template <Real S>
struct LORASB_OWNS_MEMORY TruncatedSvd {
  Matrix<S> U;                // m x r, orthonormal columns
  Vector<S> singular_values;  // r, descending, >= 0
  Matrix<S> V;                // n x r, orthonormal columns
  double captured_energy =
      0;  // ‖W‖² - ‖W - U diag(singular_values) Vᵀ‖², in Frobenius norms: the sum of σ² up to rounding; beyond
          // the range of double for entries of 1e155 and above or 1e-162 and below: see captured_share()
  int products = 0;            // with W or Wᵀ, each times a block of columns
  int steps = 0;               // applications of W Wᵀ after the first product
  SvdStatus status = SvdStatus::approximate;  // `exact` when the basis was the whole space
  double unit = 1, energy_in_units = 0;       // a power of two of the size of W, and captured_energy / unit²

  /// captured_energy / norm², for W of any size. `norm` is ‖W‖, above 0.
  double captured_share(double norm) const { return energy_in_units * (unit / norm) * (unit / norm); }
};

namespace detail {

inline KrylovOptions krylov_options(const TruncatedSvdOptions& o, Index d) {
  const bool subspace = o.method == SvdMethod::subspace;
  Index block = o.block;
  if (block == 0) block = subspace ? o.rank + 16 : std::max<Index>(32, (o.rank + 1) / 2);
  const Index fewest = subspace ? o.rank : (o.rank + o.steps) / (Index{o.steps} + 1);  // so that the basis has r columns
  return {.rank = o.rank,
          .block = std::min(d, std::max(block, fewest)),
          .steps = o.steps,
          .tolerance = o.tolerance,
          .last_only = subspace,
          .seed = o.seed};
}

/// The best rank-r part of K Zᵀ = K Kᵀ W, for W: d x D with d <= D. With X the leading eigenvectors of ZᵀZ it is K X (Z X)ᵀ;
/// and from Z X = Q T, T = A Σ Cᵀ (r x r), it is (K X C) Σ (Q A)ᵀ. The second step gives singular values and vectors to the
/// rounding of the scalar within the space of X, where squares lose half the digits of the small ones. X itself is found from
/// squares in double: directions below 1e-8 of the largest singular value are not told from each other.
template <Real S>
[[gnu::cold]] TruncatedSvd<S> project_and_truncate(const LinearOperator<S>& W, const TruncatedSvdOptions& options) {
  const Index r = options.rank;
  KrylovBasis<S> basis = krylov_basis<S>(W, krylov_options(options, W.rows()));
  const auto narrowed = [](const Matrix<double>& M) {
    Matrix<S> result(M.rows(), M.cols());
    std::transform(M.data(), M.data() + M.size(), result.data(), [](double x) { return static_cast<S>(x); });
    return result;
  };
  const Matrix<S> X = narrowed(basis.eigen.vectors(r));
  const Matrix<S> KX = product(basis.K.leftCols(basis.width), X), ZX = product(basis.Z.leftCols(basis.width), X);
  const bool whole = basis.width == W.rows();
  basis.K.resize(0, 0);
  basis.Z.resize(0, 0);
  Matrix<S> Q = ZX;
  orthonormalize<S>(Q, options.seed);
  Matrix<double> T(r, r);
  inner_products<S>(Q, ZX, T);
  const SmallSvd<double> small = small_svd<double>(T);
  const Matrix<S> A = narrowed(small.U), C = narrowed(small.V);

  TruncatedSvd<S> svd{.U = product(KX, C), .singular_values = Vector<S>(r), .V = product(Q, A)};
  svd.products = basis.products;
  svd.steps = basis.steps;
  // the eigenvectors, in double, tell no directions apart below 1e-8 of the largest singular value
  const double least = small.singular_values(r - 1) / std::max(small.singular_values(0), std::numeric_limits<double>::min());
  const bool resolved = r == W.rows() || sizeof(S) == sizeof(float) || least > 1e-7 || least < 1e-15;
  svd.status = whole && resolved ? small.status : SvdStatus::approximate;
  if (!basis.eigen.converged() || small.status != SvdStatus::exact) svd.status = SvdStatus::not_converged;
  orthonormalize<S>(svd.U, options.seed);  // to rounding of the scalar: the products above added theirs
  orthonormalize<S>(svd.V, options.seed + 1);
  const Matrix<S> WtU = product(ZX, C);  // times the scale
  for (Index i = 0; i < r; ++i) svd.singular_values(i) = static_cast<S>(small.singular_values(i) / basis.scale);
  require_finite(svd.singular_values, "linalg::truncated_svd", "the singular values, beyond the scalar's range,");
  svd.unit = 1 / basis.scale;
  for (Index i = 0; i < r; ++i) {
    const double sigma = static_cast<double>(svd.singular_values(i)) * basis.scale;
    const double along = dot(&WtU(0, i), &svd.V(0, i), WtU.rows());  // scale uᵀ W v
    svd.energy_in_units += sigma * (2 * along - sigma);
  }
  svd.captured_energy = svd.energy_in_units * svd.unit * svd.unit;
  return svd;
}

}  // namespace detail

/// The leading r singular triplets of an operator W (m x n). Where the spectrum is flat they are approximate: compare
/// captured_energy with ‖W‖². Of the energy of the best rank-r matrix, on random signs of 2048 x 2048, the defaults capture
/// 99.99 % at r = 16 and 99.6 % at r = 64. A spectrum that decays takes fewer steps, and its energy is captured to about the
/// tolerance.
///
/// Block Krylov: Musco, Musco, NeurIPS 2015 (arXiv 1504.05477), Algorithm 2, with blocks narrower than the rank: the same
/// number of multiplied columns then spans polynomials of higher degree, and captures more. Only singular values of the same
/// size, more of them than a block has columns, would be found in part. Subspace: Halko, Martinsson, Tropp, SIAM Review 53
/// (2011) 217-288, Algorithms 4.4 and 5.1. The basis stands on the smaller side of W and has w = b (steps + 1) columns
/// (`subspace`: b). Where the most steps would reach min(m, n), it is the whole space, and the result the whole SVD cut at r.
/// Time: 2 (steps + 1) products of W with b columns, and about 4 m w² + n w² + 3 w³ operations (m <= n).
/// Memory: (m + n) w numbers and 3 w² doubles, for the most steps.
///
/// In double, singular values below 1e-8 of the largest are found in part (`approximate`); `small_svd` resolves them.
/// The same seed gives the same result. U and V are orthonormal whatever W is; where singular values are zero, their columns
/// are arbitrary. For m <= n, Wᵀ U = V diag(singular_values) to rounding, otherwise W V = U diag(singular_values).
/// Throws ErrorId::rank for a rank outside 1..min(m, n), ErrorId::not_finite when a product or a singular value is not finite.
template <Real S>
TruncatedSvd<S> truncated_svd(const LinearOperator<S>& W, TruncatedSvdOptions options) {
  options.validate(W.rows(), W.cols());
  if (W.rows() <= W.cols()) return detail::project_and_truncate<S>(W, options);
  TruncatedSvd<S> svd = detail::project_and_truncate<S>(TransposedOperator<S>(W), options);
  std::swap(svd.U, svd.V);
  return svd;
}

/// The same for a matrix: `truncated_svd<float>(W, {.rank = 16})`. Throws ErrorId::not_finite with the place of a bad entry.
template <Real S>
TruncatedSvd<S> truncated_svd(std::type_identity_t<ConstWeightView<S>> W, TruncatedSvdOptions options) {
  require_finite(W, "linalg::truncated_svd", "W");
  return truncated_svd<S>(ThinOperator<S>(W), options);
}

}  // namespace lorasb::linalg
