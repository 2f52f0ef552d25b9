#include "lorasb/adapter/basis.hpp"

#include <limits>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a basis whose factors do not fit each other is refused by name") {
  AdapterBasis<float> basis{.B = Weight<float>::Ones(5, 2), .A = Weight<float>::Ones(2, 4)};
  basis.validate("q");
  CHECK(basis.rank() == 2);
  CHECK(basis.out_features() == 5);
  CHECK(basis.in_features() == 4);
  basis.B = Weight<float>::Ones(5, 3);
  CHECK_ERROR(basis.validate("q"), ErrorId::shape, "q: B is 5 x 3, expected 5 x 2");
  basis = {.B = Weight<float>::Ones(5, 0), .A = Weight<float>::Ones(0, 4)};
  CHECK_ERROR(basis.validate("q"), ErrorId::rank, "rank is 0");
  basis = {.B = Weight<float>::Ones(5, 2), .A = Weight<float>::Ones(2, 4), .scale = 0};
  CHECK_ERROR(basis.validate("q"), ErrorId::value, "scale is 0");
  basis.scale = 1;
  basis.A(1, 3) = std::numeric_limits<float>::infinity();
  CHECK_ERROR(basis.validate("q"), ErrorId::not_finite, "A holds inf at row 1, column 3");
}
