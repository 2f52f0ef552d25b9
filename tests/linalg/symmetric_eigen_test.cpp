#include "lorasb/linalg/symmetric_eigen.hpp"

#include <Eigen/Eigenvalues>

#include "support.hpp"

using namespace lorasb;

namespace {

/// What makes values and vectors those of A, and the values of another algorithm.
void check_eigen(const Matrix<double>& A, Index count) {
  const Index n = A.rows();
  CAPTURE(n, count);
  Matrix<double> lower = A;
  for (Index j = 1; j < n; ++j) lower.col(j).head(j).setConstant(std::nan(""));  // is not read
  const linalg::SymmetricEigen eigen(lower);
  const Matrix<double> X = eigen.vectors(count);
  REQUIRE(eigen.converged());
  REQUIRE(eigen.values().size() == n);
  REQUIRE(X.rows() == n);
  REQUIRE(X.cols() == count);
  const Eigen::VectorXd reference = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(A).eigenvalues().reverse();
  const double size = reference.cwiseAbs().maxCoeff();
  CHECK((eigen.values() - reference).cwiseAbs().maxCoeff() <= test::Tolerance<double>::sum * size);
  if (count == 0) return;
  CHECK((X.transpose() * X - Eigen::MatrixXd::Identity(count, count)).cwiseAbs().maxCoeff() < 1e-13);
  CHECK((A * X - X * eigen.values().head(count).asDiagonal()).norm() <= test::Tolerance<double>::sum * A.norm());
}

Matrix<double> gram(Index rows, Index n, std::uint64_t seed) {
  const Matrix<double> M = test::random_matrix<Matrix<double>>(rows, n, seed);
  return M.transpose() * M;
}

}  // namespace

TEST_CASE("the largest eigenvalues and their vectors are those of the matrix, for symmetric matrices of any size") {
  for (const Index n : {1, 2, 3, 4, 7, 16, 33, 100, 257}) {
    const Matrix<double> A = gram(n + 5, n, 1);
    for (const Index count : {Index{0}, Index{1}, n / 3, n}) check_eigen(A, count);
    Matrix<double> indefinite = test::random_matrix<Matrix<double>>(n, n, 2);
    indefinite = (indefinite + indefinite.transpose()).eval();
    check_eigen(indefinite, n);
  }
}

TEST_CASE("zero, repeated and clustered eigenvalues get as many orthonormal vectors as were asked for") {
  const Index n = 60;
  check_eigen(Matrix<double>::Zero(n, n), n);
  check_eigen(Matrix<double>::Identity(n, n), n);
  check_eigen(Matrix<double>::Ones(n, n), n);
  check_eigen(gram(3, n, 1), 10);  // rank 3
  check_eigen(gram(3, n, 1), n);
  Matrix<double> Q = test::random_matrix<Matrix<double>>(n, n, 3);
  Q = Eigen::HouseholderQR<Eigen::MatrixXd>(Q).householderQ();
  Vector<double> values = Vector<double>::Constant(n, 2);
  values.head(20).setConstant(5);
  values.tail(10).setZero();
  check_eigen(Q * values.asDiagonal() * Q.transpose(), 40);
  for (Index i = 0; i < n; ++i) values(i) = 1 + 1e-15 * double(i % 7);
  check_eigen(Q * values.asDiagonal() * Q.transpose(), n);
  for (Index i = 0; i < n; ++i) values(i) = std::pow(10.0, -double(i));
  check_eigen(Q * values.asDiagonal() * Q.transpose(), n);
  Matrix<double> pairs = Matrix<double>::Zero(n, n);  // Wilkinson's: neighbours closer than rounding
  for (Index i = 0; i < n; ++i) pairs(i, i) = std::abs(double(i) - 29.5);
  for (Index i = 0; i + 1 < n; ++i) pairs(i + 1, i) = pairs(i, i + 1) = 1;
  check_eigen(pairs, n);
}

TEST_CASE("tiny and huge matrices have the eigenvectors of their multiples") {
  const Matrix<double> A = gram(30, 20, 5);
  check_eigen(1e-120 * A, 20);
  check_eigen(1e120 * A, 20);
}

TEST_CASE("what is not square, and more vectors than there are, is refused") {
  CHECK_ERROR(linalg::SymmetricEigen(Matrix<double>(3, 2)), ErrorId::shape, "A is 3 x 2, expected a square matrix");
  CHECK_ERROR(linalg::SymmetricEigen(Matrix<double>(Matrix<double>::Zero(3, 3))).vectors(4), ErrorId::shape,
              "count is 4, expected 0 to 3");
  CHECK(linalg::SymmetricEigen(Matrix<double>(0, 0)).vectors(0).size() == 0);
}
