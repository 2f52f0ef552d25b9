#include "lorasb/core/check.hpp"

#include <limits>
#include <vector>

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

TEMPLATE_TEST_CASE("the first bad number is found in vectors, rows, blocks and row-major matrices, and only inside them", "",
                   float, double) {
  using S = TestType;
  const S nan = std::numeric_limits<S>::quiet_NaN();
  Weight<S> W = Weight<S>::Zero(4, 5);
  W(0, 4) = nan;
  W(3, 1) = nan;
  CHECK_ERROR(require_finite(W, "f", "W"), ErrorId::not_finite, "W holds nan at row 0, column 4");
  CHECK_ERROR(require_finite(W.rightCols(2), "f", "W"), ErrorId::not_finite, "at row 0, column 1");
  CHECK_ERROR(require_finite(W.row(3), "f", "W"), ErrorId::not_finite, "at row 0, column 1");
  require_finite(W.block(1, 0, 2, 5), "f", "W");
  require_finite(W.block(0, 0, 4, 1), "f", "W");
  Vector<S> v = Vector<S>::Zero(40);
  require_finite(v, "f", "v");
  v(37) = -std::numeric_limits<S>::infinity();
  CHECK_ERROR(require_finite(v, "f", "v"), ErrorId::not_finite, "v holds -inf at row 37, column 0");
  require_finite(v.head(37), "f", "v");
  require_finite(Matrix<S>(0, 3), "f", "nothing");
}

TEMPLATE_TEST_CASE("finite is what is neither NaN nor infinite, subnormal and largest numbers too", "", float, double) {
  using S = TestType;
  using Limits = std::numeric_limits<S>;
  for (const S x : {S(0), -S(0), Limits::denorm_min(), Limits::max(), Limits::lowest()}) CHECK(is_finite(x));
  for (const S x : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), Limits::signaling_NaN()}) CHECK_FALSE(is_finite(x));
  std::vector<S> many(1000, S(1));
  CHECK(all_finite(std::span<const S>(many)));
  many[999] = Limits::quiet_NaN();
  CHECK_FALSE(all_finite(std::span<const S>(many)));
  CHECK(all_finite(many.data(), 999));
  CHECK(all_finite(std::span<const S>()));
}
