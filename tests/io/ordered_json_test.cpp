#include "lorasb/io/ordered_json.hpp"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lorasb/io/json.hpp"
#include "support.hpp"

using lorasb::io::OrderedJson;

namespace {

/// What nlohmann-json, another reader and writer, makes of the text.
nlohmann::ordered_json other(const std::string& text) { return nlohmann::ordered_json::parse(text); }

}  // namespace

TEST_CASE("OrderedJson keeps the order of keys, from text to text, as nlohmann-json writes it") {
  const std::string text =
      R"({"z":1,"a":[true,false,null,-5,18446744073709551615,0.1,1e+300,16.0,[],{}],"":{"b":"\"\\\b\f\n\r\t\u001b/ü😀"}})";
  const OrderedJson json = lorasb::io::parse_json<OrderedJson>(text, "text");
  CHECK(json.text() == text);
  CHECK(json.text() == other(text).dump());
  CHECK(json.text(2) == other(text).dump(2));
  CHECK(json.keys() == std::vector<std::string>{"z", "a", ""});
  CHECK(json.items().size() == 3);
  CHECK(json.find("a")->items().size() == 10);
  CHECK(json.find("b") == nullptr);
}

TEST_CASE("OrderedJson reads a value as the type that it has, and as no other") {
  const OrderedJson all = lorasb::io::parse_json<OrderedJson>(
      R"([null, true, -9223372036854775808, 9223372036854775807, 9223372036854775808, 1.0, "x", [0], {"a": 0}])", "text");
  const std::vector<std::string> types{"null", "boolean", "number", "number", "number", "number", "string", "array", "object"};
  for (std::size_t i = 0; i < types.size(); ++i) {
    const OrderedJson& value = all.items()[i];
    CHECK(value.type_name() == types[i]);
    CHECK(value.is_null() == (i == 0));
    CHECK(value.boolean().has_value() == (i == 1));
    CHECK(value.integer().has_value() == (i == 2 || i == 3));
    CHECK(value.number().has_value() == (i >= 2 && i <= 5));
    CHECK((value.string() != nullptr) == (i == 6));
    CHECK(value.is_array() == (i == 7));
    CHECK(value.is_object() == (i == 8));
  }
  CHECK(all.items()[1].boolean() == true);
  CHECK(all.items()[2].integer() == std::numeric_limits<lorasb::Index>::min());
  CHECK(all.items()[3].integer() == std::numeric_limits<lorasb::Index>::max());
  CHECK(all.items()[4].number() == 0x1p63);
}

TEST_CASE("numbers of OrderedJson read back as the same double") {
  for (const double x : {0.1, 1e-5, 1e5, 123456.0, 5e-324, 1.7976931348623157e308, 16.0, 0.0}) {
    const std::string text = OrderedJson(x).text();
    CAPTURE(text);
    CHECK(other(text).is_number_float());
    CHECK(other(text).get<double>() == x);
  }
  CHECK(OrderedJson(std::numeric_limits<double>::infinity()).text() == "null");
}

TEST_CASE("an object of 100,000 keys is read and written") {
  OrderedJson json = OrderedJson::object();
  for (int i = 0; i < 100'000; ++i) json.add("key" + std::to_string(i), i);
  const OrderedJson read = lorasb::io::parse_json<OrderedJson>(json.text(), "text");
  REQUIRE(read.items().size() == 100'000);
  CHECK(read.keys().back() == "key99999");
  CHECK(read.items().back().integer() == 99'999);
}
