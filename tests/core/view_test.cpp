#include "lorasb/core/view.hpp"

#include "support.hpp"

using namespace lorasb;

namespace {
template <class V, class From>
constexpr bool viewable = std::is_constructible_v<V, From>;

using StridedRow = decltype(std::declval<Matrix<float>&>().row(0));
using Sum = decltype(std::declval<Matrix<float>&>() + std::declval<Matrix<float>&>());
using LeftCols = decltype(std::declval<Matrix<float>&>().leftCols(1));
}  // namespace

TEST_CASE("views take matrices, maps and blocks and refuse whatever would need a copy") {
  STATIC_REQUIRE(viewable<ConstMatrixView<float>, const Matrix<float>&>);
  STATIC_REQUIRE(viewable<ConstMatrixView<float>, MatrixView<float>&>);
  STATIC_REQUIRE(viewable<ConstMatrixView<float>, Eigen::Map<const Eigen::MatrixXf>>);
  STATIC_REQUIRE(viewable<ConstMatrixView<float>, LeftCols>);
  STATIC_REQUIRE(viewable<ConstMatrixView<float>, Matrix<float>&&>);  // lives to the end of the call
  STATIC_REQUIRE(viewable<MatrixView<float>, Matrix<float>&>);
  STATIC_REQUIRE(viewable<MatrixView<float>, LeftCols>);

  STATIC_REQUIRE_FALSE(viewable<ConstMatrixView<float>, const Weight<float>&>);
  STATIC_REQUIRE_FALSE(viewable<ConstMatrixView<float>, const Matrix<double>&>);
  STATIC_REQUIRE_FALSE(viewable<ConstMatrixView<float>, Sum>);
  STATIC_REQUIRE_FALSE(viewable<ConstMatrixView<float>, StridedRow>);
  STATIC_REQUIRE_FALSE(viewable<MatrixView<float>, const Matrix<float>&>);
  STATIC_REQUIRE_FALSE(viewable<MatrixView<float>, Matrix<float>&&>);  // the result would be lost
  STATIC_REQUIRE_FALSE(viewable<WeightView<float>, Matrix<float>&>);
}

TEST_CASE("a view reads and writes the memory that it was made from") {
  Matrix<float> m = Matrix<float>::Zero(4, 6);
  MatrixView<float> view = m.middleCols(1, 3);
  view.setConstant(2);
  CHECK(view.data() == m.data() + 4);
  CHECK(m.sum() == 24);
  MatrixView<float> inner = m.block(1, 1, 2, 2);
  inner.setZero();
  CHECK(inner.outerStride() == 4);
  CHECK(m.sum() == 16);
  float raw[6] = {1, 2, 3, 4, 5, 6};
  ConstWeightView<float> w(raw, 2, 3);
  CHECK(w(1, 0) == 4);
  CHECK((w * w.transpose())(0, 0) == 14);
}
