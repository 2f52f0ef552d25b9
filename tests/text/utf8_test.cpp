#include "lorasb/text/utf8.hpp"

#include <string>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::text;
using namespace std::string_literals;

TEST_CASE("UTF-8 decodes into the code points that were written") {
  CHECK(decode_utf8("").empty());
  CHECK(decode_utf8("aé▁😀") == CodePoints{'a', 0xE9, 0x2581, 0x1F600});
  CHECK(decode_utf8("\0a\x7f"s) == CodePoints{0, 'a', 0x7F});
  CHECK(decode_utf8("\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF") ==
        CodePoints{0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF});
}

TEST_CASE("What is not UTF-8 is refused at its first bad byte") {
  struct Bad {
    std::string bytes;
    std::size_t at;
  };
  for (const auto& [bytes, at] : {
           Bad{"\x80", 0},                // a continuation with no beginning
           Bad{"ab\xFF", 2},              // never a byte of UTF-8
           Bad{"aé\xC3", 3},              // cut off
           Bad{"x\xE2\x96", 1},           // cut off
           Bad{"\xF0\x9F\x98z", 0},       // broken off
           Bad{"\xC0\x80", 0},            // overlong 0
           Bad{"\xE0\x80\xAF", 0},        // overlong /
           Bad{"\xED\xA0\x80", 0},        // a surrogate
           Bad{"ok\xF4\x90\x80\x80", 2},  // above U+10FFFF
           Bad{"\0\xE9t\xE9"s, 1},        // Latin-1
       }) {
    INFO("bytes of length " << bytes.size() << ", bad at " << at);
    CHECK(invalid_utf8(bytes) == at);
    CHECK_ERROR(decode_utf8(bytes), ErrorId::text, "byte " + std::to_string(at) + " ");
  }
  CHECK(!invalid_utf8("aé▁😀"));
  CHECK(!invalid_utf8(""));
}
