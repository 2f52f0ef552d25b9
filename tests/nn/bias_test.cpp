#include "lorasb/nn/bias.hpp"

#include "strided.hpp"
#include "support.hpp"

using namespace lorasb;
using lorasb::test::Strided;

// The numbers are compared with torch's in linear_test.cpp.

TEMPLATE_TEST_CASE("A bias is added to every column, and its gradient is the sum of the columns, added", "", float, double) {
  using S = TestType;
  const std::vector<S> b{1, -2};
  Strided<Matrix<S>> Y(Matrix<S>{{10, 20, 30}, {40, 50, 60}});
  nn::add_bias<S>(Y.view(), b);
  CHECK(Y.inner() == Matrix<S>{{11, 21, 31}, {38, 48, 58}});
  CHECK(Y.surroundings_untouched());
  std::vector<S> db{100, 200};
  nn::add_bias_backward_parameters<S>(Y.view(), db);
  CHECK(db == std::vector<S>{163, 344});
}

TEST_CASE("A bias for another number of features is refused") {
  Matrix<float> Y(2, 3);
  std::vector<float> three(3);
  CHECK_ERROR(nn::add_bias<float>(Y, three), ErrorId::shape, "add_bias: Y is 2 x 3, expected 3 rows");
  CHECK_ERROR(nn::add_bias_backward_parameters<float>(Y, three), ErrorId::shape, "dY is 2 x 3, expected 3 rows");
}
