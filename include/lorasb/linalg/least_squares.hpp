// Linear least squares with many right-hand sides.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "lorasb/linalg/small_svd.hpp"

namespace lorasb::linalg {

/// X (k x n) that minimises ‖M X - C‖, and of all such X the smallest one. M: l x k, C: l x n; meant for l >= k and k up to
/// some hundred. From M = U Σ Vᵀ, X = V Σ⁺ Uᵀ C, where singular values below max(l, k) epsilon times the largest one count as
/// zero, so dependent columns do no harm. Throws ErrorId::shape when the rows differ, ErrorId::not_finite for NaN or infinity
/// in M.
template <Real S>
Matrix<S> least_squares(ConstMatrixView<S> M, ConstMatrixView<std::type_identity_t<S>> C) {
  require_rows(C, M.rows(), "linalg::least_squares", "C", "rows of M");
  const SmallSvd<S> svd = small_svd<S>(M);
  Matrix<S> Y(svd.U.cols(), C.cols());  // Uᵀ C, then Σ⁺ Uᵀ C
  multiply(transposed(svd.U), C, Y);
  const double largest = svd.singular_values.size() == 0 ? 0 : static_cast<double>(svd.singular_values(0));
  const double negligible =
      largest * static_cast<double>(std::max(M.rows(), M.cols())) * static_cast<double>(std::numeric_limits<S>::epsilon());
  for (Index j = 0; j < Y.cols(); ++j) {
    for (Index i = 0; i < Y.rows(); ++i) {
      const S sigma = svd.singular_values(i);
      Y(i, j) = static_cast<double>(sigma) > negligible ? Y(i, j) / sigma : S(0);
    }
  }
  Matrix<S> X(M.cols(), C.cols());
  multiply(svd.V, Y, X);
  return X;
}

}  // namespace lorasb::linalg
