#include "lorasb/linalg/product.hpp"

#include "support.hpp"

using namespace lorasb;

namespace {

/// A block of a larger matrix, so that lines have gaps; `Order` decides its storage.
template <class M>
struct Strided {
  M memory;
  Index rows, cols;
  Strided(Index m, Index n, std::uint64_t seed) : memory(test::random_matrix<M>(m + 3, n + 2, seed)), rows(m), cols(n) {}
  auto block() { return memory.block(1, 2, rows, cols); }
};

template <class Left, class Right, class Result>
void check_against_the_sum(Index m, Index n, Index k, double alpha, double beta) {
  using S = typename Left::Scalar;
  Strided<Left> left(m, k, 1);
  Strided<Right> right(k, n, 2);
  Strided<Result> result(m, n, 3);
  const Result before = result.memory;
  linalg::multiply(left.block(), right.block(), result.block(), S(alpha), S(beta));
  Result expected = before;
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) {
      double sum = 0;
      for (Index l = 0; l < k; ++l) sum += double(left.block()(i, l)) * double(right.block()(l, j));
      expected(1 + i, 2 + j) = S(alpha * sum + beta * double(before(1 + i, 2 + j)));
    }
  CAPTURE(m, n, k, Left::IsRowMajor, Right::IsRowMajor, Result::IsRowMajor);
  CHECK(test::relative_error(result.memory, expected) < test::Tolerance<S>::sum);
  result.block() = expected.block(1, 2, m, n);
  CHECK(result.memory == expected);  // what lies around the block is untouched
}

}  // namespace

TEMPLATE_TEST_CASE("a product equals the sums that define it, in every storage order, size and stride", "", float, double) {
  using S = TestType;
  using Col = Matrix<S>;
  using Row = Weight<S>;
  for (const auto& [m, n, k] : {std::array<Index, 3>{1, 1, 1},
                                {1, 9, 30},
                                {7, 1, 30},
                                {3, 4, 5},
                                {6, 6, 8},
                                {33, 17, 40},
                                {65, 130, 7},
                                {20, 9, 700},
                                {1, 3, 700},
                                {40, 1, 700}}) {
    check_against_the_sum<Col, Col, Col>(m, n, k, 1, 0);
    check_against_the_sum<Col, Col, Row>(m, n, k, 2, 1);
    check_against_the_sum<Col, Row, Col>(m, n, k, -1, 1);
    check_against_the_sum<Col, Row, Row>(m, n, k, 0.5, 0);
    check_against_the_sum<Row, Col, Col>(m, n, k, 1, 0.5);
    check_against_the_sum<Row, Col, Row>(m, n, k, 1, 0);
    check_against_the_sum<Row, Row, Col>(m, n, k, 3, 1);
    check_against_the_sum<Row, Row, Row>(m, n, k, 1, 0);
  }
}

TEMPLATE_TEST_CASE("a transposed view multiplies as the transposed matrix does, and can be written", "", float, double) {
  using S = TestType;
  const Weight<S> W = test::random_matrix<Weight<S>>(7, 5, 1);
  const Matrix<S> dY = test::random_matrix<Matrix<S>>(7, 9, 2), X = test::random_matrix<Matrix<S>>(5, 9, 3);
  const Matrix<S> dX = linalg::product(linalg::transposed(W), dY);
  CHECK(test::relative_error(dX, W.transpose() * dY) < test::Tolerance<S>::exact);
  Matrix<S> dWt = Matrix<S>::Ones(5, 7);
  linalg::multiply(dY, linalg::transposed(X), linalg::transposed(MatrixView<S>(dWt)), 2, 1);
  const Matrix<S> expected = Matrix<S>::Ones(5, 7) + 2 * X * dY.transpose();
  CHECK(test::relative_error(dWt, expected) < test::Tolerance<S>::exact);
}

TEMPLATE_TEST_CASE("what stood in an overwritten result does not matter, even NaN", "", float, double) {
  using S = TestType;
  const Matrix<S> X = test::random_matrix<Matrix<S>>(20, 20, 1);
  Matrix<S> Y = Matrix<S>::Constant(20, 20, S(NAN));
  linalg::multiply(X, X, Y);
  CHECK(Y.allFinite());
}

TEMPLATE_TEST_CASE("products over an empty inner dimension are zero and over no tokens do nothing", "", float, double) {
  using S = TestType;
  const Weight<S> W(3, 0);
  Matrix<S> Y = Matrix<S>::Ones(3, 2);
  linalg::multiply(W, Matrix<S>(0, 2), Y);
  CHECK(Y.isZero(0));
  Weight<S> dW = Weight<S>::Ones(3, 4);
  const Matrix<S> no_tokens(4, 0);
  linalg::multiply(Matrix<S>(3, 0), linalg::transposed(no_tokens), dW, 1, 1);
  CHECK(dW.isOnes(0));
  Matrix<S> none(4, 0);
  linalg::multiply(linalg::transposed(dW), Matrix<S>(3, 0), none);
  CHECK(none.size() == 0);
}

TEST_CASE("products of matrices that do not fit name the argument and both sizes") {
  Weight<float> W = Weight<float>::Zero(3, 4);
  Matrix<float> X = Matrix<float>::Zero(5, 2), Y = Matrix<float>::Zero(3, 2);
  CHECK_ERROR(linalg::multiply(W, X, Y), ErrorId::shape, "linalg::multiply: right is 5 x 2, expected 4 rows (columns of left)");
  CHECK_ERROR(linalg::multiply(W, X.topRows(4), X), ErrorId::shape, "linalg::multiply: result is 5 x 2, expected 3 x 2");
}

TEST_CASE("a result that lies where a factor does is refused, not filled with zeros") {
  Matrix<float> X = Matrix<float>::Ones(3, 3), R = X;
  CHECK_ERROR(linalg::multiply(R, X, X), ErrorId::value, "the result lies where a factor does");
  CHECK_ERROR(linalg::multiply(X, R, X.leftCols(3)), ErrorId::value, "the result lies where a factor does");
  CHECK(X.isOnes(0));
}

TEST_CASE("what would have to be copied first does not compile") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<linalg::Factor<float>, Matrix<double>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<linalg::Factor<float>, decltype(Matrix<float>() + Matrix<float>())>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<linalg::Target<float>, const Matrix<float>&>);
  STATIC_REQUIRE(std::is_constructible_v<linalg::Target<float>, Weight<float>&>);
}
