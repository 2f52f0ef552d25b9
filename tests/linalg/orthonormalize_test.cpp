#include "lorasb/linalg/orthonormalize.hpp"

#include "linalg/orthonormality.hpp"
#include "support.hpp"

using namespace lorasb;
using test::departure;
using test::orthonormal;

namespace {

/// ‖Y - Q Qᵀ Y‖ / ‖Y‖, in double: 0 when Q spans the columns of Y.
template <Real S>
double missed(const Matrix<S>& Q, const Matrix<S>& Y) {
  const Eigen::MatrixXd q = Q.template cast<double>(), y = Y.template cast<double>();
  return (y - q * (q.transpose() * y)).norm() / std::max(y.norm(), 1e-300);
}

}  // namespace

TEMPLATE_TEST_CASE("a tall matrix becomes an orthonormal basis of its own columns", "", float, double) {
  using S = TestType;
  const auto [m, k] =
      GENERATE(table<Index, Index>({{1, 1}, {2, 2}, {5, 3}, {33, 33}, {100, 1}, {200, 64}, {97, 97}, {4096, 112}}));
  CAPTURE(m, k);
  const Matrix<S> Y = test::random_matrix<Matrix<S>>(m, k, 1);
  Matrix<S> Q = Y;
  CHECK(linalg::orthonormalize<S>(Q, 1) == k);
  CHECK(departure(Q) < orthonormal<S>);
  CHECK(missed(Q, Y) < test::Tolerance<S>::sum);
  const Matrix<S> R = Q.transpose() * Y;  // upper triangular: column j of Q needs no later column of Y
  CHECK(R.template triangularView<Eigen::StrictlyLower>().toDenseMatrix().norm() < test::Tolerance<S>::sum * R.norm());
  CHECK(R.diagonal().minCoeff() >= 0);
}

TEMPLATE_TEST_CASE("columns of all sizes count alike", "", float, double) {
  using S = TestType;
  const S size = GENERATE(S(1e-30), S(1e30), std::numeric_limits<S>::denorm_min());
  CAPTURE(size);
  Matrix<S> Y = test::random_matrix<Matrix<S>>(50, 40, 2);
  for (Index j = 0; j < 40; j += 3) Y.col(j) *= size;
  Matrix<S> Q = Y;
  Index nonzero = 0;
  for (Index j = 0; j < 40; ++j) nonzero += Y.col(j).isZero(0) ? 0 : 1;
  CHECK(linalg::orthonormalize<S>(Q, 1) == nonzero);
  CHECK(departure(Q) < orthonormal<S>);
}

TEMPLATE_TEST_CASE("dependent, repeated and zero columns are counted out and replaced", "", float, double) {
  using S = TestType;
  const auto [m, k] = GENERATE(table<Index, Index>({{20, 20}, {300, 70}, {4096, 112}}));
  const Index rank = 7;
  CAPTURE(m, k);
  SECTION("a product of rank 7") {
    const Matrix<S> Y = test::random_matrix<Matrix<S>>(m, rank, 1) * test::random_matrix<Matrix<S>>(rank, k, 2);
    Matrix<S> Q = Y;
    CHECK(linalg::orthonormalize<S>(Q, 1) == rank);
    CHECK(departure(Q) < orthonormal<S>);
    CHECK(missed(Q, Y) < test::Tolerance<S>::sum);
  }
  SECTION("seven columns again and again") {
    const Matrix<S> few = test::random_matrix<Matrix<S>>(m, rank, 1);
    Matrix<S> Q(m, k);
    for (Index j = 0; j < k; ++j) Q.col(j) = few.col(j % rank);
    CHECK(linalg::orthonormalize<S>(Q, 1) == rank);
    CHECK(departure(Q) < orthonormal<S>);
    CHECK(missed(Q, few) < test::Tolerance<S>::sum);
  }
  SECTION("all zero") {
    Matrix<S> Q = Matrix<S>::Zero(m, k);
    CHECK(linalg::orthonormalize<S>(Q, 1) == 0);
    CHECK(departure(Q) < orthonormal<S>);
  }
  SECTION("all ones, and then a column of noise") {
    Matrix<S> Q = Matrix<S>::Ones(m, k);
    Q.col(k - 1) = test::random_matrix<Matrix<S>>(m, 1, 1);
    CHECK(linalg::orthonormalize<S>(Q, 1) == 2);
    CHECK(departure(Q) < orthonormal<S>);
  }
}

TEMPLATE_TEST_CASE("nearly dependent columns keep their direction and lose no orthogonality", "", float, double) {
  using S = TestType;
  const Index m = 500, k = 100;
  // Every column is one vector and a thousandth of its own; a Krylov basis without orthogonalization looks like this.
  Matrix<S> Y = S(1e-3) * test::random_matrix<Matrix<S>>(m, k, 1);
  Y.colwise() += Vector<S>(test::random_matrix<Matrix<S>>(m, 1, 2).col(0));
  Matrix<S> Q = Y;
  CHECK(linalg::orthonormalize<S>(Q, 1) == k);
  CHECK(departure(Q) < orthonormal<S>);
  CHECK(missed(Q, Y) < test::Tolerance<S>::sum);
  // Monomials: soon only rounding is new.
  Matrix<S> V(m, k);
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < k; ++j) V(i, j) = static_cast<S>(std::pow((double(i) + 0.5) / m, double(j)));
  Q = V;
  const Index independent = linalg::orthonormalize<S>(Q, 1);
  CHECK(independent > 4);
  CHECK(independent < k);
  CHECK(departure(Q) < orthonormal<S>);
  CHECK(missed(Q, V) < test::Tolerance<S>::sum);
}

TEMPLATE_TEST_CASE("columns that are orthonormal already are continued, in a strided view too", "", float, double) {
  using S = TestType;
  Matrix<S> memory = test::random_matrix<Matrix<S>>(80, 50, 1);
  linalg::orthonormalize<S>(memory.topRows(60).leftCols(20), 1);
  const Matrix<S> before = memory;
  memory.col(33) = memory.col(4);  // depends on the finished part
  CHECK(linalg::orthonormalize<S>(memory.topRows(60), 1, 20) == 29);
  CHECK(memory.leftCols(20) == before.leftCols(20));
  CHECK(memory.bottomRows(20).leftCols(33) == before.bottomRows(20).leftCols(33));
  CHECK(departure(memory.topRows(60)) < orthonormal<S>);
}

TEMPLATE_TEST_CASE("the seed decides the directions that replace columns, and only these", "", float, double) {
  using S = TestType;
  Matrix<S> Y = Matrix<S>::Zero(30, 4);
  Y.leftCols(3) = test::random_matrix<Matrix<S>>(30, 3, 1);
  Matrix<S> a = Y, b = Y, c = Y;
  linalg::orthonormalize<S>(a, 5);
  linalg::orthonormalize<S>(b, 5);
  linalg::orthonormalize<S>(c, 6);
  CHECK(a == b);
  CHECK(a.leftCols(3) == c.leftCols(3));
  CHECK(a.col(3) != c.col(3));
}

TEMPLATE_TEST_CASE("an empty basis is orthonormal, a wide or broken one is refused", "", float, double) {
  using S = TestType;
  Matrix<S> none(5, 0), nothing(0, 0), wide = Matrix<S>::Ones(3, 4), bad = Matrix<S>::Ones(4, 3);
  CHECK(linalg::orthonormalize<S>(none, 1) == 0);
  CHECK(linalg::orthonormalize<S>(nothing, 1) == 0);
  CHECK_ERROR(linalg::orthonormalize<S>(wide, 1), ErrorId::shape, "Y is 3 x 4, expected no more columns than rows");
  CHECK_ERROR(linalg::orthonormalize<S>(bad, 1, 4), ErrorId::value, "first is 4, expected 0 to 3");
  bad(2, 1) = std::numeric_limits<S>::quiet_NaN();
  CHECK_ERROR(linalg::orthonormalize<S>(bad, 1), ErrorId::not_finite, "Y holds nan at row 2, column 1");
  bad(2, 1) = -std::numeric_limits<S>::infinity();
  CHECK_ERROR(linalg::orthonormalize<S>(bad, 1), ErrorId::not_finite, "Y holds -inf at row 2, column 1");
}

TEMPLATE_TEST_CASE("columns that lean on all before them a little each come out orthonormal", "", float, double) {
  // Y = Q Lᵀ with 0.905 on the diagonal of L and unit rows: no pivot is small, and yet L is far from orthogonal
  using S = TestType;
  const Index m = 400, n = 128;
  Matrix<double> Lt = Matrix<double>::Zero(n, n);
  Lt(0, 0) = 1;
  for (Index k = 1; k < n; ++k) {
    Lt(k, k) = 0.905;
    for (Index i = 0; i < k; ++i) Lt(i, k) = -std::sqrt((1 - 0.905 * 0.905) / double(k));
  }
  Matrix<S> Q = test::random_matrix<Matrix<S>>(m, n, 3);
  linalg::orthonormalize<S>(Q, 0);
  Matrix<S> Y = (Q.template cast<double>() * Lt).template cast<S>();
  CHECK(linalg::orthonormalize<S>(Y, 0) == n);
  const Matrix<double> gram = Y.template cast<double>().transpose() * Y.template cast<double>();
  CHECK((gram - Matrix<double>::Identity(n, n)).cwiseAbs().maxCoeff() < (sizeof(S) == 4 ? 5e-7 : 1e-14));
}
