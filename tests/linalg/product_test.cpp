#include "lorasb/linalg/product.hpp"

#include "support.hpp"

using namespace lorasb;

TEMPLATE_TEST_CASE("the products equal the sums that define them, also in strided blocks", "", float, double) {
  using S = TestType;
  const Index m = 7, n = 5, T = 9;
  const Weight<S> W = test::random_matrix<Weight<S>>(m + 2, n + 3, 1);
  const Matrix<S> X = test::random_matrix<Matrix<S>>(n + 1, T, 2);
  const Matrix<S> dY = test::random_matrix<Matrix<S>>(m + 4, T, 3);
  const ConstWeightView<S> w = W.block(1, 2, m, n);
  const ConstMatrixView<S> x = X.bottomRows(n);
  const ConstMatrixView<S> dy = dY.topRows(m);

  Matrix<S> Y = Matrix<S>::Constant(m + 1, T, S(NAN));  // overwritten, whatever stood there
  linalg::multiply(w, x, Y.topRows(m));
  Matrix<S> dX = Matrix<S>::Constant(n, T, S(NAN));
  linalg::multiply_transposed<S>(W.block(1, 2, m, n), dY.topRows(m), dX);
  Weight<S> dW = Weight<S>::Ones(m, n + 1);  // added to
  linalg::add_outer(dy, X.bottomRows(n), S(2), dW.rightCols(n));

  Matrix<double> y = Matrix<double>::Zero(m, T), dx = Matrix<double>::Zero(n, T), dw = Matrix<double>::Ones(m, n);
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j)
      for (Index t = 0; t < T; ++t) {
        y(i, t) += double(w(i, j)) * double(x(j, t));
        dx(j, t) += double(w(i, j)) * double(dy(i, t));
        dw(i, j) += 2 * double(dy(i, t)) * double(x(j, t));
      }
  CHECK(test::relative_error(Y.topRows(m), y) < test::Tolerance<S>::exact);
  CHECK(test::relative_error(dX, dx) < test::Tolerance<S>::exact);
  CHECK(test::relative_error(dW.rightCols(n), dw) < test::Tolerance<S>::exact);
  CHECK(std::isnan(Y(m, 0)));  // the row outside the view is untouched
  CHECK(dW.col(0) == Vector<S>::Ones(m));
}

TEMPLATE_TEST_CASE("products over an empty inner dimension are zero and over no tokens do nothing", "", float, double) {
  using S = TestType;
  const Weight<S> W(3, 0);
  Matrix<S> Y = Matrix<S>::Ones(3, 2);
  linalg::multiply<S>(W, Matrix<S>(0, 2), Y);
  CHECK(Y.isZero(0));
  Weight<S> dW = Weight<S>::Ones(3, 4);
  linalg::add_outer<S>(Matrix<S>(3, 0), Matrix<S>(4, 0), S(1), dW);
  CHECK(dW.isOnes(0));
  Matrix<S> none(4, 0);
  linalg::multiply_transposed<S>(dW, Matrix<S>(3, 0), none);
  CHECK(none.size() == 0);
}

TEST_CASE("products of matrices that do not fit name the argument and both sizes") {
  Weight<float> W = Weight<float>::Zero(3, 4);
  Matrix<float> X = Matrix<float>::Zero(5, 2), Y = Matrix<float>::Zero(3, 2);
  CHECK_ERROR(linalg::multiply<float>(W, X, Y), ErrorId::shape, "linalg::multiply: X is 5 x 2, expected 4 rows");
  CHECK_ERROR(linalg::multiply<float>(W, X.topRows(4), X), ErrorId::shape, "Y is 5 x 2, expected 3 x 2");
  CHECK_ERROR(linalg::multiply_transposed<float>(W, X, X), ErrorId::shape, "dY is 5 x 2, expected 3 rows");
  CHECK_ERROR(linalg::multiply_transposed<float>(W, Y, X), ErrorId::shape, "dX is 5 x 2, expected 4 x 2");
  CHECK_ERROR(linalg::add_outer<float>(Y, X, 1, W), ErrorId::shape, "X is 5 x 2, expected 4 x 2");
  CHECK_ERROR(linalg::add_outer<float>(X, X.topRows(4), 1, W), ErrorId::shape, "dW is 3 x 4, expected 5 x 4");
}
