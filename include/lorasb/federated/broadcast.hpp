// The server's message that starts a round: the global values, checked by a client before it trains on them.
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
struct Broadcast {
  std::uint64_t round = 0;
  std::vector<S> values;  // in session.layout
};

/// The message, with further fields of the caller's. Throws ErrorId::shape when `values` do not fill the layout, and
/// ErrorId::value for text that is not UTF-8.
template <Real S>
Bytes encode_broadcast(const Session& session, std::uint64_t round, std::span<const S> values,
                       std::map<std::string, std::string> fields = {}) {
  fields["session"] = session.id;
  fields["round"] = std::to_string(round);
  fields["base"] = hex(session.base);
  return write_message<S>("model", std::move(fields), session.layout, values);
}

/// Checks all that a client must know before it trains: the message's lengths, session, frozen weights, round, tensors, and
/// that every value is finite. A pure function. `last_round` is the round of the broadcast that the client took before (0: none):
/// a round may come again, when it was abandoned, and rounds in which the client took no part may be missing, but none goes
/// back.
template <Real S>
Checked<Broadcast<S>> validate_broadcast(const Session& session, std::uint64_t last_round, std::span<const std::byte> bytes) {
  Checked<RawMessage> read = read_message(bytes, "model", largest_message<S>(session.layout));
  if (Rejection* const rejection = std::get_if<Rejection>(&read)) return std::move(*rejection);
  const RawMessage& message = std::get<RawMessage>(read);
  if (std::optional<Rejection> rejection = check_session_id(session, message)) return std::move(*rejection);
  if (std::optional<Rejection> rejection = check_base(session, message)) return std::move(*rejection);
  const std::optional<std::uint64_t> round = natural(message.field("round"));
  if (!round || *round == 0) return Rejection{Reason::malformed, "the model has no round"};
  if (*round < last_round)
    return Rejection{Reason::wrong_round, concat("the model is of round ", *round, ", after one of round ", last_round)};
  Checked<std::vector<S>> values = read_values<S>(message, session.layout);
  if (Rejection* const rejection = std::get_if<Rejection>(&values)) return std::move(*rejection);
  return Broadcast<S>{.round = *round, .values = std::get<std::vector<S>>(std::move(values))};
}

}  // namespace lorasb::federated
