#include "lorasb/core/frozen_weight.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support.hpp"

using namespace lorasb;

namespace {
using Narrow = Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
}

TEST_CASE("rounding to bfloat16 takes the nearest, ties to even, and keeps what is not finite") {
  const auto rounded = [](float x) {
    Bfloat16 narrow;
    to_bfloat16(&x, &narrow, 1);
    float wide = 0;
    from_bfloat16(&narrow, &wide, 1);
    return wide;
  };
  CHECK(rounded(1.0f) == 1.0f);
  CHECK(rounded(-0.0f) == 0.0f);
  CHECK(std::signbit(rounded(-0.0f)));
  CHECK(rounded(0x1.01p0f) == 0x1.00p0f);    // half way between 0x1.00 and 0x1.02: the even one
  CHECK(rounded(0x1.03p0f) == 0x1.04p0f);    // half way between 0x1.02 and 0x1.04
  CHECK(rounded(0x1.0101p0f) == 0x1.02p0f);  // just above half way
  CHECK(rounded(0x1.fffp0f) == 2.0f);
  CHECK(rounded(std::numeric_limits<float>::max()) == std::numeric_limits<float>::infinity());
  CHECK(rounded(std::numeric_limits<float>::infinity()) == std::numeric_limits<float>::infinity());
  CHECK(rounded(0x1p-140f) == 0x1p-133f * 0);  // far below the least bfloat16
  CHECK(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(rounded(std::bit_cast<float>(0x7fffffffu))));  // would carry over into the sign
}

TEST_CASE("every bfloat16 comes back from float as it was") {
  std::vector<Bfloat16> all(1 << 16), back(1 << 16);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].value = static_cast<std::uint16_t>(i);
  std::vector<float> wide(all.size());
  from_bfloat16(all.data(), wide.data(), std::ssize(all));
  to_bfloat16(wide.data(), back.data(), std::ssize(all));
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!std::isnan(wide[i])) REQUIRE(back[i].value == all[i].value);
}

TEMPLATE_TEST_CASE("a frozen weight looks at S or bfloat16, blocks too, without a copy", "", float, double) {
  using S = TestType;
  const Weight<S> W = test::random_matrix<Weight<S>>(5, 7, 1);
  const FrozenWeight<S> wide = W.middleCols(2, 3);
  CHECK(wide.rows() == 5);
  CHECK(wide.cols() == 3);
  CHECK(wide.size() == 15);
  CHECK(wide.element_size() == sizeof(S));
  CHECK(wide.wide().data() == &W(0, 2));
  CHECK(wide.widened() == W.middleCols(2, 3));

  const Narrow N = W.template cast<Bfloat16>();
  const FrozenWeight<S> narrow = N.middleCols(2, 3);
  CHECK(narrow.is_bfloat16());
  CHECK(narrow.element_size() == 2);
  CHECK(narrow.narrow() == &N(0, 2));
  CHECK(narrow.widened() == N.middleCols(2, 3).template cast<S>());
  Weight<S> rows(2, 3);
  narrow.widen(1, 2, rows.data());
  CHECK(rows == N.block(1, 2, 2, 3).template cast<S>());
  CHECK_ERROR(narrow.wide(), ErrorId::value, "the weight is bfloat16");
}

TEST_CASE("what would need a copy is no frozen weight") {
  STATIC_REQUIRE(std::is_constructible_v<FrozenWeight<float>, const Weight<float>&>);
  STATIC_REQUIRE(std::is_constructible_v<FrozenWeight<float>, ConstWeightView<float>>);
  STATIC_REQUIRE(std::is_constructible_v<FrozenWeight<float>, const Narrow&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FrozenWeight<float>, const Weight<double>&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FrozenWeight<float>, const Matrix<float>&>);
}
