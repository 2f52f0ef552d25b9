#include "lorasb/core/parameters.hpp"

#include <limits>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("tensors of a layout stand one after another in the flat buffer") {
  ParameterLayout layout;
  layout.add("a", 2, 3);
  layout.add("empty", 0, 4);
  layout.add("b", 1, 4);
  CHECK(layout.size() == 10);
  Parameters<double> values(layout);
  values["a"].setConstant(1);
  values["b"].setConstant(2);
  CHECK(values.flat()[5] == 1);
  CHECK(values.flat()[6] == 2);
  CHECK(values.flat("b").data() == values.flat().data() + 6);
  CHECK(as_vector(values.flat()).sum() == 14);
  const double* before = values.flat().data();
  const Parameters<double> moved = std::move(values);
  CHECK(moved.flat().data() == before);
  CHECK(moved["a"](1, 2) == 1);
}

TEST_CASE("a name is refused when it is unknown or taken") {
  ParameterLayout layout;
  CHECK_ERROR(layout.at("x"), ErrorId::unknown_name, "\"x\"");
  layout.add("query.R", 2, 2);
  CHECK_ERROR(layout.add("query.R", 2, 2), ErrorId::duplicate_name, "query.R");
  CHECK_ERROR(layout.add("bad", -1, 2), ErrorId::value, "-1 x 2");
  Parameters<float> values(layout);
  CHECK_ERROR(values["key.R"], ErrorId::unknown_name, "\"key.R\"");
}

TEST_CASE("a tensor with more numbers than can be counted is refused") {
  ParameterLayout layout;
  layout.add("a", 2, 3);
  CHECK_ERROR(layout.add("b", Index{1} << 32, Index{1} << 32), ErrorId::value, "more numbers than can be counted");
  CHECK_ERROR(layout.add("b", std::numeric_limits<Index>::max() - 5, 1), ErrorId::value, "\"b\" is 9223372036854775802 x 1");
  CHECK(layout.size() == 6);
}
