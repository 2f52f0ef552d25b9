#include "lorasb/adapter/observed_linear.hpp"

#include "lorasb/adapter/gradient_estimate.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("an observed layer is W0 and shows dY and X to its observer") {
  const Weight<double> W0 = random_matrix<Weight<double>>(3, 4, 1);
  const Matrix<double> X = random_matrix<Matrix<double>>(4, 6, 2);
  const Matrix<double> dY = random_matrix<Matrix<double>>(3, 6, 3);
  GradientEstimate<double> estimate(3, 4);
  const ObservedLinear<double> layer(
      W0, [&](ConstMatrixView<double> seen_dY, ConstMatrixView<double> seen_X) { estimate.add(seen_dY, seen_X, 2); });
  CHECK(layer.trainable() == 0);
  CHECK(layer.wants_gradient());
  LinearCache<double> cache;
  Matrix<double> Y(3, 6);
  Matrix<double> dX(4, 6);
  const ForwardPass<double> pass = layer.forward(X, Y, cache);
  layer.backward(pass, dY, cache, not_wanted, dX);
  CHECK(relative_error(Y, W0 * X) < Tolerance<double>::sum);
  CHECK(relative_error(dX, W0.transpose() * dY) < Tolerance<double>::sum);
  CHECK(relative_error(estimate.sum(), dY * X.transpose()) < Tolerance<double>::sum);
}
