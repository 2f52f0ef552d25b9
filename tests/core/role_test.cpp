#include "lorasb/core/role.hpp"

#include <set>

#include "lorasb/core/parameters.hpp"
#include "support.hpp"

using namespace lorasb;

TEST_CASE("suffixes are those of the tensors in files") {
  CHECK(suffix_of(Role::core) == ".R");
  CHECK(suffix_of(Role::factor_B) == ".B");
  CHECK(suffix_of(Role::factor_A) == ".A");
  CHECK(suffix_of(Role::router) == ".router");
  CHECK(suffix_of(Role::weight) == ".weight");
  CHECK(suffix_of(Role::bias) == ".bias");
  CHECK(suffix_of(Role::head_weight) == ".weight");
  CHECK(suffix_of(Role::head_bias) == ".bias");
  CHECK(suffix_of(Role::delta_B) == ".delta.B");
  CHECK(suffix_of(Role::delta_A) == ".delta.A");
  CHECK(suffix_of(Role::other).empty());
}

TEST_CASE("a role says who trains a tensor") {
  std::set<Role> heads, adapters, of_layers, vectors;
  for (const RoleRow& row : role_table) {
    if (is_head(row.role)) heads.insert(row.role);
    if (is_adapter(row.role)) adapters.insert(row.role);
    if (is_of_layer(row.role)) of_layers.insert(row.role);
    if (is_vector(row.role)) vectors.insert(row.role);
  }
  CHECK(heads == std::set<Role>{Role::head_weight, Role::head_bias});
  CHECK(adapters == std::set<Role>{Role::core, Role::factor_B, Role::factor_A});
  CHECK(vectors == std::set<Role>{Role::bias, Role::norm_scale, Role::norm_bias, Role::head_bias});
  CHECK(of_layers == std::set<Role>{Role::core, Role::factor_B, Role::factor_A, Role::router, Role::weight});
}

TEST_CASE("what a tensor is does not follow from its name: a tensor called x.R that is no core is none") {
  ParameterLayout layout;
  layout.add("x.R", 2, 2);
  layout.add("y", Role::core, 3, 3);
  CHECK(layout.find("x", Role::core) == nullptr);
  CHECK(layout.at("y", Role::core).name == "y.R");
  CHECK_ERROR(layout.at("x", Role::core), ErrorId::unknown_name, "no parameter \"x.R\"");
  CHECK_ERROR(layout.add("x", Role::core, 2, 2), ErrorId::duplicate_name, "\"x.R\"");
  CHECK(layout.count([](const ParameterLayout::Tensor& t) { return t.role == Role::core; }) == 9);
}
