#include "lorasb/text/nfkc.hpp"

#include <algorithm>
#include <string>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::text;

TEST_CASE("NFKC gives letters that look alike one spelling") {
  const auto equal = [](std::string_view text, std::string_view normal) {
    INFO(text);
    CHECK(nfkc(text) == decode_utf8(normal));
    CHECK(nfkc(normal) == decode_utf8(normal));
  };
  equal("", "");
  equal("plain ASCII, untouched\t\n", "plain ASCII, untouched\t\n");
  equal("cafe\u0301", "café");
  equal("ﬁne oﬃce", "fine office");
  equal("Ａｒｔ　１２", "Art 12");
  equal("½ x² Ⅻ ① ™", "1\u20442 x2 XII 1 TM");
  equal("a\u00A0b\u2003c", "a b c");
  equal("a\u00A0b", "a b");
  equal("x²", "x2");
  equal("\u212B", "Å");
  equal("\u1112\u1161\u11AB", "한");
  equal("q\u0307\u0323", "q\u0323\u0307");  // marks in canonical order
  equal("\u1E9B\u0323", "\u1E69");          // composed after decomposition
  equal("\u0958", "\u0915\u093C");          // excluded from composition
  equal("\uFF76\uFF9E", "\u30AC");          // half-width katakana
  equal("𝐁𝟙", "B1");
  equal("😀", "😀");
  equal("\uFDFA", "صلى الله عليه وسلم");  // one letter becomes eighteen: longer than its bytes
}

TEST_CASE("NFKC refuses what is not UTF-8, with the place") {
  CHECK_ERROR(nfkc("na\xC3\xAFve \xE9"), ErrorId::text, "byte 7 ");
  CHECK_ERROR(nfkc("\xFF"), ErrorId::text, "byte 0 ");
}

TEST_CASE("A run of marks of alternating classes is ordered in linear time (cpython 149079)") {
  const std::size_t pairs = 1000000;  // quadratic work would take hours, and the test program is given minutes
  std::string marks = "a";
  for (std::size_t i = 0; i < pairs; ++i) marks += "\u0301\u0323";
  const CodePoints out = nfkc(marks);
  REQUIRE(out.size() == 2 * pairs);  // a with the dot below is one letter
  CHECK(out[0] == 0x1EA1);
  CHECK(std::all_of(out.begin() + 1, out.begin() + std::ptrdiff_t(pairs), [](std::int32_t c) { return c == 0x323; }));
  CHECK(std::all_of(out.end() - std::ptrdiff_t(pairs), out.end(), [](std::int32_t c) { return c == 0x301; }));
}
