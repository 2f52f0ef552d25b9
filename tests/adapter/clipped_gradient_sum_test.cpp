#include "lorasb/adapter/clipped_gradient_sum.hpp"

#include <cmath>
#include <limits>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

double direct(const Matrix<double>& dY, const Matrix<double>& X) { return (dY * X.transpose()).norm(); }

}  // namespace

TEMPLATE_TEST_CASE("Mistake 7: the norm from Gram matrices is that of the gradient", "", float, double) {
  using S = TestType;
  for (const Index tokens : {1, 2, 7, 40}) {  // fewer and more than either side
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      Matrix<S> dY = random_matrix<Matrix<S>>(9, tokens, 2 * seed), X = random_matrix<Matrix<S>>(13, tokens, 2 * seed + 1);
      if (tokens > 1) X.col(1) = X.col(0);     // a token twice
      if (tokens > 2) dY.col(2).setZero();     // padding, or an ignored target
      if (tokens > 6) dY.col(6) = -dY.col(5);  // tokens that cancel
      if (tokens > 6) X.col(6) = X.col(5);
      const double expected = direct(dY.template cast<double>(), X.template cast<double>());
      CHECK(gradient_norm<S>(dY, X) == Approx(expected).epsilon(1e-10));
    }
  }
  Matrix<S> none(9, 0), also(13, 0);
  CHECK(gradient_norm<S>(none, also) == 0);
}

TEMPLATE_TEST_CASE("Mistake 7: an example moves a clipped sum by its gradient, or by just the clip", "", float, double) {
  using S = TestType;
  ClippedGradientSum<S> sum(9, 13, 2.0);
  Matrix<double> expected = Matrix<double>::Zero(9, 13);
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const Matrix<S> X = random_matrix<Matrix<S>>(13, 5, seed);
    const Matrix<S> dY = random_matrix<Matrix<S>>(9, 5, 100 + seed) * S(seed % 2 == 0 ? 1e-3 : 10);
    const Matrix<double> G = dY.template cast<double>() * X.template cast<double>().transpose();
    expected += G * std::min(1.0, 2.0 / G.norm());
    const Weight<S> before = sum.sum();
    sum.add(dY, X);
    CHECK((sum.sum() - before).norm() <= 2 * (1 + 1e-5));
  }
  CHECK(relative_error(sum.sum(), expected) < (std::is_same_v<S, float> ? 1e-6 : 1e-14));
}

TEST_CASE("an example that is not finite adds nothing, and other examples stay") {
  ClippedGradientSum<float> sum(3, 2, 1.0);
  const Matrix<float> X = random_matrix<Matrix<float>>(2, 4, 1), dY = random_matrix<Matrix<float>>(3, 4, 2);
  sum.add(dY, X);
  const Weight<float> before = sum.sum();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix<float> broken = dY;
    broken(1, 2) = bad;
    sum.add(broken, X);
    CHECK(sum.sum() == before);
  }
  sum.add(Matrix<float>(Matrix<float>::Zero(3, 4)), X);
  CHECK(sum.sum() == before);
  CHECK_ERROR(ClippedGradientSum<float>(3, 2, 0), ErrorId::value, "clip is 0");
  CHECK_ERROR(sum.add(dY, Matrix<float>(random_matrix<Matrix<float>>(2, 3, 1))), ErrorId::shape, "X");
}
