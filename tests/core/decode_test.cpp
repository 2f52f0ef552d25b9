#include "lorasb/core/decode.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "support.hpp"

using namespace lorasb;

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

TEMPLATE_TEST_CASE("every type that is a real number has a decoder, and no other has", "", float, double) {
  using S = TestType;
  for (const DtypeRow& row : dtype_table) {
    const bool real = row.dtype == Dtype::f64 || row.dtype == Dtype::f32 || row.dtype == Dtype::f16 || row.dtype == Dtype::bf16;
    CHECK((decoder<S>(row.dtype) != nullptr) == real);
    CHECK(decodes_exactly<S>(row.dtype) == (real && row.block_bytes <= sizeof(S)));
  }
  const double numbers[] = {1.5, -0.25};
  S out[2];
  decoder<S>(Dtype::f64)(reinterpret_cast<const std::byte*>(numbers), out, 2);
  CHECK(out[0] == S(1.5));
  CHECK(out[1] == S(-0.25));
}

TEST_CASE("the table of types says how many bytes numbers take") {
  CHECK(name_of(Dtype::bf16) == "BF16");
  CHECK(dtype_named("F16") == Dtype::f16);
  CHECK_FALSE(dtype_named("F5").has_value());
  CHECK(bytes_of(Dtype::f32, 10) == 40);
  CHECK(bytes_of(Dtype::bf16, 3) == 6);
}
