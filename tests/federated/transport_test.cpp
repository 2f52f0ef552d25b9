#include "lorasb/federated/transport.hpp"

#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using test::message_of, test::numbers, test::small_session;

namespace {

const std::vector<std::string> three_clients{"a", "b", "c"};

/// A transport whose clock goes on only when a message is handed over or an answer comes.
struct SteppedTransport {
  struct Answer {
    double at;  // seconds of this clock
    Delivery delivery;
  };
  double time = 1000;
  double asking_takes = 0;
  std::vector<Answer> answers;
  std::vector<Index> asked{};
  std::vector<double> deadlines{};  // of the calls of next()

  double now() const { return time; }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes>) {
    asked.assign(clients.begin(), clients.end());
    time += asking_takes;
  }
  std::optional<Delivery> next(double deadline_seconds) {
    deadlines.push_back(deadline_seconds);
    if (answers.empty()) return std::nullopt;
    time = answers.front().at;
    if (time > deadline_seconds) return std::nullopt;
    Delivery delivery = std::move(answers.front().delivery);
    answers.erase(answers.begin());
    if (delivery.failure == "the line is cut") throw std::runtime_error(delivery.failure);
    return delivery;
  }
};
static_assert(Transport<SteppedTransport>);

Delivery update(Index client, std::uint64_t seed) {
  return {.client = client, .message = message_of(three_clients[static_cast<std::size_t>(client)], seed), .failure = {}};
}

}  // namespace

TEST_CASE("Row 32: a round's time runs from when its message has been handed over, however long that took") {
  Server<float> server(small_session(), numbers(99), three_clients, {});
  // asked at 1000 s, begun at 1100 s, over at 1160 s; the third answer comes a second late
  SteppedTransport transport{.asking_takes = 100,
                             .answers = {{1150, update(0, 1)}, {1160, update(1, 2)}, {1161, update(2, 3)}}};
  const RoundReport report = run_round(server, transport, std::make_shared<const Bytes>(), 60);
  CHECK(report.committed);
  CHECK(report.clients == std::vector<Index>{0, 1});
  CHECK(transport.asked == std::vector<Index>{0, 1, 2});
  CHECK(transport.deadlines == std::vector<double>{1160, 1160, 1160});
}

TEST_CASE("Row 34: clients that fail are named in the report, beside those whose updates count") {
  Server<float> server(small_session(), numbers(99), three_clients, {});
  SteppedTransport transport{.answers = {{1001, {.client = 2, .message = {}, .failure = "no light"}}, {1002, update(0, 1)}}};
  const RoundReport report = run_round(server, transport, std::make_shared<const Bytes>(), 60);
  CHECK(report.clients == std::vector<Index>{0});
  CHECK(report.failures == std::vector<std::string>{"c: no light"});
  CHECK(report.messages == 1);
}

TEST_CASE("A transport that breaks down in a round leaves the round abandoned, and the next one may open") {
  Server<float> server(small_session(), numbers(99), three_clients, {});
  SteppedTransport transport{
      .answers = {{1001, update(0, 1)}, {1002, {.client = 1, .message = {}, .failure = "the line is cut"}}}};
  CHECK_THROWS_WITH(run_round(server, transport, std::make_shared<const Bytes>(), 60), "the line is cut");
  CHECK_FALSE(server.is_open());
  CHECK(server.round() == 1);
  CHECK(std::ranges::equal(server.global(), numbers(99)));
  transport.answers = {{1003, update(1, 2)}};
  CHECK(run_round(server, transport, std::make_shared<const Bytes>(), 60).clients == std::vector<Index>{1});
  CHECK(std::ranges::equal(server.global(), numbers(2)));
}
