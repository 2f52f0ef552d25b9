#include "lorasb/federated/counting_transport.hpp"

#include <vector>

#include "lorasb/federated/client.hpp"
#include "lorasb/federated/in_process.hpp"
#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

TEST_CASE("bytes that are no message are counted as sent, and break nothing") {
  struct Broken {
    std::vector<Bytes> messages;
    double now() const { return 0; }
    void ask(std::span<const Index>, std::shared_ptr<const Bytes>) {}
    std::optional<Delivery> next(double) {
      if (messages.empty()) return std::nullopt;
      Delivery delivery{.client = 0, .message = std::move(messages.back()), .failure = {}};
      if (delivery.message.size() == 3) delivery = {.client = 0, .message = {}, .failure = "no light"};
      messages.pop_back();
      return delivery;
    }
  };
  ParameterLayout layout;
  layout.add("q", Role::core, 2, 2);
  layout.add("classifier", Role::head_weight, 2, 3);
  const Bytes good = write_message<float>("update", {}, layout, std::vector<float>(10));
  Bytes lying = good;
  lying[0] = std::byte{0xff};
  Broken transport{.messages = {{}, Bytes(1), Bytes(100), Bytes(good.begin(), good.end() - 1), lying, Bytes(3), good}};
  std::vector<Index> answers;
  CountingTransport<Broken> counting(transport, layout, [&](Index so_far) { answers.push_back(so_far); });
  while (counting.next(1e9)) {
  }
  CHECK(answers == std::vector<Index>{1, 2, 3, 4, 5, 6, 7});
  CHECK(counting.messages() == 6);  // one client failed
  CHECK(counting.sent().all == 1 + 100 + 3 * good.size() - 1);
  CHECK(counting.sent().adapter == 4 * sizeof(float));  // of the good one
}

TEST_CASE("a round over a counting transport is the same round, and its bytes are those that the server received") {
  const std::vector<std::string> names{"a", "b"};
  const Session session = small_session();
  Clients<float> clients(session, {.train =
                                       [](Index client, int, std::uint64_t, std::span<float> values, LeadingMask<float>&) {
                                         for (float& x : values) x += float(client);
                                         return std::uint64_t(1);
                                       },
                                   .names = names});
  InProcessTransport transport(clients, 1);
  Server<float> server(session, std::vector<float>(26), names, {});
  CountingTransport counting(transport, session.layout);
  const auto message = std::make_shared<const Bytes>(encode_broadcast<float>(session, 1, server.global()));
  const RoundReport report = run_round(server, counting, message, 1e9);
  CHECK(report.accepted == 2);
  CHECK(server.global()[0] == 0.5f);
  CHECK(counting.sent().all == report.bytes_received);
  CHECK(counting.sent().adapter == 2 * 18 * sizeof(float));  // two cores of 3 x 3, each way but the head
}
