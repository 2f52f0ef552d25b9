#include "lorasb/linalg/cholesky_qr.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a Cholesky factor gives its matrix back") {
  const Matrix<double> Y = test::random_matrix<Matrix<double>>(30, 7, 1);
  const Matrix<double> G = Y.transpose() * Y;
  Matrix<double> L = G;
  REQUIRE(linalg::detail::cholesky(L, 0));
  const Matrix<double> lower = L.triangularView<Eigen::Lower>();
  CHECK((lower * lower.transpose()).isApprox(G, 1e-14));
  const Matrix<double> inverse = linalg::detail::inverse_transposed<double>(L);
  CHECK((lower * inverse.transpose()).isApprox(Matrix<double>::Identity(7, 7), 1e-13));
  CHECK(inverse.triangularView<Eigen::StrictlyLower>().toDenseMatrix().isZero(0));
}

TEST_CASE("a matrix that is not safely positive definite has no Cholesky factor") {
  Matrix<double> singular = Matrix<double>::Ones(3, 3), negative = -Matrix<double>::Identity(2, 2);
  CHECK_FALSE(linalg::detail::cholesky(singular, 1e-15));
  CHECK_FALSE(linalg::detail::cholesky(negative, 0));
  Matrix<double> bad = Matrix<double>::Constant(1, 1, std::numeric_limits<double>::quiet_NaN());
  CHECK_FALSE(linalg::detail::cholesky(bad, 0));
}

TEMPLATE_TEST_CASE("Cholesky-QR makes columns orthonormal and keeps what they span", "", float, double) {
  using S = TestType;
  Matrix<S> Y = test::random_matrix<Matrix<S>>(200, 12, 2);
  Y.colwise().normalize();
  const Matrix<double> before = Y.template cast<double>();
  Matrix<S> padded = Matrix<S>::Constant(210, 12, S(7));  // a view with gaps between its columns
  padded.topRows(200) = Y;
  Vector<double> left;
  REQUIRE(linalg::detail::cholesky_qr<S>(padded.topRows(200), left));
  CHECK((padded.bottomRows(10).array() == S(7)).all());
  const Matrix<double> Q = padded.topRows(200).template cast<double>();
  const double rounding = 100 * double(std::numeric_limits<S>::epsilon());
  CHECK((Q.transpose() * Q - Matrix<double>::Identity(12, 12)).cwiseAbs().maxCoeff() < rounding);
  const Matrix<double> R = Q.transpose() * before;
  CHECK((before - Q * R).norm() < rounding * before.norm());
  CHECK((R.diagonal() - left).cwiseAbs().maxCoeff() < rounding);  // what each column keeps outside the ones before
  CHECK(R.template triangularView<Eigen::StrictlyLower>().toDenseMatrix().norm() < rounding);
}

TEST_CASE("Cholesky-QR refuses columns that nearly depend on each other, and leaves them alone") {
  Matrix<float> Y = test::random_matrix<Matrix<float>>(100, 4, 3);
  Y.colwise().normalize();
  Y.col(3) = Y.col(0) + 1e-6f * Y.col(1);
  const Matrix<float> before = Y;
  Vector<double> left;
  CHECK_FALSE(linalg::detail::cholesky_qr<float>(Y, left));
  CHECK(Y == before);
}
