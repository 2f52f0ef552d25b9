#include "lorasb/text/normalizer.hpp"

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::text;

namespace {

Normalizer from(const char* json) { return Normalizer(nlohmann::json::parse(json), {"file"}); }

void check(const char* json, std::string_view text, std::string_view expected) {
  INFO(json << " " << text);
  CHECK(from(json)(decode_utf8(text)) == decode_utf8(expected));
}

}  // namespace

TEST_CASE("Each normaliser does what tokenizers' does") {
  check("null", " ａ\t", " ａ\t");
  check(R"({"type": "NFKC"})", "ａ\u0301ﬁ²", "áfi2");
  check(R"({"type": "Lowercase"})", "ÀΣİ", "àσi\u0307");
  check(R"({"type": "Nmt"})", "a\u0001b\u000B\u007Fc\t\n\u200B\u2581\uFEFFd\u0085", "abc     d\u0085");
  check(R"({"type": "Strip", "strip_left": true, "strip_right": true})", "\u3000 a b \n", "a b");
  check(R"({"type": "Strip", "strip_left": true, "strip_right": true})", " \n ", "");
  check(R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a ", " a");
  check(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " a ", "a ");
  check(R"({"type": "Replace", "pattern": {"String": "aa"}, "content": "b"})", "aaaaa", "bba");
  check(R"({"type": "Replace", "pattern": {"String": "é "}, "content": ""})", "é é ée ", "ée ");
  check(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"})", "  a b   c  \u3000 ", "▁a b▁c▁\u3000 ");
  check(R"({"type": "Replace", "pattern": {"Regex": "\\A +| +\\z"}, "content": "-"})", "  a  b ", "-a  b-");
  check(R"({"type": "Replace", "pattern": {"Regex": "\\A +| +\\z"}, "content": "-"})", "   ", "-");
  check(R"({"type": "Replace", "pattern": {"Regex": "\\A▁"}, "content": "▁▁"})", "▁▁a▁", "▁▁▁a▁");
  check(R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Sequence", "normalizers": [
      {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}]}, {"type": "Replace", "pattern": {"String": "b"}, "content": "c"}]})",
        "Aab", "ccc");
}

TEST_CASE("Whether the start of a text may have stood behind something else") {
  CHECK(!from(R"({"type": "NFKC"})").takes_from_start());
  CHECK(!from(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"})").takes_from_start());
  CHECK(!from(R"({"type": "Strip", "strip_left": false, "strip_right": true})").takes_from_start());
  CHECK(from(R"({"type": "Strip", "strip_left": true, "strip_right": true})").takes_from_start());
  CHECK(from(R"({"type": "Nmt"})").takes_from_start());
  CHECK(from(R"({"type": "Replace", "pattern": {"String": "a"}, "content": ""})").takes_from_start());
}

TEST_CASE("A text does not grow without end") {
  const std::string twice = R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  std::string json = R"({"type": "Sequence", "normalizers": [)" + twice;
  for (int i = 0; i < 40; ++i) json += ", " + twice;
  CHECK_ERROR(from((json + "]}").c_str())(decode_utf8("a")), ErrorId::text, "grows beyond 320 code points");
}

TEST_CASE("A million spaces inside a text take linear time") {
  const std::string text = "a" + std::string(1000000, ' ') + "b";
  for (const char* expression : {R"(\\A +| +\\z)", "\\\\A▁"})
    CHECK(from((R"({"type": "Replace", "content": "", "pattern": {"Regex": ")" + std::string(expression) + "\"}}").c_str())(decode_utf8(text)).size() == text.size());
}

TEST_CASE("What is no normaliser that is known here is refused by key and value") {
  CHECK_ERROR(from(R"({"type": "NFD"})"), ErrorId::vocabulary, "\"normalizer\" is {\"type\":\"NFD\"}");
  CHECK_ERROR(from(R"({"type": "Sequence", "normalizers": [{"type": "Odd"}]})"), ErrorId::vocabulary, "\"normalizer\" is {\"type\":\"Odd\"}");
  CHECK_ERROR(from(R"({"type": "Sequence"})"), ErrorId::vocabulary, "\"normalizers\" is not an array");
  CHECK_ERROR(from("3"), ErrorId::vocabulary, "\"type\" is not a string");
  CHECK_ERROR(from(R"({"type": "Precompiled", "precompiled_charsmap": null})"), ErrorId::vocabulary, "\"precompiled_charsmap\" is not a string");
  CHECK_ERROR(from(R"({"type": "Precompiled", "precompiled_charsmap": "?"})"), ErrorId::vocabulary, "not base64");
  CHECK_ERROR(from(R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": ""})"), ErrorId::vocabulary, "\"pattern\" is {\"Regex\":\"a+\"}");
  CHECK_ERROR(from(R"({"type": "Replace", "pattern": {"String": ""}, "content": ""})"), ErrorId::vocabulary, "\"pattern\" is {\"String\":\"\"}");
  CHECK_ERROR(from(R"({"type": "Replace", "pattern": {"String": "a"}})"), ErrorId::vocabulary, "\"content\" is not a string");
}
