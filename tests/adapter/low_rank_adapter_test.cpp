#include "lorasb/adapter/low_rank_adapter.hpp"

#include <limits>

#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("an adapter knows its sizes") {
  const LowRankAdapter<float> adapter = random_adapter<float>(7, 5, 3, 1);
  CHECK(adapter.out_features() == 7);
  CHECK(adapter.in_features() == 5);
  CHECK(adapter.rank() == 3);
  CHECK(adapter.trainable() == 9);
  adapter.validate();
}

TEST_CASE("an adapter that cannot be right is refused with its sizes") {
  const LowRankAdapter<float> good = random_adapter<float>(7, 5, 3, 1);
  LowRankAdapter<float> bad = good;
  bad.R.resize(0, 0);
  CHECK_ERROR(bad.validate("q"), ErrorId::rank, "q: rank is 0, expected 1 to min(out, in) = 5");
  bad = random_adapter<float>(7, 5, 5, 1);
  bad.R = Weight<float>::Zero(6, 6);
  CHECK_ERROR(bad.validate("q"), ErrorId::rank, "rank is 6");
  bad = good;
  bad.R = Weight<float>::Zero(3, 2);
  CHECK_ERROR(bad.validate("q"), ErrorId::shape, "q: R is 3 x 2, expected 3 x 3");
  bad = good;
  bad.B = Weight<float>::Zero(7, 4);
  CHECK_ERROR(bad.validate("q"), ErrorId::shape, "q: B is 7 x 4");
  bad = good;
  bad.A(2, 4) = std::numeric_limits<float>::infinity();
  CHECK_ERROR(bad.validate("q"), ErrorId::not_finite, "q: A holds inf at row 2, column 4");
  bad = good;
  bad.scale = 0;
  CHECK_ERROR(bad.validate("q"), ErrorId::value, "scale is 0");
}
