#include "lorasb/io/safetensors_header.hpp"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lorasb/io/safetensors.hpp"
#include "support.hpp"

using lorasb::Error;
using lorasb::ErrorId;
using lorasb::Index;
using lorasb::Random;
using lorasb::io::parse_safetensors_header;
using lorasb::io::SafetensorsFile;
using lorasb::io::SafetensorsHeader;
using lorasb::io::TensorInfo;
namespace test = lorasb::test;

namespace {

SafetensorsHeader parse(std::string_view text) { return parse_safetensors_header(test::bytes_of(text), "file"); }
/// A file with this header and so many bytes of data.
SafetensorsHeader parse(std::string_view header, std::size_t data_bytes) {
  return parse(test::safetensors_text(header, std::string(data_bytes, 'd')));
}
std::string with_length(std::uint64_t length, std::string_view rest) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text.append(rest);
}

}  // namespace

TEST_CASE("tensors come in the order of their bytes, whatever the order of the JSON") {
  const SafetensorsHeader header = parse(
      R"({"b":{"data_offsets":[4,12],"shape":[2],"dtype":"F32"}, "none":{"dtype":"F64","shape":[3,0],"data_offsets":[4,4]},)"
      R"("a":{"shape":[],"dtype":"I32","data_offsets":[0,4]},"__metadata__":{"k":"v"}}   )",
      12);
  REQUIRE(header.tensors.size() == 3);
  CHECK(header.tensors[0].name == "a");
  CHECK(header.tensors[1].name == "none");
  CHECK(header.tensors[2].name == "b");
  CHECK(header.tensors[2].begin == 4);
  CHECK(header.tensors[2].elements() == 2);
  CHECK(header.metadata.at("k") == "v");
}

TEST_CASE("a file without tensors is a file") {
  CHECK(parse("{}", 0).tensors.empty());
  CHECK(parse(R"({"__metadata__":{}})", 0).metadata.empty());
  CHECK(parse("{}", 0).data_begin == 10);
}

TEST_CASE("every type of the format has its size") {
  const std::pair<const char*, std::size_t> types[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"U16", 2}, {"I16", 2}, {"F16", 2},
      {"BF16", 2}, {"U32", 4}, {"I32", 4}, {"F32", 4},     {"U64", 8},     {"I64", 8},     {"F64", 8}, {"C64", 8}};
  for (const auto& [name, size] : types) {
    INFO(name);
    const SafetensorsHeader header = parse(
        "{\"x\":{\"dtype\":\"" + std::string(name) + "\",\"shape\":[3],\"data_offsets\":[0," + std::to_string(3 * size) + "]}}",
        3 * size);
    CHECK(lorasb::name_of(header.tensors[0].dtype) == name);
    CHECK(lorasb::size_of(header.tensors[0].dtype) == size);
  }
}

TEST_CASE("a header length that lies is refused before anything is read") {
  CHECK_ERROR(parse(""), ErrorId::safetensors, "file: the file has 0 bytes");
  CHECK_ERROR(parse("1234567"), ErrorId::safetensors, "has 7 bytes, too short");
  CHECK_ERROR(parse(with_length(3, "{}")), ErrorId::safetensors, "header length is 3, but only 2 bytes follow");
  CHECK_ERROR(parse(with_length(100'000'001, "{}")), ErrorId::safetensors, "above the limit of 100000000");
  CHECK_ERROR(parse(with_length(100'000'000, "{}")), ErrorId::safetensors, "but only 2 bytes follow");
  CHECK_ERROR(parse(with_length(~std::uint64_t{0}, "{}")), ErrorId::safetensors, "18446744073709551615, above");
  CHECK_ERROR(parse(with_length(~std::uint64_t{0} - 7, "{}")), ErrorId::safetensors, "above the limit");
  CHECK_ERROR(parse(with_length(std::uint64_t{1} << 63, "{}")), ErrorId::safetensors, "above the limit");
  CHECK_ERROR(parse(with_length(0, "{}")), ErrorId::safetensors, "does not start with '{'");
}

TEST_CASE("a header that is not a JSON object is refused") {
  CHECK_ERROR(parse(" {}", 0), ErrorId::safetensors, "does not start with '{'");
  CHECK_ERROR(parse("[]", 0), ErrorId::safetensors, "does not start with '{'");
  CHECK_ERROR(parse("\xef\xbb\xbf{}", 0), ErrorId::safetensors, "does not start with '{'");
  CHECK_ERROR(parse("{", 0), ErrorId::safetensors, "not JSON at its byte 2");
  CHECK_ERROR(parse("{}}", 0), ErrorId::safetensors, "not JSON");
  CHECK_ERROR(parse("{} {}", 0), ErrorId::safetensors, "not JSON");
  CHECK_ERROR(parse("{},", 0), ErrorId::safetensors, "not JSON");
  CHECK_ERROR(parse("{/*comment*/}", 0), ErrorId::safetensors, "not JSON");
  CHECK_ERROR(parse("{\"\xff\":{}}", 0), ErrorId::safetensors, "not JSON");
  CHECK_ERROR(parse(std::string_view("{}\0\0", 4), 0), ErrorId::safetensors, "zero byte");
  CHECK_ERROR(parse(R"({"a":NaN})", 0), ErrorId::safetensors, "not JSON");
}

TEST_CASE("things in the wrong place of the header are refused with the place") {
  CHECK_ERROR(parse(R"({"a":1})", 0), ErrorId::safetensors, R"(has a number at "a", expected an object)");
  CHECK_ERROR(parse(R"({"a":[]})", 0), ErrorId::safetensors, R"(has an array at "a", expected an object)");
  CHECK_ERROR(parse(R"({"a":null})", 0), ErrorId::safetensors, R"(has null at "a", expected an object)");
  CHECK_ERROR(parse(R"({"a":"F32"})", 0), ErrorId::safetensors, R"(has a string at "a", expected an object)");
  CHECK_ERROR(parse(R"({"__metadata__":[]})", 0), ErrorId::safetensors, "an array");
  CHECK_ERROR(parse(R"({"__metadata__":{"k":1}})", 0), ErrorId::safetensors,
              R"(a number at __metadata__ "k", expected a string)");
  CHECK_ERROR(parse(R"({"__metadata__":{"k":{}}})", 0), ErrorId::safetensors,
              R"(an object at __metadata__ "k", expected a string)");
  CHECK_ERROR(parse(R"({"__metadata__":{"k":null}})", 0), ErrorId::safetensors, "null");
  CHECK_ERROR(parse(R"({"a":{"dtype":32}})", 0), ErrorId::safetensors, R"(a number at dtype of tensor "a", expected a string)");
  CHECK_ERROR(parse(R"({"a":{"dtype":["F32"]}})", 0), ErrorId::safetensors, "an array at dtype");
  CHECK_ERROR(parse(R"({"a":{"shape":"2"}})", 0), ErrorId::safetensors,
              R"(a string at shape of tensor "a", expected an array)");
  CHECK_ERROR(parse(R"({"a":{"shape":{}}})", 0), ErrorId::safetensors, "an object at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":2}})", 0), ErrorId::safetensors, "a number at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":[[2]]}})", 0), ErrorId::safetensors, "an array at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":["2"]}})", 0), ErrorId::safetensors,
              "a string at shape of tensor \"a\", expected a non-neg");
  CHECK_ERROR(parse(R"({"a":{"shape":[true]}})", 0), ErrorId::safetensors, "a boolean at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":[null]}})", 0), ErrorId::safetensors, "null at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":[{}]}})", 0), ErrorId::safetensors, "an object at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":[-2]}})", 0), ErrorId::safetensors, "negative number -2 at shape");
  CHECK_ERROR(parse(R"({"a":{"shape":[2.0]}})", 0), ErrorId::safetensors, "number 2.0, not an integer");
  CHECK_ERROR(parse(R"({"a":{"shape":[1e3]}})", 0), ErrorId::safetensors, "number 1e3, not an integer");
  CHECK_ERROR(parse(R"({"a":{"shape":[18446744073709551616]}})", 0), ErrorId::safetensors,
              "18446744073709551616, not an integer");
  CHECK_ERROR(parse(R"({"a":{"shape":[9223372036854775808]}})", 0), ErrorId::safetensors, "above 2^63 - 1");
}

TEST_CASE("a tensor without a field, with one twice or of an unknown type is refused") {
  CHECK_ERROR(parse(R"({"a":{"shape":[0],"data_offsets":[0,0]}})", 0), ErrorId::safetensors, "\"a\" lacks its dtype");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F32","data_offsets":[0,0]}})", 0), ErrorId::safetensors, "\"a\" lacks its shape");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F32","shape":[0]}})", 0), ErrorId::safetensors, "\"a\" lacks its data_offsets");
  CHECK_ERROR(parse(R"({"a":{}})", 0), ErrorId::safetensors, "lacks");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F32","dtype":"F64","shape":[0],"data_offsets":[0,0]}})", 0), ErrorId::safetensors,
              "has its dtype twice");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F32","shape":[0],"offsets":[0,0]}})", 0), ErrorId::safetensors, "lacks its data_offsets");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F33","shape":[0],"data_offsets":[0,0]}})", 0), ErrorId::safetensors,
              "unknown dtype \"F33\"");
  CHECK_ERROR(parse(R"({"a":{"dtype":"f32","shape":[0],"data_offsets":[0,0]}})", 0), ErrorId::safetensors, "unknown dtype");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0]}})", 0), ErrorId::safetensors, "1 data_offsets");
  CHECK_ERROR(parse(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0,0]}})", 0), ErrorId::safetensors, "3 data_offsets");
}

TEST_CASE("a name that comes twice is refused, in whatever spelling") {
  const std::string tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK_ERROR(parse("{\"a\":" + tensor + ",\"a\":" + tensor + "}", 0), ErrorId::safetensors, "\"a\" comes twice");
  CHECK_ERROR(parse("{\"a\":" + tensor + ",\"\\u0061\":" + tensor + "}", 0), ErrorId::safetensors, "\"a\" comes twice");
  CHECK_ERROR(parse(R"({"__metadata__":{},"__metadata__":{}})", 0), ErrorId::safetensors, "\"__metadata__\" comes twice");
  CHECK_ERROR(parse(R"({"__metadata__":{"k":"1","k":"1"}})", 0), ErrorId::safetensors, "__metadata__ has \"k\" twice");
}

TEST_CASE("bytes that do not fit the shape, the data or the neighbours are refused with the numbers") {
  const auto one = [](std::string_view shape, std::string_view offsets) {
    return "{\"a\":{\"dtype\":\"F32\",\"shape\":[" + std::string(shape) + "],\"data_offsets\":[" + std::string(offsets) + "]}}";
  };
  const auto two = [](std::string_view a, std::string_view b) {
    return "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" + std::string(a) +
           "]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" + std::string(b) + "]}}";
  };
  CHECK_ERROR(parse(one("2", "0,4"), 8), ErrorId::safetensors, "(F32, 2) has 4 bytes, expected 8");
  CHECK_ERROR(parse(one("2", "8,0"), 8), ErrorId::safetensors, "has bytes 8 to 0 of 8");
  CHECK_ERROR(parse(one("2", "0,8"), 7), ErrorId::safetensors, "has bytes 0 to 8 of 7");
  CHECK_ERROR(parse(one("2", "0,8"), 9), ErrorId::safetensors, "end at byte 8 of 9 bytes of data");
  CHECK_ERROR(parse(one("2", "1,9"), 9), ErrorId::safetensors, "leaving a hole after 0");
  CHECK_ERROR(parse(one("2", "9223372036854775800,9223372036854775807"), 8), ErrorId::safetensors, "of 8 bytes of data");
  CHECK_ERROR(parse(one("4611686018427387904,4", "0,8"), 8), ErrorId::safetensors, "has 2^63 bytes or more");
  CHECK_ERROR(parse(one("4294967296,4294967296", "0,0"), 0), ErrorId::safetensors, "has 2^63 bytes or more");
  CHECK_ERROR(parse(one("2305843009213693952", "0,0"), 0), ErrorId::safetensors, "has 2^63 bytes or more");
  CHECK_ERROR(parse(one("4611686018427387904,4611686018427387904,0", "0,0"), 0), ErrorId::safetensors,
              "has 2^63 bytes or more");
  CHECK_ERROR(parse(two("0,4", "0,4"), 4), ErrorId::safetensors, "inside the tensor before it, which ends at 4");
  CHECK_ERROR(parse(two("0,4", "3,7"), 7), ErrorId::safetensors, "\"b\" starts at byte 3");
  CHECK_ERROR(parse(two("0,4", "5,9"), 9), ErrorId::safetensors, "leaving a hole after 4");
  CHECK_ERROR(parse("{}", 1), ErrorId::safetensors, "end at byte 0 of 1");
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  CHECK_ERROR(parse(one(many, "0,4"), 4), ErrorId::safetensors, "more than 64 numbers");
  CHECK(parse(two("4,8", "0,4"), 8).tensors.front().name == "b");
}

TEST_CASE("deep nesting and endless names give short errors") {
  const std::string deep(1'000'000, '[');
  CHECK_ERROR(parse("{\"a\":" + deep, 0), ErrorId::safetensors, "an array at \"a\"");
  CHECK_ERROR(parse("{\"a\":{\"shape\":" + deep, 0), ErrorId::safetensors, "an array at shape");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK_ERROR(parse(objects, 0), ErrorId::safetensors, "a field \"a\" that is deeper than 100");
  try {
    parse("{\"" + std::string(1'000'000, 'n') + "\":1}", 0);
    CHECK(false);
  } catch (const Error& error) {
    CHECK(std::string(error.what()).size() < 500);
  }
}

namespace {

/// Small valid files of several kinds, to start from.
std::vector<std::string> seeds() {
  return {
      test::safetensors_text("{}"),
      test::safetensors_text(R"({"__metadata__":{"format":"pt","k":"\u00e9\n"}}  )"),
      test::safetensors_text(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", std::string(24, 'x')),
      test::safetensors_text(
          R"({"__metadata__":{"a":"b"},"w":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},)"
          R"("s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"e":{"dtype":"BF16","shape":[0,7],"data_offsets":[12,12]},)"
          R"("i":{"dtype":"I64","shape":[1,1,1],"data_offsets":[12,20]}}    )",
          std::string(20, '\0')),
  };
}

/// What a hostile header might say.
std::vector<std::string> fragments() {
  std::istringstream words(
      R"(0 1 -1 18446744073709551615 18446744073709551616 9223372036854775807 4611686018427387904 1e308 null [ ]
    { } , : " \u0000 \ud800 "shape" "dtype" "data_offsets":[0,0] "F32" "F64" "BOOL" [0,1] [1,1] //
    "a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)");
  std::vector<std::string> all{" ", "\xff"};
  for (std::string word; words >> word;) all.push_back(word);
  return all;
}

std::string mutated(std::string text, const std::vector<std::string>& all, Random& random) {
  static const std::vector<std::string> pieces = fragments();
  const std::uint64_t times = 1 + random.below(4);
  for (std::uint64_t i = 0; i < times; ++i) {
    const auto place = [&] { return static_cast<std::size_t>(random.below(text.size() + 1)); };
    const std::size_t at = place();
    switch (random.below(8)) {
      case 0:
        text = text.substr(0, at);
        break;
      case 1:
        text.erase(at, random.below(9));
        break;
      case 2:
        text.insert(at, pieces[random.below(pieces.size())]);
        break;
      case 3: {  // a number becomes another
        const std::size_t digit = text.find_first_of("0123456789", std::max<std::size_t>(at, 8));
        if (digit < text.size()) {
          const std::size_t end = std::min(text.find_first_not_of("0123456789", digit), text.size());
          text.replace(digit, end - digit, std::to_string(random.below(2) == 0 ? random.below(30) : random.bits()));
        }
        break;
      }
      case 4:
        if (at < text.size()) text[at] = static_cast<char>(random.bits());
        break;
      case 5:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random.below(8)));
        break;
      case 6:
        text.append(all[random.below(all.size())].substr(at % 8));
        break;
      default: {
        const std::size_t from = place();
        text.insert(at, text.substr(from, random.below(40)));
      }
    }
    if (text.size() >= 8 && random.below(3) != 0) {  // the length fits again, so that the JSON is reached
      const std::size_t close = text.rfind('}');
      const std::uint64_t length = close != text.npos && close >= 8 ? close - 7 : text.size() - 8;
      std::memcpy(text.data(), &length, 8);
    }
  }
  return text;
}

/// Every number of every tensor is touched, as a user would.
void read_everything(const SafetensorsFile& file) {
  double sum = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    for (const std::byte byte : file.bytes(tensor.name)) sum += static_cast<double>(byte);
    std::vector<float> numbers(static_cast<std::size_t>(tensor.elements()));
    try {
      file.read<float>(tensor.name, numbers);
    } catch (const Error& error) {
      if (error.id() != ErrorId::tensor_mismatch) throw;  // an integer type
    }
  }
  CHECK(sum >= 0);
}

}  // namespace

TEST_CASE("forty thousand damaged files either read or throw the safetensors error") {
  const std::vector<std::string> all = seeds();
  const test::TemporaryFolder folder;
  Random random(2026);
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 40'000; ++i) {
    const std::string text = mutated(all[random.below(all.size())], all, random);
    // A buffer of exactly this size, so that the address sanitizer sees a byte read past it.
    const std::vector<char> exact(text.begin(), text.end());
    try {
      const SafetensorsHeader header = parse_safetensors_header(std::as_bytes(std::span(exact)), "damaged");
      ++accepted;
      std::size_t covered = 0;
      for (const TensorInfo& tensor : header.tensors) {
        REQUIRE(tensor.begin == covered);
        REQUIRE(lorasb::io::shape_bytes(tensor.shape, tensor.dtype) == tensor.end - tensor.begin);
        covered = tensor.end;
      }
      REQUIRE(header.data_begin + covered == text.size());
      test::write_all(folder / "file", text);
      read_everything(SafetensorsFile(folder / "file"));
    } catch (const Error& error) {
      ++refused;
      if (error.id() != ErrorId::safetensors) FAIL("another error: " << error.what());
    } catch (const std::exception& error) {
      FAIL("not a lorasb::Error: " << error.what());
    }
  }
  CHECK(accepted > 500);    // the mutations reach past the first check,
  CHECK(refused > 20'000);  // and most do damage
}

TEST_CASE("every beginning of a file but the whole is refused") {
  for (const std::string& text : seeds())
    for (std::size_t size = 0; size < text.size(); ++size)
      CHECK_ERROR(parse(std::string_view(text).substr(0, size)), ErrorId::safetensors, "file: ");
}

TEST_CASE("types that other programs write beside F32 keep their bytes (candle 2875)") {
  for (const auto& [type, numbers, bytes] : std::vector<std::tuple<std::string, int, int>>{
           {"F8_E4M3FNUZ", 3, 3}, {"F8_E5M2FNUZ", 3, 3}, {"F4", 4, 2}, {"F6_E2M3", 8, 6}, {"F6_E3M2", 8, 6}}) {
    INFO(type);
    const SafetensorsHeader header = parse(lorasb::concat(R"({"w":{"dtype":")", type, R"(","shape":[)", numbers, R"(],"data_offsets":[0,)", bytes, "]}}"), std::size_t(bytes));
    CHECK(header.tensors[0].elements() == numbers);
    CHECK(name_of(header.tensors[0].dtype) == type);
  }
  CHECK_ERROR(parse(R"({"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2), ErrorId::safetensors, "no whole number of bytes");
}

TEST_CASE("metadata of null are none") { CHECK(parse(R"({"__metadata__":null})", 0).metadata.empty()); }

TEST_CASE("fields of a tensor that are not of the format are passed over, as safetensors 0.8 does, and bounded in depth") {
  for (const char* const field :
       {"1", "-1.5", "null", "true", "\"F64\"", "[1,[2,{}]]", R"({"dtype":"F64","shape":[9],"x":{"y":[]}})", R"(1,"new":2)"}) {
    INFO(field);
    const SafetensorsHeader header =
        parse(lorasb::concat(R"({"w":{"dtype":"F32","new":)", field,
                             R"(,"shape":[2],"data_offsets":[0,8]},"v":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})"),
              8);
    REQUIRE(header.tensors.size() == 2);
    CHECK(header.tensors[0].name == "w");
    CHECK(header.tensors[0].shape == std::vector<Index>{2});
    CHECK(header.tensors[0].dtype == lorasb::Dtype::f32);
  }
  const auto nested = [](int depth) {
    return lorasb::concat(R"({"w":{"new":)", std::string(std::size_t(depth), '['), std::string(std::size_t(depth), ']'),
                          R"(,"dtype":"F32","shape":[0],"data_offsets":[0,0]}})");
  };
  CHECK(parse(nested(100), 0).tensors.size() == 1);
  CHECK_ERROR(parse(nested(101), 0), ErrorId::safetensors, "deeper than 100");
  CHECK_ERROR(parse(R"({"w":{"new":1}})", 0), ErrorId::safetensors, "lacks its dtype");
}
