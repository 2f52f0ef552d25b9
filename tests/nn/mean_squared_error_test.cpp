#include "lorasb/nn/mean_squared_error.hpp"

#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;

TEMPLATE_TEST_CASE("Mean squared error and its gradient, divided by the examples, are torch's mse_loss", "", float, double) {
  using S = TestType;
  // torch 2.15: torch.nn.functional.mse_loss(y, t), one row for each example
  const Matrix<S> outputs{{1.5, 0, -40, 0.5}, {-0.25, -2, 0.75, -0.5}, {3, 40, -1.25, 2}};
  const Matrix<S> targets{{1, 1, 0, 0}, {0, 1, 0, 1}, {1, 0, 0, 1}};
  const Matrix<S> expected{{1.0 / 12, -1.0 / 6, -20.0 / 3, 1.0 / 12},
                           {-1.0 / 24, -0.5, 0.125, -0.25},
                           {1.0 / 3, 20.0 / 3, -5.0 / 24, 1.0 / 6}};
  Strided<Matrix<S>> doutputs(3, 4);
  Vector<double> losses(4);
  const double sum = nn::mean_squared_error<S>(outputs, targets, doutputs.view(), flat(losses));
  CHECK(sum / 4 == Approx(268.328125).epsilon(test::Tolerance<S>::sum));
  CHECK(losses.sum() == Approx(sum).epsilon(test::Tolerance<double>::sum));
  CHECK(losses(0) == Approx((0.25 + 0.0625 + 4) / 3).epsilon(test::Tolerance<S>::sum));
  CHECK(test::relative_error(doutputs.inner() / S(4), expected) <= test::Tolerance<S>::sum);
  CHECK(doutputs.surroundings_untouched());
}

TEST_CASE("The gradient of mean squared error agrees with central differences, and may take the place of the outputs") {
  const Matrix<double> targets = test::random_matrix<Matrix<double>>(3, 4, 1);
  Matrix<double> outputs = test::random_matrix<Matrix<double>>(3, 4, 2), doutputs(3, 4), ignored(3, 4);
  nn::mean_squared_error<double>(outputs, targets, doutputs);
  const auto loss = [&] { return nn::mean_squared_error<double>(outputs, targets, ignored); };
  CHECK(test::gradient_error(flat(outputs), flat(std::as_const(doutputs)), loss) <= test::gradient_tolerance);
  nn::mean_squared_error<double>(outputs, targets, outputs);
  CHECK(outputs == doutputs);
}

TEST_CASE("Mean squared error of an output that is not finite is NaN for its example alone, and sizes must fit") {
  Matrix<float> outputs{{1, std::numeric_limits<float>::infinity()}}, doutputs(1, 2), none(1, 0);
  const Matrix<float> targets{{3, 0}};
  std::vector<double> losses(2), three(3);
  CHECK(std::isnan(nn::mean_squared_error<float>(outputs, targets, doutputs, losses)));
  CHECK(losses[0] == 4);
  CHECK(std::isnan(losses[1]));
  CHECK(doutputs(0, 0) == -4);
  CHECK(std::isnan(doutputs(0, 1)));
  CHECK(nn::mean_squared_error<float>(none, none, none) == 0);
  CHECK_ERROR(nn::mean_squared_error<float>(outputs, none, doutputs), ErrorId::shape, "targets is 1 x 0, expected 1 x 2");
  CHECK_ERROR(nn::mean_squared_error<float>(outputs, targets, none), ErrorId::shape, "doutputs is 1 x 0, expected 1 x 2");
  CHECK_ERROR(nn::mean_squared_error<float>(outputs, targets, doutputs, three), ErrorId::shape, "losses holds 3 numbers");
}
