#include "lorasb/linalg/thin_product.hpp"

#include "support.hpp"

using namespace lorasb;
using test::relative_error;
using test::Tolerance;

TEMPLATE_TEST_CASE("products with a few columns are W X and Wᵀ X", "", float, double) {
  using S = TestType;
  // rows and columns that fill no tile, one more than a chunk, and every way of cutting columns into panels
  const auto [m, n, k] = GENERATE(table<Index, Index, Index>({{1, 1, 1},
                                                              {8, 5, 3},
                                                              {13, 40, 16},
                                                              {7, 2049, 17},
                                                              {2060, 9, 32},
                                                              {33, 65, 33},
                                                              {20, 30, 48},
                                                              {20, 30, 49},
                                                              {31, 17, 64},
                                                              {12, 50, 65},
                                                              {40, 40, 112}}));
  CAPTURE(m, n, k);
  const Weight<S> W = test::random_matrix<Weight<S>>(m, n, 1);
  const Matrix<S> X = test::random_matrix<Matrix<S>>(n, k, 2), Xt = test::random_matrix<Matrix<S>>(m, k, 3);
  const Matrix<double> wide = W.template cast<double>();
  Matrix<S> Y = Matrix<S>::Constant(m, k, S(7)), Yt = Matrix<S>::Constant(n, k, S(7));  // overwritten
  linalg::multiply_thin<S>(W, X, Y);
  linalg::multiply_thin_transposed<S>(W, Xt, Yt);
  CHECK(relative_error(Y, wide * X.template cast<double>()) < Tolerance<S>::sum);
  CHECK(relative_error(Yt, wide.transpose() * Xt.template cast<double>()) < Tolerance<S>::sum);
}

TEST_CASE("products with a few columns stay within their views") {
  const Weight<float> large = test::random_matrix<Weight<float>>(40, 50, 1);
  const auto W = large.block(3, 5, 19, 21);
  const Matrix<float> X = test::random_matrix<Matrix<float>>(30, 10, 2);
  Matrix<float> Y = Matrix<float>::Constant(30, 10, 7);
  linalg::multiply_thin<float>(W, X.block(1, 2, 21, 5), Y.block(4, 3, 19, 5));
  CHECK(relative_error(Y.block(4, 3, 19, 5), W * X.block(1, 2, 21, 5)) < Tolerance<float>::sum);
  Y.block(4, 3, 19, 5).setConstant(7);
  CHECK((Y.array() == 7).all());
}

TEST_CASE("products with no columns, or of nothing") {
  const Weight<float> W = Weight<float>::Ones(4, 3), none(0, 3);
  Matrix<float> empty(4, 0), Y = Matrix<float>::Constant(3, 2, 7);
  linalg::multiply_thin<float>(W, Matrix<float>(3, 0).eval(), empty);
  linalg::multiply_thin_transposed<float>(none, Matrix<float>(0, 2).eval(), Y);
  CHECK(Y.isZero(0));
}

TEST_CASE("products with a few columns name the argument of the wrong size") {
  const Weight<float> W = Weight<float>::Ones(4, 3);
  const Matrix<float> X = Matrix<float>::Ones(3, 2);
  Matrix<float> Y(4, 2), wrong(3, 2);
  CHECK_ERROR(linalg::multiply_thin_transposed<float>(W, X, Y), ErrorId::shape, "X is 3 x 2, expected 4 rows (rows of W)");
  CHECK_ERROR(linalg::multiply_thin<float>(W, X, wrong), ErrorId::shape, "Y is 3 x 2, expected 4 x 2");
}
