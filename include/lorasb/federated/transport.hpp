// How a round's messages travel: the contract of an engine, the clients' side of it, and a round that runs over any of them.
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lorasb/federated/server.hpp"

namespace lorasb::federated {

/// A client's answer, or why there is none.
struct Delivery {
  Index client = 0;
  Bytes message;
  std::string failure;  // of the client's own work or of its machine; not empty: there is no message
};

/// Where clients live: in the server's process, or in another one. It holds what its clients share, the frozen model above
/// all, and what each of them keeps to itself.
class ClientHost {
 public:
  virtual ~ClientHost() = default;
  /// A round's message has arrived, also where no client of the host takes part. While it runs, nobody is in answer(). When it
  /// throws, the host refuses the message, and its clients fail.
  virtual void begin(std::span<const std::byte> message) = 0;
  /// The client's answer to that message. Called from several threads at once, with a different `slot` on each, 0 and up.
  /// What it throws is the failure of this client alone.
  virtual Bytes answer(Index client, int slot) = 0;
};

namespace detail {

/// What an exception of `work` says; empty when there is none.
template <class Work>
std::string failure_of(const Work& work) {
  try {
    work();
    return {};
  } catch (const std::exception& error) {
    return *error.what() != 0 ? error.what() : "an exception without words";
  } catch (...) {
    return "an exception of unknown type";
  }
}

}  // namespace detail

/// The server's end of an engine. Time is in seconds of a clock of its own that does not go back.
template <class T>
concept Transport = requires(T& transport, std::span<const Index> clients, std::shared_ptr<const Bytes> message,
                             double deadline_seconds) {
  { transport.now() } -> std::convertible_to<double>;
  // Brings the message to every host, and lets these clients answer it.
  {transport.ask(clients, message)};
  // The next answer, also a late one to an earlier message; nothing when all have answered or the deadline has passed.
  { transport.next(deadline_seconds) } -> std::same_as<std::optional<Delivery>>;
};

/// A transport that takes in no answer of more bytes, but a failure in its place; others leave the bound to the server.
template <class T>
concept BoundedTransport = Transport<T> && requires(T& transport, std::size_t bytes) {
  transport.bound_answers(bytes);
};

/// Brings `message` to the clients of the server's round, opens it, receives what comes until all have answered or
/// `timeout_seconds` have passed since, and closes it. A client that fails, or whose message there is no memory for, is one
/// that did not answer; the round goes on. When the transport itself throws, the round is abandoned.
template <Real S, Transport T>
RoundReport run_round(Server<S>& server, T& transport, std::shared_ptr<const Bytes> message, double timeout_seconds) {
  if constexpr (BoundedTransport<T>) transport.bound_answers(server.largest_message());
  transport.ask(server.selected(), std::move(message));  // it may wait for what the round before has left in work
  const double start = transport.now();
  server.open(start, start + timeout_seconds);
  std::vector<std::string> failures;
  try {
    while (std::optional<Delivery> delivery = transport.next(start + timeout_seconds)) {
      const std::string& client = server.clients().at(static_cast<std::size_t>(delivery->client));
      if (delivery->failure.empty()) {
        try {
          server.receive(delivery->message, client, transport.now());
        } catch (const std::bad_alloc&) {
          delivery->failure = "no memory for its message";
        }
      }
      if (!delivery->failure.empty()) failures.push_back(client + ": " + delivery->failure);
    }
    RoundReport report = server.close();
    report.failures = std::move(failures);
    return report;
  } catch (...) {
    server.abandon();
    throw;
  }
}

}  // namespace lorasb::federated
