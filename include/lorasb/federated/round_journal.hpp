// The record of a round in a journal, and going on from a journal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/little_endian.hpp"
#include "lorasb/federated/message.hpp"
#include "lorasb/federated/server.hpp"
#include "lorasb/io/journal.hpp"
#include "lorasb/io/json.hpp"

namespace lorasb::federated {

/// What a restart needs of a round.
struct RoundRecord {
  std::string line = {};            // JSON of the program's own: what it reports of the round
  std::vector<Index> clients = {};  // that counted
  Bytes message = {};               // that starts the next round; empty: the round was abandoned
  Bytes state = {};                 // of the server's optimizer after the round; mostly empty
};

/// Eight bytes of length (the lowest first), {"clients": [...], "line": ...} as JSON of that length, the message. A state stands behind
/// the message, and its bytes in the JSON as "state". Throws ErrorId::json for a line that is no JSON.
inline Bytes encode_record(const RoundRecord& record) {
  const nlohmann::json line = io::parse_json(record.line, "the line of a round");
  nlohmann::json json{{"line", line}, {"clients", record.clients}};
  if (!record.state.empty()) json["state"] = record.state.size();
  const std::string text = json.dump();
  Bytes bytes(8 + text.size() + record.message.size() + record.state.size());
  auto place = std::ranges::copy(little_endian(text.size()), bytes.begin()).out;
  place = std::ranges::copy(std::as_bytes(std::span(text)), place).out;
  place = std::ranges::copy(record.message, place).out;
  std::ranges::copy(record.state, place);
  return bytes;
}

/// Throws ErrorId::journal for bytes that are no such record.
inline RoundRecord decode_record(std::span<const std::byte> bytes) {
  const auto check = [](bool good) { require(good, ErrorId::journal, "the journal has a record that is no round"); };
  check(bytes.size() >= 8);
  const std::uint64_t size = from_little_endian(bytes.first<8>());
  check(size <= bytes.size() - 8);
  const std::span<const std::byte> text = bytes.subspan(8, size), rest = bytes.subspan(8 + size);
  const auto* const begin = reinterpret_cast<const char*>(text.data());
  const nlohmann::json json = nlohmann::json::parse(begin, begin + text.size(), nullptr, false);
  check(json.is_object() && json.contains("line") && json.contains("clients") && json["clients"].is_array());
  const std::optional<Index> state = json.contains("state") ? io::json_integer(json["state"]) : 0;
  check(state && *state >= 0 && *state <= std::ssize(rest));
  const auto message_end = rest.end() - *state;
  RoundRecord record{.line = json["line"].dump(), .clients = {}, .message = {rest.begin(), message_end}, .state = {message_end, rest.end()}};
  for (const nlohmann::json& client : json["clients"]) {
    const std::optional<Index> number = io::json_integer(client);
    check(number.has_value());
    record.clients.push_back(*number);
  }
  return record;
}

/// Puts a server where the journal's last round left it. `take(record)` is called for every round in its order; for a committed
/// one it takes the message over wherever the program keeps the model, and returns the global values after the round, which must
/// stay valid until the next call. Returns how many rounds there were. Throws ErrorId::journal, and what Server::replay throws.
template <Real S>
std::size_t resume_from(const io::Journal& journal, Server<S>& server,
                        const std::function<std::span<const S>(const RoundRecord&)>& take) {
  journal.replay([&](std::span<const std::byte> bytes) {
    const RoundRecord record = decode_record(bytes);
    const std::span<const S> global = take(record);
    if (record.message.empty())
      server.replay_abandoned();
    else
      server.replay(server.round(), global, record.clients);
  });
  return journal.size();
}

}  // namespace lorasb::federated
