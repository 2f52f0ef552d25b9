#include "lorasb/federated/leading.hpp"

#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;

TEST_CASE("Row 36: leading values are the first rows and columns of each core, and all of what is no core") {
  ParameterLayout layout;
  layout.add("q", Role::core, 3, 3);
  layout.add("head", 1, 2);
  layout.add("v", Role::core, 2, 2);
  layout.add("odd.R", 1, 2);  // of that name, but no core
  std::vector<float> whole(17);
  for (std::size_t i = 0; i < whole.size(); ++i) whole[i] = float(i);

  const ParameterLayout two = leading_layout(layout, 2);
  REQUIRE(two.size() == 12);
  CHECK(two.at("q.R").rows == 2);
  CHECK(two.at("v.R").rows == 2);
  std::vector<float> leading(12);
  load_leading<float>(layout, 2, whole, leading);
  CHECK(leading == std::vector<float>{0, 1, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16});

  std::vector<float> filled(17, -1);
  store_leading<float>(layout, 2, leading, filled);
  CHECK(filled == std::vector<float>{0, 1, -1, 3, 4, -1, -1, -1, -1, 9, 10, 11, 12, 13, 14, 15, 16});

  for (const Index all : {0, 3, 9}) CHECK(leading_layout(layout, all) == layout);
  CHECK(leading_layout(layout, 1).size() == 1 + 2 + 1 + 2);
}
