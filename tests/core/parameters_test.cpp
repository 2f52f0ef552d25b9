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

TEST_CASE("tensors are found by module and role, and where those of a role lie") {
  ParameterLayout layout;
  layout.add("a", Role::core, 2, 2);
  layout.add("b", Role::core, 3, 3);
  layout.add("head", Role::head_weight, 2, 5);
  layout.add("c", Role::core, 1, 1);
  Parameters<float> values(layout);
  values.at("b", Role::core).setConstant(7);
  CHECK(values["b.R"].sum() == 63);
  CHECK(values.flat("b", Role::core).data() == values.flat().data() + 4);
  const auto is_core = [](const ParameterLayout::Tensor& t) { return t.role == Role::core; };
  CHECK(layout.ranges(is_core) == std::vector<Range>{{0, 13}, {23, 1}});  // neighbours are joined
  CHECK(layout.ranges([](const ParameterLayout::Tensor& t) { return is_head(t.role); }) == std::vector<Range>{{13, 10}});
  CHECK(layout.ranges([](const ParameterLayout::Tensor&) { return false; }).empty());
  CHECK(layout.count(is_core) == 14);
  CHECK(Range{4, 9}.of(values.flat())[8] == 7);
  CHECK_ERROR(values.at("a", Role::weight), ErrorId::unknown_name, "\"a.weight\"");
}
