// A client's contribution to a round, to bytes and back through every check that needs no other update.
#pragma once

#include <algorithm>
#include <variant>

#include "lorasb/federated/message.hpp"
#include "lorasb/federated/leading.hpp"
#include "lorasb/federated/session.hpp"

namespace lorasb::federated {

/// What a client trained in a round.
template <Real S>
struct Update {
  std::uint64_t round = 0;
  std::string client = {};
  std::uint64_t examples = 0;  // that it trained on: its weight, unless all clients weigh the same
  Index rank = 0;              // of the leading blocks of the cores that it trained; 0: all of them
  std::vector<S> values = {};       // in leading_layout(session.layout, rank)
  std::vector<std::uint64_t> experts = {};  // by expert of a mixture (session.experts): tokens or examples that trained it
};

namespace detail {

/// Numbers with spaces between them, and back; nothing for other words.
inline std::string expert_words(std::span<const std::uint64_t> experts) {
  std::string words;
  for (const std::uint64_t e : experts) words += concat(words.empty() ? "" : " ", e);
  return words;
}
inline std::optional<std::vector<std::uint64_t>> read_expert_words(std::string_view words) {
  std::vector<std::uint64_t> experts;
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    const std::optional<std::uint64_t> e = natural(words.substr(0, end));
    if (!e || end + 1 == words.size()) return std::nullopt;
    experts.push_back(*e);
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return experts;
}

}  // namespace detail

/// The message. Throws ErrorId::shape when `values` do not fill the layout, and ErrorId::value for names that are not UTF-8.
template <Real S>
Bytes encode_update(const Session& session, const Update<S>& update) {
  std::map<std::string, std::string> fields{{"session", session.id},
                                            {"round", std::to_string(update.round)},
                                            {"client", update.client},
                                            {"examples", std::to_string(update.examples)},
                                            {"rank", std::to_string(update.rank)},
                                            {"base", hex(session.base)}};
  if (!update.experts.empty()) fields.insert({"experts", detail::expert_words(update.experts)});
  return write_message<S>("update", std::move(fields), leading_layout(session.layout, update.rank), update.values);
}

/// Checks everything that depends on the session, the open round and the bytes alone; a pure function. First the container's
/// lengths, then what the message says of itself, then its tensors, then its values. Whether an update of an earlier round is
/// late or a replay is decided by Admission.
template <Real S>
Checked<Update<S>> validate_update(const Session& session, std::uint64_t open_round, std::span<const std::byte> bytes) {
  const auto reject = [](Reason reason, std::string text) { return Rejection{reason, std::move(text)}; };
  Checked<RawMessage> read = read_message(bytes, "update", largest_message<S>(session.layout, session.experts));
  if (Rejection* const rejection = std::get_if<Rejection>(&read)) return std::move(*rejection);
  const RawMessage& message = std::get<RawMessage>(read);
  if (std::optional<Rejection> rejection = check_session_id(session, message)) return std::move(*rejection);
  Update<S> update;
  const std::optional<std::uint64_t> round = natural(message.field("round"));
  const std::optional<std::uint64_t> rank = natural(message.field("rank"));
  if (!round || !rank) return reject(Reason::malformed, "the update has no round or no rank");
  update.round = *round;
  if (update.round > open_round)
    return reject(Reason::wrong_round, concat("the update is of round ", update.round, ", round ", open_round, " is open"));
  update.client = message.field("client");
  if (update.client.empty()) return reject(Reason::unknown_client, "the update names no client");
  if (std::optional<Rejection> rejection = check_base(session, message)) return std::move(*rejection);
  const std::optional<std::uint64_t> examples = natural(message.field("examples"));
  if (!examples || *examples > 0xffffffff)
    return reject(Reason::weight,
                  concat("the number of examples is ", in_quotes(message.field("examples")), ", expected 1 to 2^32 - 1"));
  if (*examples == 0) return reject(Reason::no_data, "the client has no examples");
  update.examples = *examples;
  std::optional<std::vector<std::uint64_t>> experts = detail::read_expert_words(message.field("experts"));
  if (!experts || std::ssize(*experts) != session.experts)
    return reject(Reason::schema, concat("the update weighs ", experts ? concat(experts->size()) : "no numbers of", " experts, expected ",
                                         session.experts));
  for (const std::uint64_t e : *experts)
    if (e > 0xffffffff) return reject(Reason::weight, concat("the weight of an expert is ", e, ", expected at most 2^32 - 1"));
  update.experts = std::move(*experts);
  Index largest = 0;
  for (const ParameterLayout::Tensor& t : session.layout.tensors())
    if (t.role == Role::core) largest = std::max(largest, t.rows);
  if (*rank > static_cast<std::uint64_t>(largest))
    return reject(Reason::schema, concat("the rank is ", *rank, ", above that of every core, ", largest));
  update.rank = static_cast<Index>(*rank);
  Checked<std::vector<S>> values = read_values<S>(message, leading_layout(session.layout, update.rank));
  if (Rejection* const rejection = std::get_if<Rejection>(&values)) return std::move(*rejection);
  update.values = std::get<std::vector<S>>(std::move(values));
  return update;
}

}  // namespace lorasb::federated
