#include "lorasb/adapter/gradient_estimate.hpp"

#include <limits>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEMPLATE_TEST_CASE("every example has the same weight whatever the batch it came in", "", float, double) {
  using S = TestType;
  const Matrix<S> X = random_matrix<Matrix<S>>(4, 10, 1);
  const Matrix<S> dY = random_matrix<Matrix<S>>(3, 10, 2);
  GradientEstimate<S> at_once(3, 4);
  at_once.add(dY, X, 5);  // five examples of two tokens
  GradientEstimate<S> in_batches(3, 4);
  in_batches.add(dY.leftCols(8), X.leftCols(8), 4);
  in_batches.add(dY.rightCols(2), X.rightCols(2), 1);  // a last batch of one
  CHECK(in_batches.examples() == 5);
  CHECK(relative_error(in_batches.sum(), at_once.sum()) < Tolerance<S>::sum);
  CHECK(relative_error(at_once.sum(), dY * X.transpose()) < Tolerance<S>::sum);

  GradientEstimate<S> first(3, 4);
  GradientEstimate<S> second(3, 4);
  first.add(dY.leftCols(8), X.leftCols(8), 4);
  const Weight<S> dW = dY.rightCols(2) * X.rightCols(2).transpose();
  second.add(dW, 1);
  first.add(second);
  CHECK(first.examples() == 5);
  CHECK(relative_error(first.sum(), at_once.sum()) < Tolerance<S>::sum);

  GradientEstimate<S> counted_at_the_end(3, 4);
  counted_at_the_end.add_uncounted(dY.leftCols(5), X.leftCols(5));
  counted_at_the_end.add_uncounted(dY.rightCols(5), X.rightCols(5));
  CHECK(counted_at_the_end.examples() == 0);
  counted_at_the_end.count(5);
  CHECK(counted_at_the_end.examples() == 5);
  CHECK(relative_error(counted_at_the_end.sum(), at_once.sum()) < Tolerance<S>::sum);
}

TEST_CASE("an estimate refuses what it cannot use and stays as it was") {
  GradientEstimate<float> estimate(3, 4, "key");
  Matrix<float> X = Matrix<float>::Ones(4, 2);
  Matrix<float> dY = Matrix<float>::Ones(3, 2);
  CHECK_ERROR(estimate.add(dY, X, 0), ErrorId::value, "examples is 0");
  CHECK_ERROR(estimate.count(0), ErrorId::value, "examples is 0");
  CHECK_ERROR(estimate.add_uncounted(X, X), ErrorId::shape, "dY is 4 x 2, expected 3 rows");
  CHECK_ERROR(estimate.add(X, X, 1), ErrorId::shape, "dY is 4 x 2, expected 3 rows (out_features of \"key\")");
  CHECK_ERROR(estimate.add(dY, dY, 1), ErrorId::shape, "X is 3 x 2, expected 4 x 2");
  dY(2, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_ERROR(estimate.add(dY, X, 1), ErrorId::not_finite, "dY of \"key\" holds nan at row 2, column 1");
  CHECK(estimate.examples() == 0);
  CHECK(estimate.sum().isZero());
  CHECK_ERROR(estimate.add(GradientEstimate<float>(4, 3)), ErrorId::shape, "the other estimate is 4 x 3");
}
