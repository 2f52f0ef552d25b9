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

TEST_CASE("the tensors of another layout are appended, all or those that are wanted") {
  ParameterLayout head, layout;
  head.add("head", Role::head_weight, 2, 5);
  head.add("head", Role::head_bias, 1, 2);
  layout.add("a", Role::core, 2, 2);
  layout.append(head, [](const ParameterLayout::Tensor& t) { return t.role == Role::head_bias; });
  CHECK(layout.size() == 6);
  CHECK(layout.at("head", Role::head_bias).offset == 4);
  CHECK_ERROR(layout.append(head, [](const ParameterLayout::Tensor& t) { return t.role == Role::head_bias; }),
              ErrorId::duplicate_name, "head");
  ParameterLayout copy;
  copy.append(layout);
  CHECK(copy == layout);
}

TEST_CASE("tensors are copied by name into another layout, and what one of both lacks stays") {
  ParameterLayout head, layout;
  head.add("head", Role::head_weight, 2, 3);
  head.add("head", Role::head_bias, 1, 2);
  layout.add("a", Role::core, 2, 2);
  layout.append(head, [](const ParameterLayout::Tensor& t) { return t.role == Role::head_bias; });
  layout.append(head, [](const ParameterLayout::Tensor& t) { return t.role == Role::head_weight; });
  Parameters<float> from(head), values(layout), back(head);
  for (std::size_t i = 0; i < 8; ++i) from.flat()[i] = float(i + 1);
  values["a.R"].setConstant(9);
  CHECK(copy_tensors(from, values) == 2);
  CHECK(std::vector<float>(values.flat().begin(), values.flat().end()) == std::vector<float>{9, 9, 9, 9, 7, 8, 1, 2, 3, 4, 5, 6});
  CHECK(copy_tensors(values, back) == 2);  // "a.R" has no place there
  CHECK(std::ranges::equal(back.flat(), from.flat()));
  CHECK(copy_tensors(from, from) == 2);
  ParameterLayout core;
  core.add("a", Role::core, 2, 2);
  Parameters<float> none(core);
  CHECK(copy_tensors(from, none) == 0);
  CHECK(as_vector(none.flat()).sum() == 0);
}

TEST_CASE("tensors of one name and different shapes are not copied, nor any other") {
  ParameterLayout layout, other;
  layout.add("a", 1, 2);
  layout.add("b", 2, 3);
  other.add("a", 1, 2);
  other.add("b", 3, 2);
  Parameters<float> from(layout), to(other);
  from.flat()[0] = 1;
  CHECK_ERROR(copy_tensors(from, to), ErrorId::shape, "\"b\" is 2 x 3, expected 3 x 2");
  CHECK(to.flat()[0] == 0);
  CHECK_ERROR(copy_tensors(layout, std::span<const float>(from.flat()).first(7), from), ErrorId::shape, "7 values, expected 8");
}
