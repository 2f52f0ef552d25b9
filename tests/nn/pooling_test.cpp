#include "lorasb/nn/pooling.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;
using Offsets = std::vector<Index>;

TEMPLATE_TEST_CASE("Means of sequences and their gradients are torch's", "", float, double) {
  using S = TestType;
  const Strided<Matrix<S>> X(test::golden_matrix<S>("mean_pool.X")), dY(test::golden_matrix<S>("mean_pool.dY"));
  Strided<Matrix<S>> Y(4, 3), dX(4, 9);
  nn::mean_pool<S>(X.view(), test::golden_offsets(), Y.view());
  nn::mean_pool_backward<S>(dY.view(), test::golden_offsets(), dX.view());
  CHECK(test::relative_error(Y.inner(), test::golden_matrix<S>("mean_pool.Y")) <= test::Tolerance<S>::exact);
  CHECK(test::relative_error(dX.inner(), test::golden_matrix<S>("mean_pool.dX")) <= test::Tolerance<S>::exact);
  CHECK(Y.surroundings_untouched());
  CHECK(dX.surroundings_untouched());
}

TEST_CASE("The gradient of means agrees with central differences") {
  const Offsets offsets{0, 2, 3, 7};
  Matrix<double> X = test::random_matrix<Matrix<double>>(3, 7, 1), Y(3, 3), dX(3, 7);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(3, 3, 2);
  nn::mean_pool_backward<double>(dY, offsets, dX);
  const auto loss = [&] {
    nn::mean_pool<double>(X, offsets, Y);
    return Y.cwiseProduct(dY).sum();
  };
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
}

TEST_CASE("The mean of one sequence is the same alone and inside a larger batch") {
  const Matrix<float> X = test::random_matrix<Matrix<float>>(33, 9, 3);
  Matrix<float> Y(33, 3), alone(33, 1);
  nn::mean_pool<float>(X, Offsets{0, 2, 6, 9}, Y);
  nn::mean_pool<float>(X.middleCols(2, 4), Offsets{0, 4}, alone);
  CHECK(alone == Y.col(1));
}

TEST_CASE("A sequence without tokens has no mean") {
  Matrix<float> X = Matrix<float>::Ones(2, 3), Y(2, 3);
  CHECK_ERROR(nn::mean_pool<float>(X, Offsets{0, 1, 1, 3}, Y), ErrorId::value, "mean_pool: sequence 1 has no tokens");
  CHECK_ERROR(nn::mean_pool_backward<float>(Y, Offsets{0, 0, 1, 3}, X), ErrorId::value, "sequence 0 has no tokens");
}

TEST_CASE("Means refuse sizes that do not fit, and take no sequences at all") {
  Matrix<float> X = Matrix<float>::Ones(2, 3), Y(2, 3), none(2, 0);
  CHECK_ERROR(nn::mean_pool<float>(X, Offsets{0, 1, 3}, Y), ErrorId::shape, "Y is 2 x 3, expected 2 x 2");
  CHECK_ERROR(nn::mean_pool<float>(X, Offsets{0, 1, 4}, Y), ErrorId::shape, "offsets end at 4");
  CHECK_ERROR(nn::mean_pool_backward<float>(Y, Offsets{0, 1, 3}, X), ErrorId::shape, "dY is 2 x 3, expected 2 x 2");
  CHECK_NOTHROW(nn::mean_pool<float>(none, Offsets{0}, none));
}

TEST_CASE("The first tokens of sequences are picked, and their gradients put back") {
  const Offsets offsets{0, 2, 3, 7};
  Matrix<double> X = test::random_matrix<Matrix<double>>(3, 7, 1), Y(3, 3), dX(3, 7);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(3, 3, 2);
  nn::first_pool_backward<double>(dY, offsets, dX);
  const auto loss = [&] {
    nn::first_pool<double>(X, offsets, Y);
    return Y.cwiseProduct(dY).sum();
  };
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
  CHECK(Y.col(2) == X.col(3));
  CHECK_ERROR(nn::first_pool<double>(X, Offsets{0, 0, 3, 7}, Y), ErrorId::value, "first_pool: sequence 0 has no tokens");
  CHECK_ERROR(nn::first_pool_backward<double>(Y, Offsets{0, 7}, X), ErrorId::shape, "dY is 3 x 3, expected 3 x 1");
}
