#include "lorasb/nn/l2_normalize.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;

TEMPLATE_TEST_CASE("Unit columns and their gradients are torch's, zero and tiny columns included", "", float, double) {
  using S = TestType;
  const Strided<Matrix<S>> X(test::golden_matrix<S>("l2_normalize.X")), dY(test::golden_matrix<S>("l2_normalize.dY"));
  const Matrix<S> expected = test::golden_matrix<S>("l2_normalize.Y"), gradient = test::golden_matrix<S>("l2_normalize.dX");
  Strided<Matrix<S>> Y(5, 4), dX(5, 4);
  nn::l2_normalize<S>(X.view(), Y.view());
  nn::l2_normalize_backward<S>(dY.view(), X.view(), dX.view());
  for (Index i = 0; i < 4; ++i) {  // one by one: the gradient of a tiny column is a million times larger
    CHECK(test::relative_error(Y.inner().col(i), expected.col(i)) <= test::Tolerance<S>::exact);
    CHECK(test::relative_error(dX.inner().col(i), gradient.col(i)) <= test::Tolerance<S>::sum);
  }
  CHECK(Y.surroundings_untouched());
  CHECK(dX.surroundings_untouched());

  Matrix<S> in_place = X.inner(), d_in_place = dY.inner();
  nn::l2_normalize<S>(in_place, in_place);
  nn::l2_normalize_backward<S>(d_in_place, X.view(), d_in_place);
  CHECK(test::relative_error(in_place, Y.inner()) <= test::Tolerance<S>::exact);
  CHECK(test::relative_error(d_in_place, dX.inner()) <= test::Tolerance<S>::exact);
}

TEST_CASE("The gradient of unit columns agrees with central differences") {
  Matrix<double> X = test::random_matrix<Matrix<double>>(4, 3, 1), Y(4, 3), dX(4, 3);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(4, 3, 2);
  nn::l2_normalize_backward<double>(dY, X, dX);
  const auto loss = [&] {
    nn::l2_normalize<double>(X, Y);
    return Y.cwiseProduct(dY).sum();
  };
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
}

TEST_CASE("Columns of huge floats have length one, too") {
  Matrix<float> X{{3e30f}, {4e30f}}, Y(2, 1);
  nn::l2_normalize<float>(X, Y);
  CHECK(Y(0, 0) == Approx(0.6));
  CHECK(Y(1, 0) == Approx(0.8));
}

TEST_CASE("Unit columns refuse matrices of different shapes") {
  Matrix<float> X = Matrix<float>::Ones(2, 3), wrong(3, 2);
  CHECK_ERROR(nn::l2_normalize<float>(X, wrong), ErrorId::shape, "Y is 3 x 2, expected 2 x 3");
  CHECK_ERROR(nn::l2_normalize_backward<float>(wrong, X, X), ErrorId::shape, "dY is 3 x 2, expected 2 x 3");
  CHECK_ERROR(nn::l2_normalize_backward<float>(X, X, wrong), ErrorId::shape, "dX is 3 x 2, expected 2 x 3");
}
