// The record of a round in a journal, and going on from a journal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
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
};

/// Eight bytes of length (the lowest first), {"clients": [...], "line": ...} as JSON of that length, the message. Throws
/// ErrorId::json for a line that is no JSON.
inline Bytes encode_record(const RoundRecord& record) {
  const nlohmann::json line = io::parse_json(record.line, "the line of a round");
  const std::string text = nlohmann::json{{"line", line}, {"clients", record.clients}}.dump();
  Bytes bytes(8 + text.size() + record.message.size());
  auto place = std::ranges::copy(little_endian(text.size()), bytes.begin()).out;
  place = std::ranges::copy(std::as_bytes(std::span(text)), place).out;
  std::ranges::copy(record.message, place);
  return bytes;
}

/// Throws ErrorId::journal for bytes that are no such record.
inline RoundRecord decode_record(std::span<const std::byte> bytes) {
  const auto check = [](bool good) { require(good, ErrorId::journal, "the journal has a record that is no round"); };
  check(bytes.size() >= 8);
  const std::uint64_t size = from_little_endian(bytes.first<8>());
  check(size <= bytes.size() - 8);
  const std::span<const std::byte> text = bytes.subspan(8, size), message = bytes.subspan(8 + size);
  const auto* const begin = reinterpret_cast<const char*>(text.data());
  const nlohmann::json json = nlohmann::json::parse(begin, begin + text.size(), nullptr, false);
  check(json.is_object() && json.contains("line") && json.contains("clients") && json["clients"].is_array());
  RoundRecord record{.line = json["line"].dump(), .clients = {}, .message = {message.begin(), message.end()}};
  for (const nlohmann::json& client : json["clients"]) {
    check(client.is_number_integer());
    record.clients.push_back(client.get<Index>());
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
