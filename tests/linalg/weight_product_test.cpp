#include "lorasb/linalg/weight_product.hpp"

#include "support.hpp"

using namespace lorasb;

namespace {

using Narrow = Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What a product with a narrow weight reads: some backends round it to the type of the weight.
template <Real S>
Matrix<S> as_read(const Matrix<S>& X) {
  if (std::same_as<S, float> && linalg::backend() != nullptr && linalg::backend()->narrow_product != nullptr)
    return X.template cast<Bfloat16>().template cast<S>();
  return X;
}

}  // namespace

TEMPLATE_TEST_CASE("a product with a weight in bfloat16 is that with its numbers, in both directions", "", float, double) {
  using S = TestType;
  for (const auto& [out, in, tokens] : {std::array<Index, 3>{1, 1, 1},
                                        {3, 5, 2},
                                        {17, 40, 33},
                                        {40, 17, 1},
                                        {300, 500, 7},
                                        {70, 3000, 20},
                                        {3, 70000, 2},
                                        {5, 4, 0}}) {
    CAPTURE(out, in, tokens);
    const Narrow memory = test::random_matrix<Matrix<S>>(out + 2, in + 3, 1).template cast<Bfloat16>();
    const auto W = memory.block(1, 2, out, in);  // rows with gaps
    const Matrix<double> exact = W.template cast<double>();
    const FrozenWeight<S> frozen = W;
    const Matrix<S> X = test::random_matrix<Matrix<S>>(in, tokens, 2), dY = test::random_matrix<Matrix<S>>(out, tokens, 3);
    Matrix<S> Y = Matrix<S>::Constant(out + 1, tokens, std::numeric_limits<S>::quiet_NaN());
    linalg::multiply(frozen, X, Y.topRows(out));
    CHECK(test::relative_error(Y.topRows(out), exact * as_read<S>(X).template cast<double>()) < test::Tolerance<S>::sum);
    if (tokens > 0) CHECK(Y.bottomRows(1).array().isNaN().all());  // the gap below a column is left alone
    Matrix<S> dX = Matrix<S>::Constant(in, tokens, std::numeric_limits<S>::quiet_NaN());
    linalg::multiply_transposed(frozen, dY, dX);
    CHECK(test::relative_error(dX, exact.transpose() * as_read<S>(dY).template cast<double>()) < test::Tolerance<S>::sum);
  }
}

TEMPLATE_TEST_CASE("a wide weight multiplies as a plain product, bit for bit", "", float, double) {
  using S = TestType;
  const Weight<S> W = test::random_matrix<Weight<S>>(30, 20, 1);
  const Matrix<S> X = test::random_matrix<Matrix<S>>(20, 9, 2), dY = test::random_matrix<Matrix<S>>(30, 9, 3);
  Matrix<S> Y(30, 9), dX(20, 9);
  linalg::multiply(FrozenWeight<S>(W), X, Y);
  linalg::multiply_transposed(FrozenWeight<S>(W), dY, dX);
  CHECK(Y == linalg::product(W, X));
  CHECK(dX == linalg::product(linalg::transposed(W), dY));
}

TEST_CASE("an empty weight multiplies to zeros, and sizes that do not fit are named") {
  const Narrow none(0, 4);
  Matrix<float> dX = Matrix<float>::Ones(4, 2);
  linalg::multiply_transposed(FrozenWeight<float>(none), Matrix<float>(0, 2), dX);
  CHECK(dX.isZero(0));
  const Narrow W = Narrow::Zero(3, 4);
  Matrix<float> Y(3, 2);
  CHECK_ERROR(linalg::multiply(FrozenWeight<float>(W), Matrix<float>(5, 2), Y), ErrorId::shape,
              "X is 5 x 2, expected 4 rows (columns of the weight)");
  CHECK_ERROR(linalg::multiply(FrozenWeight<float>(W), Matrix<float>(4, 3), Y), ErrorId::shape,
              "result is 3 x 2, expected 3 x 3");
  CHECK_ERROR(linalg::multiply_transposed(FrozenWeight<float>(W), Matrix<float>(4, 2), Y), ErrorId::shape,
              "expected 3 rows (rows of the weight)");
}

TEST_CASE("a weight in half precision multiplies as its widened copy, whatever the backend takes") {
  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> W =
      test::random_matrix<Weight<float>>(30, 20, 1).cast<Eigen::half>();
  const Weight<float> wide = W.cast<float>();
  const Matrix<float> X = test::random_matrix<Matrix<float>>(20, 9, 2);
  Matrix<float> Y(30, 9), dX(20, 9);
  linalg::multiply(FrozenWeight<float>(W), X, Y);
  CHECK(test::relative_error(Y, wide * X) < test::Tolerance<float>::sum);
  linalg::multiply_transposed(FrozenWeight<float>(W), Y, dX);
  CHECK(test::relative_error(dX, wide.transpose() * Y) < test::Tolerance<float>::sum);
}
