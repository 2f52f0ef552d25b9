#include "lorasb/core/check.hpp"

#include <limits>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a wrong shape is named with what it is and what it should be") {
  const Matrix<float> X(768, 12);
  CHECK_ERROR(require_rows(X, 1024, "AdaptedLinear::forward", "X", "in_features of \"q_proj\""), ErrorId::shape,
              "[lorasb.101] AdaptedLinear::forward: X is 768 x 12, expected 1024 rows (in_features of \"q_proj\")");
  CHECK_ERROR(require_shape(X, 768, 13, "f", "X"), ErrorId::shape, "X is 768 x 12, expected 768 x 13");
  require_shape(X, 768, 12, "f", "X");
}

TEST_CASE("a number that is not finite is named with its place") {
  Matrix<double> G = Matrix<double>::Zero(3, 3);
  require_finite(G, "f", "G");
  G(1, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_ERROR(require_finite(G, "f", "G"), ErrorId::not_finite, "G holds nan at row 1, column 2");
  G(1, 2) = -std::numeric_limits<double>::infinity();
  CHECK_ERROR(require_finite(G, "f", "G"), ErrorId::not_finite, "G holds -inf at row 1, column 2");
}
