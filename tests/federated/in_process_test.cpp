#include "lorasb/federated/in_process.hpp"

#include <atomic>

#include "engine_suite.hpp"

using namespace lorasb;
using namespace lorasb::federated;

namespace {

auto engine(int threads) {
  return [threads](ClientHost& host, const auto& body) {
    InProcessTransport transport(host, threads);
    body(transport);
  };
}

}  // namespace

TEST_CASE("Rows 33 and 39: a session in one process has the bits of one by hand, with any number of threads") {
  for (const int threads : {1, 2, 8}) test::check_same_bits(engine(threads));
}

TEST_CASE("Row 34: a client whose work throws is left out, and the round goes on") {
  for (const int threads : {1, 2}) test::check_failing_client(engine(threads));
}

TEST_CASE("Row 3: in one process an answer after the deadline is late, and counts in no round") {
  test::check_straggler(engine(2));
}

TEST_CASE("Row 37: a host that refuses the server's message answers for none of its clients") {
  for (const int threads : {1, 2}) test::check_refused_model(engine(threads));
}

TEST_CASE("Answers that nobody fetches hold the threads back") {
  struct Host : test::DrawingHost {
    std::atomic<int> answered = 0;
    void before_answer(Index, std::uint64_t) override { ++answered; }
  } host;
  InProcessTransport transport(host, 2);
  Server<float> server(test::small_session(), test::numbers(99), test::six_clients, {});
  const auto message = std::make_shared<const Bytes>(encode_broadcast(server.session(), 1, server.global()));
  std::vector<Index> many(1000, 3);
  transport.ask(many, message);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(host.answered <= 6);  // four that wait, and two in work when there was room
  int fetched = 0;
  while (transport.next(1e18)) ++fetched;
  CHECK(fetched == 1000);
  CHECK(host.answered == 1000);
}

TEST_CASE("Row 3: in one process clients that have not begun when the deadline passes are left out") {
  struct Host : test::DrawingHost {
    std::atomic<int> begun = 0;
    std::atomic<bool> released = false;
    void before_answer(Index, std::uint64_t) override {
      ++begun;
      begun.notify_all();
      released.wait(false);
    }
  } host;
  InProcessTransport transport(host, 1);
  const Session session = test::small_session();
  const auto message = std::make_shared<const Bytes>(encode_broadcast<float>(session, 1, test::numbers(99)));
  transport.ask(std::vector<Index>{3, 1, 4, 0, 5}, message);
  host.begun.wait(0);
  CHECK_FALSE(transport.next(transport.now()));  // the deadline
  host.released = true;
  host.released.notify_all();
  const std::optional<Delivery> late = transport.next(1e18);
  REQUIRE(late);
  CHECK(late->client == 3);
  CHECK_FALSE(transport.next(1e18));
  CHECK(host.begun == 1);
}

TEST_CASE("A transport that goes while clients wait is not held up by them") {
  test::DrawingHost host;
  Server<float> server(test::small_session(), test::numbers(99), test::six_clients, {});
  const auto message = std::make_shared<const Bytes>(encode_broadcast(server.session(), 1, server.global()));
  {
    InProcessTransport transport(host, 2);
    transport.ask(std::vector<Index>(1000, 3), message);
  }
  CHECK_THROWS_AS(InProcessTransport(host, 0), Error);
}
