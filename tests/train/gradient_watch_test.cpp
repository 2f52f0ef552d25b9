#include "lorasb/train/gradient_watch.hpp"

#include "support.hpp"

using namespace lorasb;
using train::GradientWatch;

namespace {
ParameterLayout layout_of_two() {
  ParameterLayout layout;
  layout.add("query", Role::core, 2, 2);
  layout.add("value", Role::core, 2, 2);
  return layout;
}
void see(GradientWatch& watch, const std::vector<float>& gradient) { watch.see<float>(gradient); }
}  // namespace

TEST_CASE("a trained tensor without a gradient in two steps is named") {
  GradientWatch watch(layout_of_two());
  see(watch, {1, 0, 0, 0, 0, 0, 0, 0});
  CHECK_ERROR(see(watch, {1, 0, 0, 0, 0, 0, 0, 0}), ErrorId::zero_update, "1 of 2 trained tensors");
  GradientWatch again(layout_of_two());
  see(again, {0, 0, 0, 0, 0, 0, 0, 0});
  CHECK_ERROR(see(again, {0, 0, 0, 1, 0, 0, 0, 0}), ErrorId::zero_update, "\"value.R\"");
}

TEST_CASE("a tensor may learn in the second step, as LoRA's A does, and later be silent") {
  GradientWatch watch(layout_of_two());
  see(watch, {1, 0, 0, 0, 0, 0, 0, 0});
  see(watch, {0, 0, 0, 0, 0, 0, 0, -1e-30f});
  for (int i = 0; i < 3; ++i) see(watch, std::vector<float>(8));
}

TEST_CASE("when nothing has a gradient, no tensor is at fault") {
  GradientWatch watch(layout_of_two());
  for (int i = 0; i < 3; ++i) see(watch, std::vector<float>(8));
}

TEST_CASE("an expert may be silent where the caller says so; its name alone excepts nothing") {
  ParameterLayout layout;
  layout.add("query.experts.law", Role::core, 1, 1);
  layout.add("query.experts.spam", Role::core, 1, 1);
  GradientWatch excepted(layout, [](const ParameterLayout::Tensor& t) { return t.module == "query.experts.spam"; });
  GradientWatch plain(layout);
  for (GradientWatch* watch : {&excepted, &plain}) see(*watch, {1, 0});
  see(excepted, {1, 0});
  CHECK_ERROR(see(plain, {1, 0}), ErrorId::zero_update, "spam");
}
