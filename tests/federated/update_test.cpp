#include "lorasb/federated/update.hpp"

#include <algorithm>

#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using test::message_of, test::small_session, test::update_of;

namespace {

Reason rejection_of(const Session& session, std::span<const std::byte> bytes, std::uint64_t open_round = 1) {
  const std::variant<Update<float>, Rejection> result = validate_update<float>(session, open_round, bytes);
  REQUIRE(std::holds_alternative<Rejection>(result));
  INFO(std::get<Rejection>(result).text);
  CHECK_FALSE(std::get<Rejection>(result).text.empty());
  return std::get<Rejection>(result).reason;
}

/// The message with one text in its header replaced by another of the same length.
std::vector<std::byte> replaced(std::vector<std::byte> bytes, std::string_view from, std::string_view to) {
  REQUIRE(from.size() == to.size());
  const auto raw = std::as_bytes(std::span(from));
  const auto place = std::search(bytes.begin(), bytes.end(), raw.begin(), raw.end());
  REQUIRE(place != bytes.end());
  std::ranges::copy(std::as_bytes(std::span(to)), place);
  return bytes;
}

std::vector<std::byte> with_layout(const ParameterLayout& layout) {
  Session session = small_session();
  session.layout = layout;
  Update<float> update = update_of("a", 1);
  update.values.assign(static_cast<std::size_t>(layout.size()), 1.0f);
  return encode_update(session, update);
}

}  // namespace

TEST_CASE("An update comes back from its bytes as it was, bit for bit") {
  const Update<float> sent = update_of("client é", 3, 4294967295, 7);
  const std::vector<std::byte> bytes = encode_update(small_session(), sent);
  const auto result = validate_update<float>(small_session(), 7, bytes);
  REQUIRE(std::holds_alternative<Update<float>>(result));
  const Update<float>& received = std::get<Update<float>>(result);
  CHECK(received.client == sent.client);
  CHECK(received.round == 7);
  CHECK(received.examples == 4294967295);
  CHECK(received.values == sent.values);
  CHECK(encode_update(small_session(), received) == bytes);
}

TEST_CASE("Row 7: an update of a round to come is refused as of a wrong round") {
  CHECK(rejection_of(small_session(), message_of("a", 1, 10, 3), 2) == Reason::wrong_round);
  Session other = small_session();
  other.id = "another";
  CHECK(rejection_of(other, message_of("a", 1)) == Reason::wrong_session);
}

TEST_CASE("Row 8: an update that was trained on other frozen numbers is refused, whichever of them differs") {
  const auto refused = [](const AdapterBases<float>& bases) {
    Session session = small_session();
    session.base = base_digest(bases);
    return rejection_of(session, message_of("a", 1)) == Reason::base_hash_mismatch;
  };
  CHECK(refused(test::small_bases(2)));
  AdapterBases<float> changed = test::small_bases();
  changed.at("v").scale = 2;
  CHECK(refused(changed));
  changed = test::small_bases();
  changed.at("q").B(5, 2) = std::nextafter(changed.at("q").B(5, 2), 9.0f);
  CHECK(refused(changed));
  changed = test::small_bases();
  changed.at("v").A(0, 0) += 1;
  CHECK(refused(changed));
  AdapterBases<float> renamed;
  renamed.add("q", test::small_bases().at("q"));
  renamed.add("w", test::small_bases().at("v"));
  CHECK(refused(renamed));
}

TEST_CASE("Row 9: a missing, additional or differently shaped tensor, another type, rank or version are refused whole") {
  ParameterLayout missing;
  missing.add("q", Role::core, 3, 3);
  missing.add("classifier.weight", 2, 4);
  CHECK(rejection_of(small_session(), with_layout(missing)) == Reason::schema);
  ParameterLayout more = small_session().layout;
  more.add("x", 1, 1);
  CHECK(rejection_of(small_session(), with_layout(more)) == Reason::schema);
  ParameterLayout renamed = missing;
  renamed.add("w", Role::core, 3, 3);
  CHECK(rejection_of(small_session(), with_layout(renamed)) == Reason::schema);
  ParameterLayout turned = missing;
  turned.add("v.R", 1, 9);
  CHECK(rejection_of(small_session(), with_layout(turned)) == Reason::schema);
  ParameterLayout smaller = missing;
  smaller.add("v.R", 2, 2);
  CHECK(rejection_of(small_session(), with_layout(smaller)) == Reason::schema);

  Update<double> doubles{.round = 1, .client = "a", .examples = 1, .rank = 0, .values = std::vector<double>(26, 1.0)};
  CHECK(rejection_of(small_session(), encode_update(small_session(), doubles)) == Reason::schema);
  CHECK(rejection_of(small_session(), replaced(message_of("a", 1), "\"rank\":\"0\"", "\"rank\":\"4\"")) == Reason::schema);
  CHECK(rejection_of(small_session(), replaced(message_of("a", 1), "\"version\":\"1\"", "\"version\":\"2\"")) ==
        Reason::version);
}

TEST_CASE("Row 10: cut, lengthened, oversize and lying messages are malformed, and no flipped bit breaks anything") {
  const Session session = small_session();
  const std::vector<std::byte> good = message_of("a", 1);
  for (std::size_t length = 0; length < good.size(); ++length)
    CHECK(rejection_of(session, std::span(good).first(length)) == Reason::malformed);
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  CHECK(rejection_of(session, longer) == Reason::malformed);
  CHECK(rejection_of(session, std::vector<std::byte>(std::size_t{2} << 20)) == Reason::malformed);
  std::vector<std::byte> lying = good;
  for (std::size_t i = 0; i < 8; ++i) lying[i] = std::byte{0xff};  // a header of 2^64 - 1 bytes
  CHECK(rejection_of(session, lying) == Reason::malformed);
  CHECK(rejection_of(session, replaced(good, "[32,68]", "[32,99]")) == Reason::malformed);
  for (std::size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> flipped = good;
      flipped[i] ^= std::byte(1 << bit);
      (void)validate_update<float>(session, 1, flipped);  // refused, or another finite number: the sanitizers watch
    }
}

TEST_CASE("Row 11: NaN and infinity are refused in every tensor") {
  for (const std::size_t place : {std::size_t{0}, std::size_t{10}, std::size_t{25}})
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      Update<float> update = update_of("a", 1);
      update.values[place] = bad;
      CHECK(rejection_of(small_session(), encode_update(small_session(), update)) == Reason::non_finite);
    }
}

TEST_CASE("Row 14: a number of examples that is missing, signed, broken or above 32 bits is no weight") {
  const auto with = [](std::string_view text) {
    return rejection_of(small_session(), replaced(message_of("a", 1, 1234567890), "\"1234567890\"", text));
  };
  CHECK(with("\"4294967296\"") == Reason::weight);
  CHECK(with("\"-000000001\"") == Reason::weight);
  CHECK(with("\"0000000001\"") == Reason::weight);
  CHECK(with("\"12345678.0\"") == Reason::weight);
  CHECK(with("\" 234567890\"") == Reason::weight);
  CHECK(with("\"          \"") == Reason::weight);
  CHECK(rejection_of(small_session(), replaced(message_of("a", 1), "\"examples\"", "\"exbmples\"")) == Reason::weight);
}

TEST_CASE("Row 35: a client without examples is refused as without data") {
  CHECK(rejection_of(small_session(), message_of("a", 1, 0)) == Reason::no_data);
}

TEST_CASE("Row 36: a lower rank is sent as leading blocks, and smaller by as much") {
  Update<float> update = update_of("a", 1);
  update.rank = 2;
  update.values.resize(4 + 4 + 8);
  load_leading<float>(small_session().layout, 2, test::numbers(1), update.values);
  const std::vector<std::byte> bytes = encode_update(small_session(), update);
  const auto result = validate_update<float>(small_session(), 1, bytes);
  REQUIRE(std::holds_alternative<Update<float>>(result));
  CHECK(std::get<Update<float>>(result).values == update.values);
  CHECK(std::get<Update<float>>(result).rank == 2);
  std::vector<float> whole(26, 0.0f);
  store_leading<float>(small_session().layout, 2, update.values, whole);
  const std::vector<float> all = test::numbers(1);
  CHECK(whole[0] == all[0]);
  CHECK(whole[4] == all[4]);  // row 1, column 1
  CHECK(whole[2] == 0);       // row 0, column 2: beyond the block
  CHECK(whole[9 + 3] == all[9 + 3]);
  CHECK(std::equal(whole.begin() + 18, whole.end(), all.begin() + 18));
  CHECK(rejection_of(small_session(), replaced(bytes, "\"rank\":\"2\"", "\"rank\":\"1\"")) == Reason::schema);
}

TEST_CASE("the bound of a message follows from its layout: many long names are admitted, a byte more than the largest is not") {
  Session session = small_session();
  session.layout = {};
  for (int i = 0; i < 3000; ++i) session.layout.add(concat("layer.", i, std::string(400, 'n'), "\"\x01"), 1, 1);
  Update<float> update = update_of("a", 1);
  update.values.assign(3000, 1.0f);
  std::vector<std::byte> bytes = encode_update(session, update);
  REQUIRE(bytes.size() > 3000 * sizeof(float) + (1 << 20));  // names take more than a megabyte
  CHECK(std::holds_alternative<Update<float>>(validate_update<float>(session, 1, bytes)));
  const std::size_t most = largest_message<float>(session.layout);
  CHECK(bytes.size() <= most);
  bytes.resize(most + 1);
  const auto result = validate_update<float>(session, 1, bytes);
  REQUIRE(std::holds_alternative<Rejection>(result));
  CHECK(std::get<Rejection>(result).text == concat("the message has ", most + 1, " bytes, expected at most ", most));
  CHECK(largest_message<float>(small_session().layout) < 100'000);  // of a small layout: no megabyte
  // the fields and the names as long as they can be
  Session longest = small_session();
  longest.id = std::string(1000, '\x01');
  Update<float> wide = update_of(std::string(1000, '\x02'), 1, 4294967295);
  CHECK(encode_update(longest, wide).size() <= largest_message<float>(longest.layout));
}
