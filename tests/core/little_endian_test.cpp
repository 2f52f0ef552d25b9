#include "lorasb/core/little_endian.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("A number's lowest byte comes first, and the number comes back") {
  const std::array<std::byte, 8> expected{std::byte(8), std::byte(7), std::byte(6), std::byte(5),
                                          std::byte(4), std::byte(3), std::byte(2), std::byte(1)};
  CHECK(little_endian(0x0102030405060708) == expected);
  for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{255}, std::uint64_t{1} << 63, ~std::uint64_t{0}})
    CHECK(from_little_endian(little_endian(number)) == number);
}
