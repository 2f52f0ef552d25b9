// The leading part of the singular value decomposition of a large matrix, by randomized block iterations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "lorasb/linalg/linear_operator.hpp"
#include "lorasb/linalg/small_svd.hpp"

namespace lorasb::linalg {

enum class SvdMethod {
  block_krylov,  // the projection uses the blocks of all steps: captures most per product
  subspace,      // it uses the last block only (power iteration): least memory, for spectra that decay fast
};

struct TruncatedSvdOptions {
  Index rank = 16;          // r, 1 to min(m, n)
  Index oversampling = 16;  // columns of a block beyond the rank
  int steps = 4;            // applications of W Wᵀ after the first product
  SvdMethod method = SvdMethod::block_krylov;
  std::uint64_t seed = 0;  // of the random start

  /// Throws ErrorId::rank or ErrorId::value, for a matrix of rows x cols.
  void validate(Index rows, Index cols) const {
    require(rank >= 1 && rank <= std::min(rows, cols), ErrorId::rank, "linalg::truncated_svd: rank is ", rank,
            ", expected 1 to ", std::min(rows, cols), " for a matrix of ", rows, " x ", cols);
    require(oversampling >= 0, ErrorId::value, "linalg::truncated_svd: oversampling is ", oversampling, ", expected 0 or more");
    require(steps >= 0, ErrorId::value, "linalg::truncated_svd: steps is ", steps, ", expected 0 or more");
  }
};

/// W ≈ U diag(singular_values) Vᵀ.
template <Real S>
struct TruncatedSvd {
  Matrix<S> U;                // m x r, orthonormal columns
  Vector<S> singular_values;  // r, descending, >= 0
  Matrix<S> V;                // n x r, orthonormal columns
  double captured_energy = 0;  // ‖W‖² - ‖W - U diag(singular_values) Vᵀ‖², in Frobenius norms: the sum of σ² up to rounding
  int products = 0;            // with W or Wᵀ, each times a block of columns
  SvdStatus status = SvdStatus::approximate;  // `exact` when the basis was the whole space
};

namespace detail {

/// An orthonormal basis K that holds the leading left singular directions of W, and Z = Wᵀ K.
template <Real S>
struct RangeBasis {
  Matrix<S> K;  // d x w
  Matrix<S> Z;  // D x w
  int products = 0;
};

/// K = orth[W Ω, (W Wᵀ) W Ω, ..., (W Wᵀ)^steps W Ω] for W: d x D and Ω: D x b random, each block made orthonormal before it is
/// multiplied again, so that small singular directions do not drown in the rounding of large ones.
/// Each product is done once: Z keeps Wᵀ K_i, from which the next block is made.
template <Real S>
RangeBasis<S> range_basis(const LinearOperator<S>& W, const TruncatedSvdOptions& options) {
  const Index d = W.rows();
  const Index D = W.cols();
  const Index b = options.rank + std::min(options.oversampling, d - options.rank);
  const Index blocks = options.method == SvdMethod::block_krylov ? Index{options.steps} + 1 : 1;
  RangeBasis<S> basis;
  if (b >= (d + blocks - 1) / blocks) {  // blocks * b >= d: the basis would be the whole space
    basis.K.setIdentity(d, d);
    basis.Z.resize(D, d);
    W.multiply_transposed(basis.K, basis.Z);
    require_finite(basis.Z, "linalg::truncated_svd", "a product of the transposed operator");
    basis.products = 1;
    return basis;
  }

  basis.K.resize(d, blocks * b);
  basis.Z.resize(D, blocks * b);
  Matrix<S> right(D, b);  // Ω, later an orthonormal basis of the last block of Z
  Random random(options.seed, ~std::uint64_t{0});
  for (S& entry : flat(right)) entry = static_cast<S>(random.normal());
  for (int step = 0;; ++step) {
    const Index begin = options.method == SvdMethod::block_krylov ? step * b : 0;
    const MatrixView<S> K = basis.K.middleCols(begin, b);
    const MatrixView<S> Z = basis.Z.middleCols(begin, b);
    W.multiply(right, K);
    ++basis.products;
    require_finite(K, "linalg::truncated_svd", "a product of the operator");
    orthonormalize<S>(basis.K.leftCols(begin + b), options.seed, begin);
    W.multiply_transposed(K, Z);
    ++basis.products;
    require_finite(Z, "linalg::truncated_svd", "a product of the transposed operator");
    if (step == options.steps) return basis;
    right = Z;
    orthonormalize<S>(right, options.seed + 1);
  }
}

/// The best rank-r part of K Zᵀ = K Kᵀ W, for W: d x D with d <= D.
template <Real S>
TruncatedSvd<S> project_and_truncate(const LinearOperator<S>& W, const TruncatedSvdOptions& options) {
  const RangeBasis<S> basis = range_basis<S>(W, options);
  // Z = Q T, T = A Σ Cᵀ, so K Zᵀ = (K C) Σ (Q A)ᵀ with Q A Σ = Z C.
  Matrix<S> Q = basis.Z;
  orthonormalize<S>(Q, options.seed);
  const SmallSvd<S> small = small_svd<S>(product(transposed(Q), basis.Z));  // of T
  Q.resize(0, 0);

  TruncatedSvd<S> svd;
  svd.products = basis.products;
  const bool whole = basis.K.cols() == W.rows();
  svd.status = small.status == SvdStatus::exact && !whole ? SvdStatus::approximate : small.status;
  svd.singular_values = small.singular_values.head(options.rank);
  svd.U = product(basis.K, small.V.leftCols(options.rank));
  svd.V = product(basis.Z, small.V.leftCols(options.rank));  // Wᵀ U at first
  const Matrix<S> WtU = svd.V;
  orthonormalize<S>(svd.U, options.seed);  // to rounding of the scalar: the products above added theirs
  orthonormalize<S>(svd.V, options.seed + 1);
  for (Index i = 0; i < options.rank; ++i) {
    const double sigma = static_cast<double>(svd.singular_values(i));
    const double along = dot(&WtU(0, i), &svd.V(0, i), WtU.rows());  // uᵀ W v
    svd.captured_energy += sigma * (2 * along - sigma);
  }
  return svd;
}

}  // namespace detail

/// The leading r singular triplets of an operator W (m x n). Where the spectrum is flat they are approximate: compare
/// captured_energy with ‖W‖². Of the energy of the best rank-r matrix, on random signs at r = 32, the defaults capture 99.6 %
/// at 768 x 768 (subspace with 2 steps: 90 %) and 98.4 % at 2048 x 2048 (5 steps: 99.3 %, 6 steps: 99.7 %). A spectrum that
/// decays needs fewer steps.
///
/// Block Krylov: Musco, Musco, NeurIPS 2015 (arXiv 1504.05477), Algorithm 2. Subspace: Halko, Martinsson, Tropp,
/// SIAM Review 53 (2011) 217-288, Algorithms 4.4 and 5.1. The basis stands on the smaller side of W and has
/// w = (rank + oversampling)(steps + 1) columns (`subspace`: rank + oversampling). Where that reaches min(m, n), it is the
/// whole space, and the result the whole SVD cut at r.
/// Time: 2 (steps + 1) products of W with rank + oversampling columns, and about 8 (m + n) w² + 50 w³ operations.
/// Memory: (min(m, n) + 2 max(m, n)) w numbers, and 5 w² doubles.
///
/// The same seed gives the same result. U and V are orthonormal whatever W is; where singular values are zero, their columns
/// are arbitrary. For m <= n, Wᵀ U = V diag(singular_values) to rounding, otherwise W V = U diag(singular_values).
/// Throws ErrorId::rank for a rank outside 1..min(m, n), ErrorId::not_finite when a product is not finite.
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
  return truncated_svd<S>(DenseOperator<S>(W), options);
}

}  // namespace lorasb::linalg
