#include "lorasb/federated/broadcast.hpp"

#include <cstring>
#include <limits>

#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using test::numbers, test::small_session;

namespace {

std::optional<Reason> reason(const Session& session, std::uint64_t last_round, std::span<const std::byte> bytes) {
  const auto found = validate_broadcast<float>(session, last_round, bytes);
  if (const Rejection* refusal = std::get_if<Rejection>(&found)) return refusal->reason;
  return std::nullopt;
}
std::vector<std::byte> model(std::uint64_t round = 3) { return encode_broadcast<float>(small_session(), round, numbers(1)); }

}  // namespace

TEST_CASE("A model comes back bit for bit, with fields of the caller's beside it") {
  const auto bytes = encode_broadcast<float>(small_session(), 3, numbers(1), {{"participants", "7"}});
  const auto found = validate_broadcast<float>(small_session(), 2, bytes);
  REQUIRE(std::holds_alternative<Broadcast<float>>(found));
  CHECK(std::get<Broadcast<float>>(found).round == 3);
  CHECK(std::get<Broadcast<float>>(found).values == numbers(1));
  CHECK(std::get<RawMessage>(read_message(bytes, "model", 1000)).field("participants") == "7");
}

TEST_CASE("Row 37: a client refuses a model of another session, base, shape or type, or with numbers that are not finite") {
  const Session session = small_session();
  CHECK_FALSE(reason(session, 0, model()));

  Session other = session;
  other.id = "another";
  CHECK(reason(other, 0, model()) == Reason::wrong_session);
  other = session;
  other.base[7] ^= std::byte(1);
  CHECK(reason(other, 0, model()) == Reason::base_hash_mismatch);
  other = session;
  other.layout.add("k", Role::core, 3, 3);
  CHECK(reason(other, 0, model()) == Reason::schema);
  ParameterLayout layout;
  layout.add("q", Role::core, 3, 3);
  layout.add("v", Role::core, 3, 3);
  layout.add("classifier.weight", 4, 2);
  other.layout = layout;
  CHECK(reason(other, 0, model()) == Reason::schema);
  CHECK(std::holds_alternative<Rejection>(validate_broadcast<double>(session, 0, model())));

  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = numbers(1);
    values.back() = bad;
    CHECK(reason(session, 0, encode_broadcast<float>(session, 3, values)) == Reason::non_finite);
  }
}

TEST_CASE("Row 37: no prefix of a model, and no model with more behind it, is taken for one") {
  const std::vector<std::byte> whole = model();
  for (std::size_t n = 0; n < whole.size(); ++n)
    CHECK(reason(small_session(), 0, std::span(whole).first(n)) == Reason::malformed);
  std::vector<std::byte> longer = whole;
  longer.push_back(std::byte(0));
  CHECK(reason(small_session(), 0, longer) == Reason::malformed);
  CHECK(reason(small_session(), 0, test::message_of("a", 1)) == Reason::malformed);  // an update is no model
}

TEST_CASE("Row 38: rounds of a model may come again or be missed, but do not go back or overflow") {
  CHECK_FALSE(reason(small_session(), 3, model(3)));
  CHECK_FALSE(reason(small_session(), 1, model(3)));
  CHECK(reason(small_session(), 4, model(3)) == Reason::wrong_round);
  CHECK(reason(small_session(), 0, model(0)) == Reason::malformed);
  Session session = small_session();
  for (const char* round : {"18446744073709551616", "-1", "3.0", "", " 3", "03"}) {
    const auto bytes = write_message<float>("model", {{"session", session.id}, {"round", round}, {"base", hex(session.base)}},
                                            session.layout, numbers(1));
    CHECK(reason(session, 0, bytes) == Reason::malformed);
  }
}
