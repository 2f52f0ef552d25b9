#include "lorasb/federated/expert_aggregator.hpp"

#include <limits>

#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

/// Three experts with a core on "q", over its basis of rank 3, and a head of 4 numbers.
Session mixed_session() {
  ParameterLayout layout;
  for (const char* expert : {"q.experts.a", "q.experts.b", "q.experts.c"}) layout.add(expert, Role::core, 3, 3);
  layout.add("classifier", Role::head_weight, 2, 2);
  return {.id = "session", .base = base_digest(small_bases()), .layout = layout, .experts = 3};
}
std::vector<ExpertTensor> mixed_cores() { return {{0, "q", {0, 9}}, {1, "q", {9, 9}}, {2, "q", {18, 9}}}; }
std::vector<float> values_of(std::uint64_t seed) {
  const Vector<float> x = random_matrix<Matrix<float>>(31, 1, seed);
  return {x.begin(), x.end()};
}
Bytes message(const std::string& client, std::uint64_t seed, std::uint64_t examples, std::vector<std::uint64_t> experts) {
  return encode_update<float>(mixed_session(), {.round = 1, .client = client, .examples = examples, .values = values_of(seed), .experts = std::move(experts)});
}
Server<float> mixed_server(std::span<const float> start, ServerOptions options = {}) {
  options.keep_updates = true;
  return {mixed_session(), start, {"a", "b", "c"}, options, std::make_unique<ExpertAggregator<float>>(31, 3, mixed_cores())};
}
std::vector<float> mean_of(Range range, const std::vector<std::pair<std::uint64_t, std::uint32_t>>& seeds_and_weights) {
  ExactMean<float> mean(range.count);
  for (const auto& [seed, weight] : seeds_and_weights) {
    const std::vector<float> x = values_of(seed);
    mean.add(range.of(std::span<const float>(x)), weight);
  }
  std::vector<float> found(std::size_t(range.count));
  mean.mean(found);
  return found;
}
std::vector<float> part(std::span<const float> all, Range range) {
  const std::span<const float> x = range.of(all);
  return {x.begin(), x.end()};
}

}  // namespace

TEST_CASE("row 40: each expert is the mean over the clients that trained it, and one that nobody trained keeps its bits") {
  const std::vector<float> start = values_of(99);
  Server<float> server = mixed_server(start);
  server.open(0, 1);
  CHECK(server.receive(message("a", 1, 10, {30, 0, 0}), "a", 0).accepted);
  CHECK(server.receive(message("b", 2, 20, {10, 7, 0}), "b", 0).accepted);
  CHECK(server.receive(message("c", 3, 5, {0, 1, 0}), "c", 0).accepted);
  REQUIRE(server.close().committed);
  CHECK(part(server.global(), {0, 9}) == mean_of({0, 9}, {{1, 30}, {2, 10}}));
  CHECK(part(server.global(), {9, 9}) == mean_of({9, 9}, {{2, 7}, {3, 1}}));
  CHECK(part(server.global(), {18, 9}) == part(start, {18, 9}));
  CHECK(part(server.global(), {27, 4}) == mean_of({27, 4}, {{1, 10}, {2, 20}, {3, 5}}));
  const std::vector<ExpertTensor> cores = mixed_cores();
  CHECK(expert_exactness_error<float>(small_bases(), cores, server.admitted(), server.global()) < 1e-7);
  std::vector<AdmittedUpdate<float>> plain(server.admitted().begin(), server.admitted().end());
  for (AdmittedUpdate<float>& update : plain) update.experts.assign(3, update.weight);  // one weight for all is another mean
  CHECK(expert_exactness_error<float>(small_bases(), cores, plain, server.global()) > 0.1);
}

TEST_CASE("the order in which experts' updates come changes no bit") {
  const std::vector<float> start = values_of(99);
  Server<float> forward = mixed_server(start), backward = mixed_server(start);
  const std::vector<std::string> names{"a", "b", "c"};
  std::vector<Bytes> messages;
  for (std::uint64_t c = 0; c < 3; ++c) messages.push_back(message(names[c], c, 3 + c, {1 + c, 5 * c, 7}));
  forward.open(0, 1);
  backward.open(0, 1);
  for (std::size_t c = 0; c < 3; ++c) {
    REQUIRE(forward.receive(messages[c], names[c], 0).accepted);
    REQUIRE(backward.receive(messages[2 - c], names[2 - c], 0).accepted);
  }
  forward.close();
  backward.close();
  CHECK(part(forward.global(), {0, 31}) == part(backward.global(), {0, 31}));
}

TEST_CASE("equal weights and the bound on weights hold for each expert") {
  const std::vector<float> start = values_of(99);
  Server<float> equal = mixed_server(start, {.weighting = Weighting::equal});
  Server<float> bounded = mixed_server(start, {.max_weight = 12});
  for (Server<float>* server : {&equal, &bounded}) {
    server->open(0, 1);
    CHECK(server->receive(message("a", 1, 100, {4'000'000'000, 0, 3}), "a", 0).accepted);
    CHECK(server->receive(message("b", 2, 20, {10, 7, 0}), "b", 0).accepted);
    server->close();
  }
  CHECK(part(equal.global(), {0, 9}) == mean_of({0, 9}, {{1, 1}, {2, 1}}));
  CHECK(part(bounded.global(), {0, 9}) == mean_of({0, 9}, {{1, 12}, {2, 10}}));
  CHECK(part(bounded.global(), {18, 9}) == mean_of({18, 9}, {{1, 3}}));
}

TEST_CASE("an update that does not weigh the session's experts is refused") {
  const std::vector<float> start = values_of(99);
  Server<float> server = mixed_server(start);
  server.open(0, 1);
  const auto reason = [&](std::vector<std::uint64_t> experts) {
    const Receipt receipt = server.receive(message("a", 1, 10, std::move(experts)), "a", 0);
    REQUIRE(!receipt.accepted);
    return receipt.rejection->reason;
  };
  CHECK(reason({}) == Reason::schema);
  CHECK(reason({1, 2}) == Reason::schema);
  CHECK(reason({1, 2, 3, 4}) == Reason::schema);
  CHECK(reason({1, 2, 1ull << 32}) == Reason::weight);
  Server<float> plain(small_session(), numbers(9), {"a"}, {});
  plain.open(0, 1);
  Update<float> update = update_of("a", 1);
  update.experts = {1};
  CHECK(plain.receive(encode_update(small_session(), update), "a", 0).rejection->reason == Reason::schema);
  CHECK(lorasb::federated::detail::read_expert_words("1 2") == std::vector<std::uint64_t>{1, 2});
  for (const char* words : {" 1", "1 ", "1  2", "-1", "1,2", "x"}) CHECK(!lorasb::federated::detail::read_expert_words(words));
}

TEST_CASE("an update that an expert's mean refuses halfway leaves no bit behind") {
  const std::vector<float> start = values_of(99);
  ExpertAggregator<float> aggregator(31, 3, mixed_cores());
  aggregator.add({.client = 0, .weight = 2, .values = values_of(1), .experts = {1, 2, 3}});
  AdmittedUpdate<float> bad{.client = 1, .weight = 2, .values = values_of(2), .experts = {1, 2, 3}};
  bad.values[20] = std::numeric_limits<float>::quiet_NaN();  // after two experts were added
  CHECK_THROWS_AS(aggregator.add(bad), Error);
  std::vector<float> next(31);
  aggregator.commit(start, 0, next);
  CHECK(part(next, {0, 9}) == mean_of({0, 9}, {{1, 1}}));
  CHECK(aggregator.total_weight(0) == 1);
  CHECK(aggregator.total_weight() == 2);
}

TEST_CASE("experts that a layout cannot hold are refused") {
  CHECK_THROWS_AS(ExpertAggregator<float>(31, 0, {}), Error);
  CHECK_THROWS_AS(ExpertAggregator<float>(31, 4, mixed_cores()), Error);
  CHECK_THROWS_AS(ExpertAggregator<float>(20, 3, mixed_cores()), Error);
  CHECK_THROWS_AS(ExpertAggregator<float>(31, 2, std::vector<ExpertTensor>{{0, "q", {0, 9}}, {1, "q", {8, 9}}}), Error);
  const std::vector<float> start = values_of(99);
  CHECK_THROWS_AS(mixed_server(start, {.weighting = Weighting::equal, .planned_clients = 3}), Error);
}
