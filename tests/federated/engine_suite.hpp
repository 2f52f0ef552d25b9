// What every engine must do: one suite, run over the in-process engine with one and two threads, and over MPI with 2 to 4
// ranks.
//
// An engine here is a function run(host, body): it calls body(transport) where the server is, lets `host` answer wherever
// clients live, and returns when both are done. On ranks without the server body is not called, so checks stand inside it.
#pragma once

#include <chrono>
#include <thread>

#include "lorasb/federated/broadcast.hpp"
#include "lorasb/federated/transport.hpp"
#include "small_session.hpp"

namespace lorasb::test {

inline const std::vector<std::string> six_clients{"a", "b", "c", "d", "e", "f"};

/// Clients that move every global number by a draw of their own; client c has 10 c + 1 examples.
class DrawingHost : public federated::ClientHost {
 public:
  void begin(std::span<const std::byte> message) override {
    auto found = federated::validate_broadcast<float>(session_, model_.round, message);
    if (const auto* refusal = std::get_if<federated::Rejection>(&found)) throw std::runtime_error(refusal->text);
    model_ = std::get<federated::Broadcast<float>>(std::move(found));
  }
  federated::Bytes answer(Index client, int) override {
    before_answer(client, model_.round);
    Random random(model_.round, static_cast<std::uint64_t>(client));
    std::vector<float> values = model_.values;
    for (float& x : values) x += static_cast<float>(random.normal());
    return federated::encode_update<float>(session_, {.round = model_.round,
                                                      .client = six_clients[static_cast<std::size_t>(client)],
                                                      .examples = static_cast<std::uint64_t>(10 * client + 1),
                                                      .rank = 0,
                                                      .values = std::move(values)});
  }

 protected:
  virtual void before_answer(Index, std::uint64_t) {}

 private:
  federated::Session session_ = small_session();
  federated::Broadcast<float> model_;
};

template <class Transport>
federated::RoundReport next_round(federated::Server<float>& server, Transport& transport, double timeout_seconds = 1e9) {
  const auto message =
      std::make_shared<const federated::Bytes>(federated::encode_broadcast(server.session(), server.round(), server.global()));
  return federated::run_round(server, transport, message, timeout_seconds);
}

/// The global numbers after four rounds over half of the clients each, computed with no engine at all.
inline std::vector<float> four_rounds_by_hand() {
  federated::Server<float> server(small_session(), numbers(99), six_clients, {.participation = 0.5, .seed = 5});
  DrawingHost host;
  for (int round = 0; round < 4; ++round) {
    host.begin(federated::encode_broadcast(server.session(), server.round(), server.global()));
    server.open(0, 1);
    for (const Index client : server.selected())
      server.receive(host.answer(client, 0), six_clients[static_cast<std::size_t>(client)], 0);
    server.close();
  }
  return {server.global().begin(), server.global().end()};
}

template <class Engine>
void check_same_bits(const Engine& run) {
  DrawingHost host;
  run(host, [](auto& transport) {
    federated::Server<float> server(small_session(), numbers(99), six_clients, {.participation = 0.5, .seed = 5});
    for (std::uint64_t round = 1; round <= 4; ++round) {
      const federated::RoundReport report = next_round(server, transport);
      CHECK(report.committed);
      CHECK(report.round == round);
      CHECK(report.accepted == 3);
      CHECK(report.failures.empty());
    }
    CHECK(std::ranges::equal(server.global(), four_rounds_by_hand()));
  });
}

template <class Engine>
void check_failing_client(const Engine& run) {
  struct Host : DrawingHost {
    void before_answer(Index client, std::uint64_t round) override {
      if (client == 2 && round == 1) throw std::runtime_error("no light");
      if (client == 3 && round == 1) throw std::bad_alloc();
    }
  } host;
  run(host, [](auto& transport) {
    federated::Server<float> server(small_session(), numbers(99), six_clients, {});
    federated::RoundReport report = next_round(server, transport);
    CHECK(report.committed);
    CHECK(report.clients == std::vector<Index>{0, 1, 4, 5});
    REQUIRE(report.failures.size() == 2);
    std::ranges::sort(report.failures);
    CHECK(report.failures[0] == "c: no light");
    CHECK(report.failures[1].starts_with("d: "));
    CHECK(next_round(server, transport).accepted == 6);
  });
}

/// The straggler's answer comes after the round was closed, in the next one.
template <class Engine>
void check_straggler(const Engine& run) {
  struct Host : DrawingHost {
    void before_answer(Index client, std::uint64_t round) override {
      if (client == 5 && round == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    }
  } host;
  run(host, [](auto& transport) {
    federated::Server<float> server(small_session(), numbers(99), six_clients, {});
    const federated::RoundReport first = next_round(server, transport, 0.5);
    CHECK(first.committed);
    CHECK(std::ranges::find(first.clients, 5) == first.clients.end());
    const std::vector<float> after_first(server.global().begin(), server.global().end());
    const federated::RoundReport second = next_round(server, transport);
    CHECK(second.rejected_for(federated::Reason::late_round) >= 1);
    CHECK(second.accepted == 6);
    CHECK_FALSE(std::ranges::equal(server.global(), after_first));
  });
}

/// A host that refuses a message answers for none of its clients, and the next message is a new start.
template <class Engine>
void check_refused_model(const Engine& run) {
  DrawingHost host;
  run(host, [](auto& transport) {
    federated::Server<float> server(small_session(), numbers(99), six_clients, {});
    const auto nonsense = std::make_shared<const federated::Bytes>(100);
    const federated::RoundReport report = federated::run_round(server, transport, nonsense, 1e9);
    CHECK_FALSE(report.committed);
    CHECK(report.accepted == 0);
    CHECK(report.failures.size() == 6);
    CHECK(next_round(server, transport).accepted == 6);
  });
}

}  // namespace lorasb::test
