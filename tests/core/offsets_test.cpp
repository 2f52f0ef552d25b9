#include "lorasb/core/offsets.hpp"

#include <vector>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("offsets rise from 0 to the columns, and empty sequences are allowed") {
  const auto check = [](std::vector<Index> offsets, Index columns) { require_offsets(offsets, columns, "f"); };
  check({0, 3, 3, 7}, 7);
  check({0}, 0);
  check({0, 0}, 0);
  CHECK_ERROR(check({}, 0), ErrorId::shape, "f: offsets must start with 0, but there are none");
  CHECK_ERROR(check({1, 3}, 3), ErrorId::shape, "offsets must start with 0");
  CHECK_ERROR(check({0, 3, 2, 7}, 7), ErrorId::shape, "offsets[2] is 2, below offsets[1], 3");
  CHECK_ERROR(check({0, 3}, 7), ErrorId::shape, "offsets end at 3, expected the 7 columns");
  CHECK_ERROR(check({0, 9, 7}, 7), ErrorId::shape, "offsets[2] is 7, below offsets[1], 9");
}
