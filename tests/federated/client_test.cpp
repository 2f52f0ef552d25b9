#include "lorasb/federated/client.hpp"

#include "lorasb/federated/in_process.hpp"
#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

TEST_CASE("Row 36: a client of a lower rank trains the leading block of each core, and the mask undoes the rest") {
  const ParameterLayout layout = small_session().layout;
  const std::vector<float> start = numbers(1);
  LeadingMask<float> mask(layout, 2, start), whole(layout, 0, start);
  std::vector<float> gradient = numbers(2), values = numbers(3);
  mask.mask(gradient);
  mask.restore(values);
  const auto in_block = [](std::size_t i) { return i >= 18 || (i % 9 / 3 < 2 && i % 3 < 2); };  // cores of 3 x 3, then a head
  for (std::size_t i = 0; i < 26; ++i) {
    CHECK(gradient[i] == (in_block(i) ? numbers(2)[i] : 0));
    CHECK(values[i] == (in_block(i) ? numbers(3)[i] : start[i]));
  }
  values = numbers(3);
  whole.restore(values);
  CHECK(values == numbers(3));
}

TEST_CASE("clients take a broadcast, train by the program's function, and their updates count at the server") {
  const std::vector<std::string> names{"a", "b", "c"};
  ClientWork<float> work{.train =
                             [](Index client, int, std::uint64_t round, std::span<float> values, LeadingMask<float>& mask) {
                               for (float& x : values) x += float(client + 1) * float(round);
                               mask.restore(values);
                               return client == 2 ? std::uint64_t(0) : std::uint64_t(client + 1);
                             },
                         .names = names,
                         .ranks = {0, 2, 0}};
  Clients<float> clients(small_session(), work);
  InProcessTransport transport(clients, 2);
  std::vector<float> start(26);
  Server<float> server(small_session(), start, names, {});
  const auto message = std::make_shared<const Bytes>(encode_broadcast<float>(small_session(), 1, server.global()));
  const RoundReport report = run_round(server, transport, message, 1e9);
  CHECK(report.clients == std::vector<Index>{0, 1});
  CHECK(report.rejected_for(Reason::no_data) == 1);
  CHECK(server.global()[0] == Approx((1 * 1 + 2 * 2) / 3.0));  // in the block of both
  CHECK(server.global()[8] == Approx(1 / 3.0));                // the second one did not train it
}

TEST_CASE("Row 37: a client refuses a message that is not of its session, and says why") {
  Clients<float> clients(small_session(), {.train = [](Index, int, std::uint64_t, std::span<float>, LeadingMask<float>&) {
                                             return std::uint64_t(1);
                                           },
                                           .names = {"a"}});
  Session other = small_session();
  other.id = "another";
  CHECK_ERROR(clients.begin(encode_broadcast<float>(other, 1, numbers(1))), ErrorId::value, "wrong_session");
  CHECK_ERROR(clients.begin(Bytes(10)), ErrorId::value, "malformed");
  CHECK_ERROR(Clients<float>(small_session(), {}), ErrorId::value, "no function that trains");
}
