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

TEST_CASE("Mistake 21: a client's weight does not widen what it can change") {
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

TEST_CASE("Row 28: clients that do not answer lower neither the divisor nor the noise") {
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

TEST_CASE("Row 12: an update of huge numbers, or of the least, moves a noised round by no more than its share") {
  const NoisedAggregatorOptions options{.clip = 0.5, .noise = 1e-9, .clients = 4};
  const std::vector<float> start = numbers(99), still = after({encode_update<float>(
      small_session(), {.round = 1, .client = "b", .examples = 7, .rank = 0, .values = start})}, {"b"}, options);
  for (const float huge : {1e38f, -3e38f, 1e-42f, 0.0f}) {
    INFO(huge);
    const std::vector<std::byte> message = encode_update<float>(
        small_session(), {.round = 1, .client = "a", .examples = 7, .rank = 0, .values = std::vector<float>(26, huge)});
    const std::vector<float> found = after({message}, {"a"}, options);
    CHECK(all_finite(std::span<const float>(found)));
    CHECK(distance(found, still) <= 0.5 / 4 * (1 + 1e-5));
    CHECK(distance(found, still) > 0.4 / 4);
  }
}

TEST_CASE("Row 17: a private round of nobody changes nothing, or is noise alone where the clients are a Poisson sample") {
  const std::vector<float> start = numbers(99);
  const auto round_of = [&](const NoisedAggregatorOptions& options, Index min_clients, const std::vector<std::string>& who,
                            std::uint64_t seed, std::vector<float>& found) {
    Server<float> server(small_session(), start, four, Noised::server_options({.min_clients = min_clients}, options),
                         std::make_unique<Noised>(26, options, std::make_shared<privacy::SeededNoise>(seed)));
    server.open(0, 1);
    for (const std::string& client : who) REQUIRE(server.receive(message_of(client, 5), client, 0.5).accepted);
    const bool committed = server.close().committed;
    found.assign(server.global().begin(), server.global().end());
    return committed;
  };
  std::vector<float> found;
  const NoisedAggregatorOptions fixed{.clip = 2, .noise = 3, .clients = 4};
  CHECK_FALSE(round_of(fixed, 1, {}, 1, found));
  CHECK(found == start);
  CHECK_FALSE(round_of(fixed, 2, {"a"}, 1, found));
  CHECK(found == start);
  CHECK(round_of(fixed, 2, {"a", "b"}, 1, found));
  const NoisedAggregatorOptions drawn{.clip = 2, .noise = 3, .clients = 4, .rate = 0.25};
  double squares = 0;
  int count = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    CHECK(round_of(drawn, 3, {}, seed, found));  // whatever min_clients is
    for (std::size_t i = 0; i < found.size(); ++i, ++count) squares += std::pow(double(found[i]) - double(start[i]), 2);
  }
  CHECK(std::abs(std::sqrt(squares / count) / (3.0 * 2 / 1) - 1) < 4 / std::sqrt(2.0 * count));
}

TEST_CASE("Row 17: privacy of clients is refused to a single client, which has nobody to hide among") {
  const auto source = std::make_shared<privacy::SeededNoise>(1);
  for (const Index clients : {-1, 0, 1})
    for (const double rate : {1.0, 0.5})
      CHECK_ERROR(Noised(26, {.clip = 1, .noise = 1, .clients = clients, .rate = rate}, source), ErrorId::value, "nobody to hide among");
  Noised(26, {.clip = 1, .noise = 1, .clients = 2}, source);
}

TEST_CASE("a Poisson sample of clients is divided by its expected size, and one client more moves that by its share alone") {
  const NoisedAggregatorOptions options{.clip = 0.5, .noise = 1e-9, .clients = 4, .rate = 0.4};
  const std::vector<float> start = numbers(99);
  std::vector<std::vector<float>> moves;  // clipped
  std::vector<std::vector<std::byte>> messages;
  for (std::size_t c = 0; c < 4; ++c) {
    messages.push_back(message_of(four[c], 3 + c, 1 + 100 * c));
    const std::vector<float> to = numbers(3 + c);
    const double share = std::min(1.0, 0.5 / distance(to, start));
    moves.emplace_back();
    for (std::size_t i = 0; i < to.size(); ++i) moves.back().push_back(float(share * (double(to[i]) - double(start[i]))));
  }
  for (std::size_t several = 0; several <= 4; ++several) {
    const std::vector<float> found =
        after({messages.begin(), messages.begin() + std::ptrdiff_t(several)}, {four.begin(), four.begin() + std::ptrdiff_t(several)}, options);
    for (std::size_t i = 0; i < found.size(); ++i) {
      double expected = start[i];
      for (std::size_t c = 0; c < several; ++c) expected += double(moves[c][i]) / (0.4 * 4);
      CHECK(found[i] == Approx(expected).margin(2e-6));
    }
  }
}

TEST_CASE("a round is for the clients that were named for it, and the next one is drawn as before") {
  const std::vector<float> start = numbers(99);
  Server<float> server(small_session(), start, four, {});
  server.select({1, 3});
  CHECK(server.selected() == std::vector<Index>{1, 3});
  server.open(0, 1);
  CHECK_ERROR(server.select({0}), ErrorId::value, "open already");
  CHECK(server.receive(message_of("b", 5), "b", 0.5).accepted);
  CHECK(server.receive(message_of("a", 5), "a", 0.5).rejection->reason == Reason::not_selected);
  CHECK(server.close().committed);
  CHECK(server.selected() == std::vector<Index>{0, 1, 2, 3});
  server.select({});
  server.open(2, 3);
  CHECK_FALSE(server.close().committed);  // nobody; and the clients are drawn anew
  CHECK(server.selected().size() == 4);
  CHECK_ERROR(server.select({2, 2}), ErrorId::value, "client 2");
  CHECK_ERROR(server.select({4}), ErrorId::value, "client 4");
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
  CHECK_ERROR(Noised(26, {.clip = 1, .noise = 1, .clients = 4, .rate = 0}, source), ErrorId::value, "rate is 0");
  CHECK_ERROR(Noised(26, options, nullptr), ErrorId::value, "no source");
}
