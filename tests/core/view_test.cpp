#include "lorasb/core/view.hpp"

#include "lorasb/core/buffer.hpp"
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

TEST_CASE("a view takes entries of its own size and refuses any other, in every build") {
  Matrix<double> m = Matrix<double>::Zero(4, 6);
  MatrixView<double> view = m.middleCols(1, 3);
  const Matrix<double> ones = Matrix<double>::Ones(4, 3), wide = Matrix<double>::Ones(4, 4), flipped = ones.transpose();
  view = ones;
  view += 2 * ones;
  view -= flipped.transpose();
  CHECK(view == 2 * ones);
  view = Vector<double>::Constant(4, 3).asDiagonal() * ones;
  view = (ones * Matrix<double>::Identity(3, 3)).eval();
  CHECK(m.sum() == 12);

  CHECK_ERROR(view = wide, ErrorId::shape, "View::operator=: the matrix is 4 x 4, expected 4 x 3");
  CHECK_ERROR(view = flipped, ErrorId::shape, "is 3 x 4, expected 4 x 3");
  CHECK_ERROR(view = Matrix<double>(), ErrorId::shape, "is 0 x 0, expected 4 x 3");
  CHECK_ERROR(view = ones * wide.leftCols(3).transpose(), ErrorId::shape, "is 4 x 4");
  CHECK_ERROR(view = MatrixView<double>(m), ErrorId::shape, "is 4 x 6");
  CHECK_ERROR(view = ConstMatrixView<double>(wide), ErrorId::shape, "is 4 x 4");
  CHECK_ERROR((view = Eigen::Map<Matrix<double>, 0, Eigen::OuterStride<>>(m.data(), 4, 2, Eigen::OuterStride<>(4))),
              ErrorId::shape, "is 4 x 2");
  CHECK_ERROR(view = Vector<double>::Ones(4).asDiagonal(), ErrorId::shape, "is 4 x 4");
  CHECK_ERROR(view += wide, ErrorId::shape, "View::operator+=: the matrix is 4 x 4, expected 4 x 3");
  CHECK_ERROR(view -= 2 * wide, ErrorId::shape, "View::operator-=: the matrix is 4 x 4, expected 4 x 3");
  CHECK(m.sum() == 12);  // nothing was written
}

TEST_CASE("a view over memory that cannot be there is refused, with its sizes") {
  std::vector<float> memory(12);
  const Index huge = Index{1} << 40;
  CHECK_ERROR(ConstMatrixView<float>(memory.data(), 4, 3, 3), ErrorId::shape, "4 x 3 with an outer stride of 3");  // columns overlap
  CHECK_ERROR(WeightView<float>(memory.data(), 3, 4, 3), ErrorId::shape, "at least 4");
  CHECK_ERROR(MatrixView<float>(nullptr, 4, 3), ErrorId::shape, "null pointer");
  CHECK_ERROR(ConstWeightView<float>(memory.data(), -1, 3), ErrorId::shape, "-1 x 3");
  CHECK_ERROR(ConstMatrixView<float>(memory.data(), huge, huge), ErrorId::shape, "view");
  CHECK_ERROR(Buffer<float>().reshape(huge, huge), ErrorId::shape, "Buffer::reshape");
  CHECK(ConstMatrixView<float>(nullptr, 0, 3).size() == 0);
  CHECK(ConstMatrixView<float>(memory.data(), 4, 1, 0).size() == 4);  // one column has no stride
}
