#include "lorasb/federated/noised_aggregator.hpp"

#include <cmath>

#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

const std::vector<std::string> four{"a", "b", "c", "d"};
using Noised = NoisedAggregator<float>;

/// The values after one round of these updates, with as good as no noise.
std::vector<float> after(const std::vector<std::vector<std::byte>>& messages, const std::vector<std::string>& from,
                         const NoisedAggregatorOptions& options, std::uint64_t seed = 1) {
  const std::vector<float> start = numbers(99);
  Server<float> server(small_session(), start, four, Noised::server_options({}, options),
                       std::make_unique<Noised>(26, options, std::make_shared<privacy::SeededNoise>(seed)));
  server.open(0, 1);
  for (std::size_t i = 0; i < messages.size(); ++i) REQUIRE(server.receive(messages[i], from[i], 0.5).accepted);
  REQUIRE(server.close().committed);
  return {server.global().begin(), server.global().end()};
}
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) squares += std::pow(double(a[i]) - double(b[i]), 2);
  return std::sqrt(squares);
}

}  // namespace

TEST_CASE("row 21: a client's weight does not widen what it can change") {
  const NoisedAggregatorOptions options{.clip = 0.5, .noise = 1e-9, .clients = 4};
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Random random(7, seed);
    std::vector<std::vector<std::byte>> messages;
    for (std::uint64_t c = 0; c < 4; ++c)
      messages.push_back(message_of(four[c], 10 * seed + c, 1 + random.bits() % 4'000'000));
    const std::vector<float> all = after(messages, four, options);
    for (std::size_t out = 0; out < 4; ++out) {  // without one of them
      std::vector<std::vector<std::byte>> rest = messages;
      std::vector<std::string> from = four;
      rest.erase(rest.begin() + std::ptrdiff_t(out));
      from.erase(from.begin() + std::ptrdiff_t(out));
      const double moved = distance(all, after(rest, from, options));
      CHECK(moved <= 0.5 / 4 * (1 + 1e-5));
      CHECK(moved > 0.4 / 4);  // the updates are far, so each is clipped to just that
    }
  }
}

TEST_CASE("clients that do not answer lower neither the divisor nor the noise") {
  const NoisedAggregatorOptions options{.clip = 2, .noise = 3, .clients = 4};
  const std::vector<float> start = numbers(99);
  double squares = 0;
  int count = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {  // the one who answers moved nothing
    const std::vector<std::byte> still = encode_update<float>(
        small_session(), {.round = 1, .client = "b", .examples = 7, .rank = 0, .values = start});
    const std::vector<float> found = after({still}, {"b"}, options, seed);
    for (std::size_t i = 0; i < found.size(); ++i, ++count) squares += std::pow(double(found[i]) - double(start[i]), 2);
  }
  const double deviation = std::sqrt(squares / count), expected = 3.0 * 2 / 4;
  CHECK(std::abs(deviation / expected - 1) < 4 / std::sqrt(2.0 * count));
}

TEST_CASE("a noised aggregator refuses a server that clips, weighs or divides otherwise") {
  const NoisedAggregatorOptions options{.clip = 1, .noise = 1, .clients = 4};
  const std::vector<float> start = numbers(99);
  const ServerOptions good = Noised::server_options({}, options);
  const auto make = [&](const ServerOptions& serving) {
    Server<float>(small_session(), start, four, serving,
                  std::make_unique<Noised>(26, options, std::make_shared<privacy::SeededNoise>(1)));
  };
  make(good);
  ServerOptions by_examples = good, wider = good, rejects = good, more = good;
  by_examples.weighting = Weighting::examples;
  by_examples.planned_clients = 0;
  wider.max_norm = 2;
  rejects.norm_rule = NormRule::reject;
  more.planned_clients = 5;
  for (const ServerOptions& bad : {by_examples, wider, rejects, more, ServerOptions{}})
    CHECK_ERROR(make(bad), ErrorId::value, "use NoisedAggregator::server_options");
  const auto source = std::make_shared<privacy::SeededNoise>(1);
  CHECK_ERROR(Noised(26, {.clip = 0, .noise = 1, .clients = 4}, source), ErrorId::value, "clip is 0");
  CHECK_ERROR(Noised(26, {.clip = 1, .noise = 0, .clients = 4}, source), ErrorId::value, "noise is 0");
  CHECK_ERROR(Noised(26, {.clip = 1, .noise = 1, .clients = 0}, source), ErrorId::value, "clients is 0");
  CHECK_ERROR(Noised(26, options, nullptr), ErrorId::value, "no source");
}
