#include "lorasb/train/standardize.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("Standardised numbers have mean 0 and deviation 1, and the scale gives them back") {
  Matrix<float> y{{1, 2, 3, 6}};
  const Matrix<float> before = y;
  const train::OutputScale scale = train::standardize(y);
  CHECK(y.sum() == Approx(0).margin(1e-6));
  CHECK(y.squaredNorm() / 4 == Approx(1));
  CHECK(scale.mean == 3);
  Matrix<float> back = y;
  scale.apply(MatrixView<float>(back));
  CHECK((back - before).cwiseAbs().maxCoeff() < 1e-6f);
  scale.inverse().apply(MatrixView<float>(back));
  CHECK((back - y).cwiseAbs().maxCoeff() < 1e-6f);
  Matrix<float> equal{{5, 5}}, none(1, 0);
  train::standardize(equal);
  CHECK(equal == Matrix<float>::Zero(1, 2));
  CHECK_ERROR(train::standardize(none), ErrorId::no_examples, "there are no numbers");
}

TEST_CASE("A head that gave standardised numbers gives those of the user") {
  ParameterLayout layout;
  models::append_head(1, 2, layout);
  Parameters<float> values(layout);
  values.flat()[0] = 2;   // z = 2 x0 - x1 + 0.5
  values.flat()[1] = -1;
  values.flat()[2] = 0.5f;
  train::OutputScale{.deviation = 10, .mean = 3}.apply(values);
  CHECK(std::ranges::equal(std::as_const(values).flat(), std::vector<float>{20, -10, 8}));
}
