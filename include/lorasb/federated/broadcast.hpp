// The server's message that starts a round: the global numbers, checked by a client before it trains on them.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lorasb/federated/message.hpp"
#include "lorasb/federated/session.hpp"

namespace lorasb::federated {

/// What a client starts a round from.
template <Real S>
struct Model {
  std::uint64_t round = 0;
  std::vector<S> values;  // in session.layout
};

/// The message, with further fields of the caller's. Throws ErrorId::shape when `values` do not fill the layout, and
/// ErrorId::value for text that is not UTF-8.
template <Real S>
Bytes encode_model(const Session& session, std::uint64_t round, std::span<const S> values,
                   std::map<std::string, std::string> fields = {}) {
  fields["session"] = session.id;
  fields["round"] = std::to_string(round);
  fields["base"] = hex(session.base);
  return write_message<S>("model", std::move(fields), session.layout, values);
}

/// Checks all that a client must know before it trains: the message's lengths, session, frozen numbers, round, tensors, and
/// that every number is finite. A pure function. `last_round` is the round of the model that the client took before (0: none):
/// a round may come again, when it was abandoned, and rounds in which the client took no part may be missing, but none goes
/// back.
template <Real S>
std::variant<Model<S>, Refusal> validate_model(const Session& session, std::uint64_t last_round,
                                               std::span<const std::byte> bytes) {
  try {
    const RawMessage message = read_message(bytes, "model", static_cast<std::size_t>(session.layout.size()) * sizeof(S));
    require_session_id(session, message);
    require_base(session, message);
    const std::optional<std::uint64_t> round = natural(message.field("round"));
    if (!round || *round == 0) throw Refusal{Rejection::malformed, "the model has no round"};
    if (*round < last_round)
      throw Refusal{Rejection::wrong_round, concat("the model is of round ", *round, ", after one of round ", last_round)};
    return Model<S>{.round = *round, .values = read_values<S>(message, session.layout)};
  } catch (const Refusal& refusal) {
    return refusal;
  }
}

}  // namespace lorasb::federated
