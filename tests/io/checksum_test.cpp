#include "lorasb/io/checksum.hpp"

#include <string>
#include <string_view>

#include "io/files.hpp"
#include "support.hpp"

using lorasb::io::Fnv64;
namespace test = lorasb::test;

namespace {

std::uint64_t fnv(std::string_view text) {
  Fnv64 sum;
  sum.add(test::bytes_of(text));
  return sum.value();
}

}  // namespace

TEST_CASE("the checksum gives the published values of FNV-1a") {
  CHECK(fnv("") == 0xcbf29ce484222325);
  CHECK(fnv("a") == 0xaf63dc4c8601ec8c);
  CHECK(fnv("foobar") == 0x85944171f73967e8);
}

TEST_CASE("the checksum does not depend on the pieces in which bytes are added, and sees every flipped bit") {
  const std::string text = "some bytes of a checkpoint";
  Fnv64 pieces;
  for (const char& c : text) pieces.add(test::bytes_of(std::string_view(&c, 1)));
  CHECK(pieces.value() == fnv(text));
  for (std::size_t i = 0; i < 8 * text.size(); ++i) {
    std::string flipped = text;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << (i % 8)));
    CHECK(fnv(flipped) != fnv(text));
  }
}
