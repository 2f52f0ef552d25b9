#include "lorasb/io/json.hpp"

#include "io/files.hpp"
#include "support.hpp"

using lorasb::ErrorId;
using lorasb::io::parse_json;
using lorasb::io::read_json;
namespace test = lorasb::test;

TEST_CASE("JSON text reads as it stands") {
  const nlohmann::json json = parse_json(R"({"a": [1, 2.5, {"a": "b"}], "b": {"a": null}})", "text");
  CHECK(json.at("a").at(2).at("a") == "b");
  CHECK(json.at("b").at("a").is_null());
  const test::TemporaryFolder folder;
  test::write_all(folder / "file", "[true]");
  CHECK(read_json(folder / "file").at(0) == true);
  CHECK_ERROR(read_json(folder / "none"), ErrorId::file_open, "none");
}

TEST_CASE("a key that comes twice in one object is refused, at any depth and in any spelling") {
  CHECK_ERROR(parse_json(R"({"a": 1, "b": 2, "a": 3})", "text"), ErrorId::json, "text: key \"a\" comes twice");
  CHECK_ERROR(parse_json(R"({"x": [{"a": 1, "\u0061": 3}]})", "text"), ErrorId::json, "key \"a\" comes twice");
  CHECK(parse_json(R"([{"a": 1}, {"a": {"a": 2}}])", "text").size() == 2);
}

TEST_CASE("text that is not JSON is refused, and so is bottomless nesting") {
  for (const char* bad : {"", "{", "{'a': 1}", "[1,]", "1 2", "{} x", "\"\xff\"", "nul"})
    CHECK_ERROR(parse_json(bad, "text"), ErrorId::json, "text: ");
  CHECK_ERROR(parse_json(std::string_view("{}\0x", 4), "text"), ErrorId::json, "zero byte");
  CHECK_ERROR(parse_json(std::string(1'000'000, '['), "text"), ErrorId::json, "more than 100 levels");
  CHECK_ERROR(parse_json("{\"" + std::string(100'000, 'k') + "\": x}", "text"), ErrorId::json, "text: ");
}

TEST_CASE("a JSON number that is no integer of 64 bits is none, and is not cast to one") {
  using lorasb::io::json_integer;
  CHECK(json_integer(nlohmann::json::parse("-9223372036854775808")) == std::numeric_limits<lorasb::Index>::min());
  CHECK(json_integer(nlohmann::json::parse("9223372036854775807")) == std::numeric_limits<lorasb::Index>::max());
  CHECK(parse_json<lorasb::io::OrderedJson>("0", "text").integer() == 0);
  for (const char* other : {"9223372036854775808", "18446744073709551615", "18446744073709551616", "1e300", "1.0", "1.5", "true", "null", "\"1\"", "[1]"})
    CHECK_FALSE(json_integer(nlohmann::json::parse(other)).has_value());
}
