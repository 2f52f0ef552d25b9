#include "lorasb/linalg/matrix_vector.hpp"

#include "lorasb/linalg/product.hpp"
#include "support.hpp"

using namespace lorasb;

namespace {

/// y = alpha M x + beta y with M a block and x either a column or a row of a larger matrix. Numbers around y stay.
template <class M, class X>
double worst_error(Index rows, Index depth, double alpha, double beta) {
  using S = typename M::Scalar;
  const M memory = test::random_matrix<M>(rows + 2, depth + 3, 1);
  const X inputs = test::random_matrix<X>(depth + 1, 3, 2);
  Matrix<S> results = test::random_matrix<Matrix<S>>(rows + 2, 3, 3);
  const Matrix<S> before = results;
  linalg::multiply(memory.block(1, 2, rows, depth), inputs.block(1, 1, depth, 1), results.block(1, 1, rows, 1), S(alpha), S(beta));
  double worst = 0;
  for (Index i = 0; i < rows; ++i) {
    double sum = 0, size = 1;
    for (Index k = 0; k < depth; ++k) {
      sum += double(memory(1 + i, 2 + k)) * double(inputs(1 + k, 1));
      size += std::abs(double(memory(1 + i, 2 + k)) * double(inputs(1 + k, 1)));
    }
    worst = std::max(worst, std::abs(double(results(1 + i, 1)) - alpha * sum - beta * double(before(1 + i, 1))) / size);
    results(1 + i, 1) = before(1 + i, 1);
  }
  return results == before ? worst : 1;
}

}  // namespace

TEMPLATE_TEST_CASE("a matrix times a vector is the sum that defines it, for every size around the width of a register", "", float, double) {
  using S = TestType;
  for (Index rows = 1; rows <= 36; ++rows)
    for (const Index depth : {1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 15, 16, 17, 23, 24, 31, 32, 33, 63, 64, 65, 700}) {
      CAPTURE(rows, depth);
      CHECK(worst_error<Weight<S>, Matrix<S>>(rows, depth, 1, 0) < 4 * test::Tolerance<S>::sum);
      CHECK(worst_error<Weight<S>, Weight<S>>(rows, depth, -2, 1) < 4 * test::Tolerance<S>::sum);
      CHECK(worst_error<Matrix<S>, Matrix<S>>(rows, depth, 1, 0) < 4 * test::Tolerance<S>::sum);
      CHECK(worst_error<Matrix<S>, Weight<S>>(rows, depth, 0.5, -1) < 4 * test::Tolerance<S>::sum);
    }
}

TEMPLATE_TEST_CASE("a matrix times a vector overwrites what stood there, not a number too", "", float, double) {
  using S = TestType;
  for (const Index rows : {3, 8, 64}) {
    const Weight<S> M = test::random_matrix<Weight<S>>(rows, 5, 1);
    const Matrix<S> x = test::random_matrix<Matrix<S>>(5, 1, 2);
    Matrix<S> y = Matrix<S>::Constant(rows, 1, std::numeric_limits<S>::quiet_NaN());
    linalg::multiply(M, x, y);
    CHECK(all_finite(std::span<const S>(flat(y))));
    CHECK(test::relative_error(y, Matrix<S>(M * x)) < test::Tolerance<S>::sum);
  }
}
