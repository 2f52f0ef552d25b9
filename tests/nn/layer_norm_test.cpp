#include "lorasb/nn/layer_norm.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;

TEMPLATE_TEST_CASE("Layer normalisation and its gradients are torch's", "", float, double) {
  using S = TestType;
  const Strided<Matrix<S>> X(test::golden_matrix<S>("layer_norm.X")), dY(test::golden_matrix<S>("layer_norm.dY"));
  const Vector<S> scale = test::golden_vector<S>("layer_norm.scale"), bias = test::golden_vector<S>("layer_norm.bias");
  nn::LayerNormCache<S> cache;
  Strided<Matrix<S>> Y(7, 9), dX(7, 9);
  nn::layer_norm<S>(X.view(), flat(scale), flat(bias), 1e-6, Y.view(), cache);
  nn::layer_norm_backward_input<S>(dY.view(), X.view(), flat(scale), cache, dX.view());
  Vector<S> dscale = Vector<S>::Ones(7), dbias = Vector<S>::Ones(7);  // gradients from before
  nn::layer_norm_backward_parameters<S>(dY.view(), X.view(), cache, flat(dscale), flat(dbias));
  constexpr double tolerance = test::Tolerance<S>::sum;
  CHECK(test::relative_error(Y.inner(), test::golden_matrix<S>("layer_norm.Y")) <= tolerance);
  CHECK(test::relative_error(dX.inner(), test::golden_matrix<S>("layer_norm.dX")) <= tolerance);
  CHECK(test::relative_error(dscale, Vector<S>::Ones(7) + test::golden_vector<S>("layer_norm.dscale")) <= tolerance);
  CHECK(test::relative_error(dbias, Vector<S>::Ones(7) + test::golden_vector<S>("layer_norm.dbias")) <= tolerance);
  CHECK(Y.surroundings_untouched());
  CHECK(dX.surroundings_untouched());

  Matrix<S> in_place = dY.inner();
  nn::layer_norm_backward_input<S>(in_place, X.view(), flat(scale), cache, in_place);
  CHECK(test::relative_error(in_place, dX.inner()) <= test::Tolerance<S>::exact);
}

TEST_CASE("The gradients of layer normalisation agree with central differences") {
  Matrix<double> X = 2 * test::random_matrix<Matrix<double>>(6, 4, 1), Y(6, 4), dX(6, 4);
  X.array() += 5;
  Vector<double> scale = test::random_matrix<Matrix<double>>(6, 1, 2), bias = test::random_matrix<Matrix<double>>(6, 1, 3);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(6, 4, 4);
  nn::LayerNormCache<double> cache;
  const auto loss = [&] {
    nn::layer_norm<double>(X, flat(std::as_const(scale)), flat(std::as_const(bias)), 1e-3, Y, cache);
    return Y.cwiseProduct(dY).sum();
  };
  loss();
  Vector<double> dscale = Vector<double>::Zero(6), dbias = Vector<double>::Zero(6);
  nn::layer_norm_backward_input<double>(dY, X, flat(std::as_const(scale)), cache, dX);
  nn::layer_norm_backward_parameters<double>(dY, X, cache, flat(dscale), flat(dbias));
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(scale), flat(std::as_const(dscale)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(bias), flat(std::as_const(dbias)), loss) <= test::gradient_tolerance);
}

TEMPLATE_TEST_CASE("Normalised columns have mean 0 and variance 1, a constant column becomes the bias", "", float, double) {
  using S = TestType;
  const Index d = 257;
  Matrix<S> X = test::random_matrix<Matrix<S>>(d, 3, 5), Y(d, 3);
  X.col(1).array() += S(1000);  // a mean far above the deviation
  X.col(2).setConstant(S(4));
  const Vector<S> ones = Vector<S>::Ones(d), zeros = Vector<S>::Zero(d);
  nn::LayerNormCache<S> cache;
  nn::layer_norm<S>(X, flat(ones), flat(zeros), 1e-6, Y, cache);
  for (Index t = 0; t < 2; ++t) {
    // The rounding of X itself, relative to its deviation, enters the mean.
    CHECK(std::abs(static_cast<double>(Y.col(t).mean())) <= 1000 * test::Tolerance<S>::exact);
    CHECK(static_cast<double>(Y.col(t).squaredNorm()) / static_cast<double>(d) == Approx(1).epsilon(1e-4));
  }
  CHECK(Y.col(2).isZero(0));
}

TEST_CASE("NaN in one token stays in that token") {
  Matrix<float> X = test::random_matrix<Matrix<float>>(5, 2, 6), Y(5, 2);
  X(3, 1) = std::numeric_limits<float>::quiet_NaN();
  const Vector<float> ones = Vector<float>::Ones(5);
  nn::LayerNormCache<float> cache;
  nn::layer_norm<float>(X, flat(ones), flat(ones), 1e-6, Y, cache);
  CHECK(Y.col(0).allFinite());
  CHECK(Y.col(1).array().isNaN().all());
}

TEST_CASE("Layer normalisation refuses sizes that do not fit") {
  Matrix<float> X = Matrix<float>::Ones(4, 3), Y(4, 3), wrong(4, 2);
  Vector<float> four = Vector<float>::Ones(4), five = Vector<float>::Ones(5);
  const std::span<const float> fine = flat(std::as_const(four)), long_one = flat(std::as_const(five));
  nn::LayerNormCache<float> cache;
  CHECK_ERROR(nn::layer_norm<float>(X, long_one, fine, 1e-6, Y, cache), ErrorId::shape, "numbers in scale");
  CHECK_ERROR(nn::layer_norm<float>(X, fine, long_one, 1e-6, Y, cache), ErrorId::shape, "numbers in bias");
  CHECK_ERROR(nn::layer_norm<float>(X, fine, fine, 1e-6, wrong, cache), ErrorId::shape, "Y is 4 x 2, expected 4 x 3");
  CHECK_ERROR(nn::layer_norm<float>(X, fine, fine, -1, Y, cache), ErrorId::value, "epsilon is -1");
  CHECK_ERROR(nn::layer_norm_backward_input<float>(X, X, fine, cache, Y), ErrorId::shape, "cache is 0 x 0");
  nn::layer_norm<float>(X, fine, fine, 1e-6, Y, cache);
  CHECK_ERROR(nn::layer_norm_backward_input<float>(wrong, X, fine, cache, Y), ErrorId::shape, "dY is 4 x 2");
  CHECK_ERROR(nn::layer_norm_backward_parameters<float>(X, X, cache, flat(five), flat(four)), ErrorId::shape, "dscale");
  CHECK_ERROR(nn::layer_norm_backward_parameters<float>(X, X, cache, flat(four), flat(five)), ErrorId::shape, "dbias");
}
