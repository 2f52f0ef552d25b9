#include "reference.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>

namespace lorasb::test {

Matrix<double> orthonormal_basis(const Matrix<double>& m) {
  return Eigen::HouseholderQR<Matrix<double>>(m).householderQ() * Matrix<double>::Identity(m.rows(), m.cols());
}

Vector<double> singular_values(const Matrix<double>& m) { return Eigen::JacobiSVD<Matrix<double>>(m).singularValues(); }

Vector<double> singular_values_by_gram(const Matrix<double>& m) {
  const Matrix<double> gram = m.rows() <= m.cols() ? Matrix<double>(m * m.transpose()) : Matrix<double>(m.transpose() * m);
  const Eigen::SelfAdjointEigenSolver<Matrix<double>> solver(gram, Eigen::EigenvaluesOnly);
  return solver.eigenvalues().reverse().cwiseMax(0).cwiseSqrt();
}

Matrix<double> product(double factor, const Matrix<double>& l, const Matrix<double>& m, const Matrix<double>& n) {
  return factor * l * m * n;
}

double relative_error_of(const Matrix<double>& a, const Matrix<double>& b) {
  return (a - b).norm() / std::max(b.norm(), 1e-30);
}

}  // namespace lorasb::test
