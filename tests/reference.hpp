// Linear algebra in double by Eigen's own decompositions, which tests hold the library to: slow to compile, so compiled once.
#pragma once

#include "lorasb/core/types.hpp"

namespace lorasb::test {

/// As many orthonormal columns as m has, by Householder QR.
Matrix<double> orthonormal_basis(const Matrix<double>& m);

/// Descending, by Jacobi's SVD: accurate for small matrices.
Vector<double> singular_values(const Matrix<double>& m);

/// Descending, from the eigenvalues of the smaller one of m mᵀ and mᵀ m: for large matrices, where singular values below 1e-6
/// times the largest do not matter.
Vector<double> singular_values_by_gram(const Matrix<double>& m);

/// factor l m n
Matrix<double> product(double factor, const Matrix<double>& l, const Matrix<double>& m, const Matrix<double>& n);

/// ‖a − b‖ / max(‖b‖, 1e-30)
double relative_error_of(const Matrix<double>& a, const Matrix<double>& b);

}  // namespace lorasb::test
