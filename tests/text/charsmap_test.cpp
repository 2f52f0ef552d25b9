#include "lorasb/text/charsmap.hpp"

#include "golden_tokens.hpp"

using namespace lorasb;
using namespace lorasb::text;
using namespace lorasb::test;

namespace {

/// The table of golden/hugging_face.py.
std::string table_bytes() {
  const nlohmann::json json = io::read_json(golden_folder / "unigram_tokenizer.json");
  return decode_base64(json["normalizer"]["precompiled_charsmap"].get<std::string>());
}

}  // namespace

TEST_CASE("A table replaces code points, and short grapheme clusters as a whole") {
  const Charsmap table(table_bytes());
  const auto check = [&](std::string_view text, std::string_view expected) {
    INFO(text);
    CHECK(table(decode_utf8(text)) == decode_utf8(expected));
  };
  check("", "");
  check("Ａ1２ ﬁne\t½", "A12 fine 1⁄2");
  check("a\u0007b\u00ADc", "abc");
  check("e\u0301 E\u0301", "é E\u0301");
  check("ﷺ", "صلى الله عليه وسلم");
  check("Ａ\u0301", "A");                     // five bytes: the shortest prefix, without the accent
  check("Ａ\u0301\u0301", "A\u0301\u0301");  // seven: one by one
  check("²\u0897x", "2x");                     // a mark of Unicode 16
  check("\r\n", " ");                          // one cluster
  check("\n\r", "  ");
  check("\uFF76\uFF9E", "\uFF76\uFF9E");  // the table has it, but not six bytes
}

TEST_CASE("A million marks on one letter take linear time") {
  const Charsmap table(table_bytes());
  std::string text = "Ａ";
  for (int i = 0; i < 1000000; ++i) text += "\u0301";
  CHECK(table(decode_utf8(text)).size() == 1000001);
}

TEST_CASE("A table that is damaged is refused, when it is read or where it is used") {
  const std::string good = table_bytes();
  CHECK_ERROR(Charsmap(""), ErrorId::vocabulary, "0 bytes are no table");
  CHECK_ERROR(Charsmap(std::string(4, '\0')), ErrorId::vocabulary, "4 bytes are no table");
  CHECK_ERROR(Charsmap(good.substr(0, 100)), ErrorId::vocabulary, "100 bytes are no table");
  CHECK_ERROR(Charsmap(good + "\xFF"), ErrorId::vocabulary, "not UTF-8");
  // One unit, whose offset leads far away.
  const std::string lost = std::string("\4\0\0\0\0\xFC\xFF\xFF", 8);
  CHECK_ERROR(Charsmap(lost)(decode_utf8("a")), ErrorId::vocabulary, "of 1 is wanted: the table is damaged");
  // Without its replacements.
  const std::size_t replacements = good.find(std::string("fi\0", 3));
  CHECK_ERROR(Charsmap(good.substr(0, replacements))(decode_utf8("ﬂﬁﷺ")), ErrorId::vocabulary, "holds no replacement");
  std::string endless = good + std::string(300, '-');
  for (std::size_t i = replacements; i < endless.size(); ++i)
    if (endless[i] == '\0') endless[i] = '-';
  CHECK_ERROR(Charsmap(endless)(decode_utf8("ﬁ")), ErrorId::vocabulary, "at most 256 bytes");
}

TEST_CASE("Base64 is read with its padding") {
  CHECK(decode_base64("") == "");
  CHECK(decode_base64("aGVsbG8=") == "hello");
  CHECK(decode_base64("aGVsbA==") == "hell");
  CHECK(decode_base64("//79+w==") == "\xFF\xFE\xFD\xFB");
  for (const char* wrong : {"a", "aGVsbG8", "aGVs=G8=", "a===", "aG.s", "===="}) {
    INFO(wrong);
    CHECK_ERROR(decode_base64(wrong), ErrorId::vocabulary, "not base64");
  }
}
