#include "lorasb/core/sums.hpp"

#include <vector>

#include "lorasb/core/view.hpp"
#include "support.hpp"

using namespace lorasb;

TEMPLATE_TEST_CASE("dot and norm equal plain sums in double for every length", "", float, double) {
  using S = TestType;
  for (Index n : {0, 1, 15, 16, 17, 31, 100}) {
    const Matrix<S> x = test::random_matrix<Matrix<S>>(n, 1, 1), y = test::random_matrix<Matrix<S>>(n, 1, 2);
    double inner = 0, squares = 0;
    for (Index i = 0; i < n; ++i) {
      inner += double(x(i)) * double(y(i));
      squares += double(x(i)) * double(x(i));
    }
    CHECK(dot(x.data(), y.data(), n) == Approx(inner).margin(1e-13));
    CHECK(norm<S>(flat(x)) == Approx(std::sqrt(squares)).epsilon(1e-14));
  }
}

TEST_CASE("a norm is right where squares overflow or vanish, and says what is not finite") {
  const auto norm_of = [](std::vector<double> x) { return norm<double>(std::span<const double>(x)); };
  CHECK(norm_of({3e300, 4e300}) == Approx(5e300).epsilon(1e-15));
  CHECK(norm_of({3e-300, 4e-300}) == Approx(5e-300).epsilon(1e-15));
  CHECK(norm_of({5e-324}) == 5e-324);
  CHECK(norm_of({0, 0}) == 0);
  CHECK(std::isinf(norm_of({1, -INFINITY})));
  CHECK(std::isnan(norm_of({1, NAN})));
}
