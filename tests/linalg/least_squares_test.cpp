#include "lorasb/linalg/least_squares.hpp"

#include <Eigen/QR>

#include "support.hpp"

using namespace lorasb;
using linalg::least_squares;

TEMPLATE_TEST_CASE("least squares agree with Eigen's QR and leave a residual orthogonal to the columns", "", float, double) {
  using S = TestType;
  const auto [l, k, n] = GENERATE(table<Index, Index, Index>({{1, 1, 1}, {9, 4, 3}, {60, 60, 5}, {81, 40, 1}, {225, 112, 30}}));
  CAPTURE(l, k, n);
  const Matrix<S> M = test::random_matrix<Matrix<S>>(l, k, 1);
  const Matrix<S> C = test::random_matrix<Matrix<S>>(l, n, 2);
  const Matrix<S> X = least_squares<S>(M, C);
  const Eigen::MatrixXd m = M.template cast<double>(), c = C.template cast<double>();
  const Eigen::MatrixXd reference = m.colPivHouseholderQr().solve(c);
  CHECK(test::relative_error(X, reference) < test::Tolerance<S>::chain);  // the condition of these M is below a thousand
  const Eigen::MatrixXd normal = m.transpose() * (m * X.template cast<double>() - c);
  CHECK(normal.norm() < test::Tolerance<S>::chain * m.norm() * c.norm());
}

TEMPLATE_TEST_CASE("a consistent system is solved, and columns of different size do no harm", "", float, double) {
  using S = TestType;
  const Matrix<S> solution = test::random_matrix<Matrix<S>>(20, 7, 1);
  Matrix<S> M = test::random_matrix<Matrix<S>>(50, 20, 2);
  const S scale = GENERATE(S(1), S(0x1p-60), S(0x1p+60));
  M *= scale;
  const Matrix<S> X = least_squares<S>(M, (M * solution).eval());
  CHECK(test::relative_error(X, solution) < test::Tolerance<S>::sum);
}

TEMPLATE_TEST_CASE("with dependent columns the smallest of all solutions comes out", "", float, double) {
  using S = TestType;
  Matrix<S> M = test::random_matrix<Matrix<S>>(40, 3, 1) * test::random_matrix<Matrix<S>>(3, 10, 2);
  M.col(4) = M.col(1);
  M.col(6).setZero();
  const Matrix<S> C = test::random_matrix<Matrix<S>>(40, 4, 3);
  const Matrix<S> X = least_squares<S>(M, C);
  const Eigen::MatrixXd m = M.template cast<double>();
  Eigen::CompleteOrthogonalDecomposition<Eigen::MatrixXd> qr;
  qr.setThreshold(1e-5);
  const Eigen::MatrixXd reference = qr.compute(m).solve(C.template cast<double>());
  CHECK(test::relative_error(X, reference) < test::Tolerance<S>::chain);
  CHECK(X.row(6).norm() < test::Tolerance<S>::chain * X.norm());
  CHECK(least_squares<S>(Matrix<S>::Zero(5, 3).eval(), C.topRows(5)).isZero(0));
}

TEMPLATE_TEST_CASE("least squares take empty sides and refuse what does not fit", "", float, double) {
  using S = TestType;
  Matrix<S> M = Matrix<S>::Ones(5, 2);
  const Matrix<S> C = Matrix<S>::Ones(4, 3);
  CHECK(least_squares<S>(M, Matrix<S>(5, 0)).rows() == 2);
  CHECK(least_squares<S>(Matrix<S>(4, 0), C).cols() == 3);
  CHECK_ERROR(least_squares<S>(M, C), ErrorId::shape, "linalg::least_squares: C is 4 x 3, expected 5 rows (rows of M)");
  M(2, 1) = std::numeric_limits<S>::quiet_NaN();
  CHECK_ERROR(least_squares<S>(M, Matrix<S>::Ones(5, 1).eval()), ErrorId::not_finite, "M holds nan at row 2, column 1");
}
