#include "lorasb/core/named_set.hpp"

#include <vector>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a set gives values by name in the order in which they were added") {
  NamedSet<int> set;
  CHECK_ERROR(set.at("q"), ErrorId::unknown_name, "no \"q\"; there are: none");
  set.add("layers.1.q", 1);
  set.add("layers.0.q", 2);
  CHECK(set.size() == 2);
  CHECK(set.at("layers.0.q") == 2);
  CHECK(set.begin()->first == "layers.1.q");
  CHECK(set.find("q") == nullptr);
  CHECK_ERROR(set.at("q"), ErrorId::unknown_name, "\"layers.1.q\", \"layers.0.q\"");
  CHECK_ERROR(set.add("layers.0.q", 3), ErrorId::duplicate_name, "layers.0.q");
  set.at("layers.0.q") = 7;
  CHECK(*set.find("layers.0.q") == 7);
}

TEST_CASE("values stay at their addresses when others are added and when the set is moved; a copy has its own") {
  NamedSet<std::vector<int>> set;
  std::vector<int>& first = set.add("a", {1});
  for (int i = 0; i < 1000; ++i) set.add(concat("b", i), {i});
  const NamedSet<std::vector<int>> copy = set;
  const NamedSet<std::vector<int>> moved = std::move(set);
  CHECK(&moved.at("a") == &first);
  CHECK(&copy.at("a") != &first);
  CHECK(copy.at("b999") == std::vector<int>{999});
  CHECK_ERROR(moved.at("c"), ErrorId::unknown_name, "... (1001 in all)");
}
