#include "lorasb/core/text.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a message joins text, integers of any width and the shortest digits of numbers") {
  CHECK(concat("a", std::string("b"), std::string_view("c"), -1, 2u, std::int64_t{-9223372036854775807}, ~std::uint64_t{0}) ==
        "abc-12-922337203685477580718446744073709551615");
  CHECK(concat(0.1f, " ", 0.1, " ", 1e300, " ", true) == "0.1 0.1 1e+300 1");
  CHECK(concat().empty());
}

TEST_CASE("control characters of a name do not reach the terminal") {
  CHECK(in_quotes("\x1b[2J\n\x7f\xC2\x9B") == "\"\\u001b[2J\\u000a\\u007f\\u009b\"");
  CHECK(in_quotes("\xC3\xA9 \xC2\xA0") == "\"\xC3\xA9 \xC2\xA0\"");
  CHECK(std::string(Error(ErrorId::data, "a \x1b[2J\nb").what()) == "[lorasb.601] a \\u001b[2J\nb");
}
