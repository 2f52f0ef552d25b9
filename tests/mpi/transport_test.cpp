#include "lorasb/mpi/transport.hpp"

#include "federated/engine_suite.hpp"

using namespace lorasb;

namespace {

int rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int ranks() {
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  return ranks;
}

/// The engine of the suite; with one rank there is none.
void engine(federated::ClientHost& host, const auto& body) {
  if (ranks() < 2) return;
  if (rank() > 0) return mpi::serve(MPI_COMM_WORLD, host);
  mpi::MpiTransport transport(MPI_COMM_WORLD);
  body(transport);
}
constexpr auto run = [](federated::ClientHost& host, const auto& body) { engine(host, body); };

}  // namespace

TEST_CASE("Row 39: a session over MPI has the bits of one by hand, with any number of ranks") { test::check_same_bits(run); }

TEST_CASE("Row 34: over MPI a client whose work throws is left out, and the round goes on") { test::check_failing_client(run); }

TEST_CASE("Row 3: over MPI an answer after the deadline is late, and counts in no round") { test::check_straggler(run); }

TEST_CASE("Row 37: a rank that refuses the server's message answers for none of its clients") {
  test::check_refused_model(run);
}

TEST_CASE("Row 3: a rank leaves out the clients of a round that have not begun when the next one is asked for") {
  constexpr int tag = 7;  // of this test's own words, beside the transport's
  struct Host : test::DrawingHost {
    int begun = 0;  // of round 1
    void before_answer(Index, std::uint64_t round) override {
      if (round > 1 || begun++ > 0) return;
      MPI_Send(nullptr, 0, MPI_BYTE, 0, tag, MPI_COMM_WORLD);
      MPI_Recv(nullptr, 0, MPI_BYTE, 0, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);  // until the server has asked again
    }
  } host;
  engine(host, [](auto& transport) {
    const auto ask = [&](std::uint64_t round) {
      transport.ask(std::vector<Index>{0, 1, 2, 3, 4, 5},
                    std::make_shared<const federated::Bytes>(
                        federated::encode_broadcast<float>(test::small_session(), round, test::numbers(99))));
    };
    ask(1);
    for (int r = 1; r < ranks(); ++r) MPI_Recv(nullptr, 0, MPI_BYTE, r, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    ask(2);
    for (int r = 1; r < ranks(); ++r) MPI_Send(nullptr, 0, MPI_BYTE, r, tag, MPI_COMM_WORLD);
    int answers = 0;
    while (transport.next(1e18)) ++answers;
    CHECK(answers == 6 + ranks() - 1);  // all of round 2, and one of each rank that had begun with round 1
  });
  if (rank() > 0) CHECK(host.begun == 1);
}

TEST_CASE("The server's end is on rank 0 of several only") {
  if (rank() > 0 || ranks() == 1) CHECK_THROWS_AS(mpi::MpiTransport(MPI_COMM_WORLD), Error);
}

TEST_CASE("A transport that goes while answers are on their way lets all ranks go") {
  struct Host : test::DrawingHost {
    void before_answer(Index, std::uint64_t) override { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }
  } host;
  engine(host, [](auto& transport) {
    federated::Server<float> server(test::small_session(), test::numbers(99), test::six_clients, {});
    const auto message =
        std::make_shared<const federated::Bytes>(federated::encode_broadcast(server.session(), 1, server.global()));
    transport.ask(std::vector<Index>{0, 1, 2, 3, 4, 5}, message);
  });
}

TEST_CASE("a rank that does not answer at the end is named after a bounded wait (NVFlare 5220)") {
  if (ranks() < 2) return;
  constexpr int tag = 8;
  if (rank() > 0) {
    struct Host : federated::ClientHost {
      void begin(std::span<const std::byte>) override {}
      federated::Bytes answer(Index, int) override { return {}; }
    } host;
    if (rank() == 1) {  // hangs before it serves, until rank 0 has waited
      MPI_Comm own;
      MPI_Comm_dup(MPI_COMM_WORLD, &own);
      MPI_Recv(nullptr, 0, MPI_BYTE, 0, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      MPI_Recv(nullptr, 0, MPI_BYTE, 0, MPI_ANY_TAG, own, MPI_STATUS_IGNORE);  // the stop
      MPI_Send(nullptr, 0, MPI_BYTE, 0, mpi::detail::stop_tag, own);
      MPI_Comm_free(&own);
    } else {
      mpi::serve(MPI_COMM_WORLD, host);
    }
    return;
  }
  mpi::MpiTransport transport(MPI_COMM_WORLD);
  CHECK(transport.close(2) == std::vector<int>{1});
  MPI_Send(nullptr, 0, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
  CHECK(transport.close(60).empty());
}

TEST_CASE("an answer larger than the layout allows is not taken in, its client has failed, and the round goes on") {
  struct Host : test::DrawingHost {
    federated::Bytes answer(Index client, int slot) override {
      if (client != 2) return DrawingHost::answer(client, slot);
      return federated::Bytes(std::size_t{5} << 20, std::byte{'x'});
    }
  } host;
  engine(host, [](auto& transport) {
    federated::Server<float> server(test::small_session(), test::numbers(99), test::six_clients, {});
    const auto message =
        std::make_shared<const federated::Bytes>(federated::encode_broadcast(server.session(), 1, server.global()));
    const federated::RoundReport report = federated::run_round(server, transport, message, 60);
    CHECK(report.accepted == 5);
    CHECK(report.bytes_received < 100'000);
    REQUIRE(report.failures.size() == 1);
    CHECK(report.failures[0].find(concat(": its answer has 5242880 bytes, expected at most ", server.largest_message())) !=
          std::string::npos);
  });
}
