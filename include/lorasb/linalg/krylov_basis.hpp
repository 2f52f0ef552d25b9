// A basis that holds the leading singular directions of a matrix, grown by products with it until its energy settles.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lorasb/core/config.hpp"
#include "lorasb/linalg/linear_operator.hpp"
#include "lorasb/linalg/orthonormalize.hpp"
#include "lorasb/linalg/symmetric_eigen.hpp"

namespace lorasb::linalg::detail {

struct KrylovOptions {
  Index rank = 0;        // of the part whose energy counts
  Index block = 0;       // b, columns of a product, at least the rank where only the last block is kept
  int steps = 0;         // applications of W Wᵀ at most
  double tolerance = 0;  // stops when a step adds less than this share of the energy
  bool last_only = false;
  std::uint64_t seed = 0;
};

/// In their first w columns, orthonormal K (d x w) and Z = scale Wᵀ K (D x w). The eigenvalues of ZᵀZ are the squares of the
/// singular values of scale KᵀW.
template <Real S>
struct LORASB_OWNS_MEMORY KrylovBasis {
  Index width = 0;  // w
  Matrix<S> K, Z;
  Matrix<double> gram;  // ZᵀZ, its lower triangle
  SymmetricEigen eigen{Matrix<double>()};
  double scale = 1;  // a power of two that brings the entries of Z near one, so that squares stay in range
  int steps = 0, products = 0;
};

/// Columns begin to begin + b - 1 of Z = scale Wᵀ K, the last ones so far, and their rows of ZᵀZ. The first ones set the scale.
template <Real S>
void multiply_transposed(const LinearOperator<S>& W, KrylovBasis<S>& basis, Index begin, Index b) {
  MatrixView<S> Z = basis.Z.middleCols(begin, b);
  W.multiply_transposed(basis.K.middleCols(begin, b), Z);
  require_finite(Z, "linalg::truncated_svd", "a product of the transposed operator");
  if (basis.products++ <= 1) {
    S largest = 0;
    for (Index j = 0; j < b; ++j)
      for (Index i = 0; i < Z.rows(); ++i) largest = std::max(largest, std::abs(Z(i, j)));
    basis.scale = in_range_scale(double(largest));
  }
  for (Index j = 0; j < b; ++j)
    for (Index i = 0; i < Z.rows(); ++i) Z(i, j) = static_cast<S>(double(Z(i, j)) * basis.scale);
  inner_products<S>(Z, basis.Z.leftCols(begin + b), basis.gram.block(begin, 0, b, begin + b));
  basis.width = begin + b;
}

/// Y minus its part in the columns of `recent`: those with which W Wᵀ links it in exact arithmetic, so that its part in
/// earlier ones is rounding. Columns of which only rounding is left become zero: they depend on the basis.
template <Real S>
void project_out_recent(ConstMatrixView<S> recent, MatrixView<S> Y) {
  for (Index j = 0; j < Y.cols(); ++j) normalize<S>(Y.middleCols(j, 1));
  project_out<S>(recent, Y);
  for (Index j = 0; j < Y.cols(); ++j)
    if (normalize<S>(Y.middleCols(j, 1)) <= negligible_share<S>) std::fill_n(&Y(0, j), Y.rows(), S(0));
}

/// K = orth[W Ω, (W Wᵀ) W Ω, ..., (W Wᵀ)^steps W Ω] for W: d x D and Ω: D x b random, each block made orthonormal before it is
/// multiplied again, so that small singular directions do not drown in the rounding of large ones. Each product is done once:
/// Z keeps Wᵀ K_i, from which the next block is made. Where (steps + 1) b reaches d, K = I after one product.
///
/// The energy that the basis captures is the sum of the `rank` largest eigenvalues of ZᵀZ. It is looked at when w has grown by
/// a sixth, so that all looks together cost about twice the last one.
template <Real S>
[[gnu::cold]] KrylovBasis<S> krylov_basis(const LinearOperator<S>& W, const KrylovOptions& options) {
  const Index d = W.rows(), D = W.cols(), b = options.block;
  const Index blocks = options.last_only ? 1 : Index{options.steps} + 1;
  const bool whole = b >= (d + blocks - 1) / blocks;
  const Index most = whole ? d : blocks * b;
  KrylovBasis<S> basis;
  basis.K.resize(d, most);
  basis.Z.resize(D, most);
  basis.gram.resize(most, most);
  if (whole) {
    std::fill_n(basis.K.data(), basis.K.size(), S(0));
    for (Index j = 0; j < d; ++j) basis.K(j, j) = 1;
    multiply_transposed<S>(W, basis, 0, d);
    basis.eigen = SymmetricEigen(basis.gram);
    return basis;
  }

  Matrix<S> right(D, b);  // Ω, later an orthonormal basis of the last block of Z
  Random random(options.seed, ~std::uint64_t{0});
  for (S& entry : flat(right)) entry = static_cast<S>(random.normal());
  double energy = 0;     // at the last look
  Index looked_at = 0;   // columns
  int looked_after = 0;  // steps
  for (;; ++basis.steps) {
    const Index begin = options.last_only ? 0 : basis.steps * b;
    const Index width = begin + b;
    const MatrixView<S> K = basis.K.middleCols(begin, b);
    W.multiply(right, K);
    ++basis.products;
    require_finite(K, "linalg::truncated_svd", "a product of the operator");
    const Index recent = std::min(begin, 2 * b);
    if (recent > 0) project_out_recent<S>(basis.K.middleCols(begin - recent, recent), K);
    orthonormalize<S>(basis.K.leftCols(width), options.seed, begin);
    multiply_transposed<S>(W, basis, begin, b);

    const bool last = basis.steps == options.steps;
    if (last || options.last_only || (width >= options.rank && 6 * width >= 7 * looked_at)) {
      basis.eigen = SymmetricEigen(basis.gram.topLeftCorner(width, width));
      double now = 0;
      for (Index j = 0; j < std::min(options.rank, width); ++j) now += basis.eigen.values()(j);
      const double gain = (now - energy) / double(basis.steps - looked_after);
      if (last || (looked_at > 0 && gain <= options.tolerance * now)) return basis;
      energy = now;
      looked_at = width;
      looked_after = basis.steps;
    }
    std::copy_n(&basis.Z(0, begin), right.size(), right.data());
    for (Index j = 0; j < b; ++j) normalize<S>(right.middleCols(j, 1));
    Vector<double> left;  // one pass will do: what follows only needs independent columns, not orthonormal ones
    if (!cholesky_qr<S>(right, left)) orthonormalize<S>(right, options.seed + 1);
  }
}

}  // namespace lorasb::linalg::detail
