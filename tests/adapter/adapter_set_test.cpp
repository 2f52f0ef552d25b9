#include "lorasb/adapter/low_rank_adapter.hpp"

#include "random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("a set gives adapters by name in the order in which they were added") {
  AdapterSet<float> set;
  CHECK_ERROR(set.at("q"), ErrorId::unknown_name, "no module \"q\"; there are: none");
  set.add("layers.1.q", random_adapter<float>(4, 4, 2, 1));
  set.add("layers.0.q", random_adapter<float>(6, 4, 2, 2));
  CHECK(set.size() == 2);
  CHECK(set.at("layers.0.q").out_features() == 6);
  CHECK(set.begin()->first == "layers.1.q");
  CHECK(set.find("q") == nullptr);
  CHECK_ERROR(set.at("q"), ErrorId::unknown_name, "\"layers.1.q\", \"layers.0.q\"");
  CHECK_ERROR(set.add("layers.0.q", random_adapter<float>(6, 4, 2, 2)), ErrorId::duplicate_name, "layers.0.q");
  set.at("layers.0.q").R.setZero();
  CHECK(set.find("layers.0.q")->R.isZero());
}
