#include "lorasb/federated/round_journal.hpp"

#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;

TEST_CASE("the record of a round comes back as it was, with a message or without") {
  for (const std::size_t size : {0, 1, 1000}) {
    for (const std::size_t state : {0, 5}) {
      const RoundRecord record{.line = R"({"accuracy":0.5,"round":3})",
                               .clients = {0, 4, 7},
                               .message = Bytes(size, std::byte{9}),
                               .state = Bytes(state, std::byte{7})};
      const RoundRecord back = decode_record(encode_record(record));
      CHECK(back.line == record.line);
      CHECK(back.clients == record.clients);
      CHECK(back.message == record.message);
      CHECK(back.state == record.state);
    }
  }
}

TEST_CASE("bytes that are no record of a round are refused") {
  const Bytes good = encode_record({.line = "{}", .clients = {1}, .message = {}});
  for (const std::size_t size : {std::size_t(0), std::size_t(7), std::size_t(8), good.size() - 1})
    CHECK_ERROR(decode_record(std::span(good).first(size)), ErrorId::journal, "no round");
  Bytes lying = good;
  lying[7] = std::byte{0xff};  // a length near 2^64
  CHECK_ERROR(decode_record(lying), ErrorId::journal, "no round");
  const auto record_of = [](std::string_view json, std::string_view rest) {
    Bytes bytes(8);
    bytes[0] = std::byte(json.size());
    for (const std::string_view text : {json, rest})
      for (const char c : text) bytes.push_back(std::byte(c));
    return bytes;
  };
  CHECK(decode_record(record_of(R"({"line": {}, "clients": [1], "state": 2})", "abc")).message.size() == 1);
  for (const char* json : {R"({"line": {}, "clients": [1], "state": 4})", R"({"line": {}, "clients": [1], "state": -1})",
                           R"({"line": {}, "clients": [1], "state": 1e300})", R"({"line": {}, "clients": [18446744073709551615]})"})
    CHECK_ERROR(decode_record(record_of(json, "abc")), ErrorId::journal, "no round");
  CHECK_ERROR(encode_record({.line = "not JSON", .clients = {}, .message = {}}), ErrorId::json, "the line of a round");
}
