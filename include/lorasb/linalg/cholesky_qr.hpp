// Orthonormal columns by matrix products alone, for columns that are safely independent.
#pragma once

#include <algorithm>
#include <cmath>

#include "lorasb/linalg/inner_products.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::linalg::detail {

/// The lower triangle of G (b x b, symmetric, its lower triangle given) becomes L with G = L Lᵀ. False when a pivot is at most
/// `smallest`: then G is not safely positive definite, and holds nothing of use.
inline bool cholesky(Matrix<double>& G, double smallest) {
  const Index b = G.rows();
  for (Index k = 0; k < b; ++k) {
    if (!(G(k, k) > smallest)) return false;
    const double pivot = std::sqrt(G(k, k));
    for (Index i = k; i < b; ++i) G(i, k) /= pivot;
    for (Index j = k + 1; j < b; ++j) {
      const double factor = G(j, k);
      for (Index i = j; i < b; ++i) G(i, j) -= factor * G(i, k);
    }
  }
  return true;
}

/// (L⁻¹)ᵀ for the lower triangle L: the upper triangle that turns Y = Q Lᵀ into Q. The other half is zero.
template <Real S>
Matrix<S> inverse_transposed(const Matrix<double>& L) {
  const Index b = L.rows();
  Matrix<S> result(b, b);
  Vector<double> x(b);  // column j of L⁻¹, by L x = e_j
  for (Index j = 0; j < b; ++j) {
    std::fill_n(x.data(), b, 0.0);
    x(j) = 1;
    for (Index k = j; k < b; ++k) {
      x(k) /= L(k, k);
      const double factor = x(k);
      for (Index i = k + 1; i < b; ++i) x(i) -= factor * L(i, k);
    }
    for (Index i = 0; i < b; ++i) result(j, i) = static_cast<S>(x(i));
  }
  return result;
}

/// Y (m x b, unit columns) = Q Lᵀ by the Cholesky factor of YᵀY; Y becomes Q. `left` gets the diagonal of L: what each column
/// keeps of its length outside the span of those before it. False, with Y as it was, when that is 2⁻¹⁶ or less for a column.
/// The departure of Q from orthonormal is that bound's inverse times epsilon of S at most, a second pass takes it to rounding
/// (CholeskyQR2: Fukaya et al., ScalA 2014), and sums in double let the pivots see columns of floats that far apart (Yamazaki,
/// Tomov, Dongarra, SIAM J. Sci. Comput. 37 (2015) C307-C330).
template <Real S>
bool cholesky_qr(MatrixView<S> Y, Vector<double>& left) {
  Matrix<double> L(Y.cols(), Y.cols());
  inner_products<S>(Y, Y, L, true);
  if (!cholesky(L, 0x1p-32)) return false;
  left.resize(Y.cols());
  Matrix<S> before(Y.rows(), Y.cols());
  for (Index j = 0; j < Y.cols(); ++j) {
    left(j) = L(j, j);
    std::copy_n(&Y(0, j), Y.rows(), &before(0, j));
  }
  multiply(before, inverse_transposed<S>(L), Y);
  return true;
}

}  // namespace lorasb::linalg::detail
