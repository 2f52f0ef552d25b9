#include "lorasb/federated/server.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "lorasb/core/parallel.hpp"

#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using test::message_of, test::numbers, test::small_session, test::update_of;

namespace {

const std::vector<std::string> five{"a", "b", "c", "d", "e"};

struct Rig {
  std::vector<float> start = numbers(99);
  Server<float> server;

  explicit Rig(ServerOptions options = {}) : server(small_session(), start, five, options) { server.open(0, 60); }

  std::optional<Reason> send(const std::string& client, std::span<const std::byte> message, double now = 1) {
    const Receipt receipt = server.receive(message, client, now);
    CHECK(receipt.accepted == !receipt.rejection.has_value());
    if (!receipt.rejection) return std::nullopt;
    return receipt.rejection->reason;
  }
  std::optional<Reason> send(const std::string& client, std::uint64_t seed, std::uint64_t examples = 10,
                                std::uint64_t round = 1, double now = 1) {
    return send(client, message_of(client, seed, examples, round), now);
  }
  std::vector<float> global() const { return {server.global().begin(), server.global().end()}; }
};

/// Σ w x / Σ w, rounded once: by long double, which holds sums of a few floats and small weights exactly.
std::vector<float> mean_of(const std::vector<std::pair<std::vector<float>, int>>& updates) {
  std::vector<float> mean(updates.front().first.size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    long double sum = 0, weight = 0;
    for (const auto& [values, w] : updates) {
      sum += static_cast<long double>(values[i]) * w;
      weight += w;
    }
    mean[i] = static_cast<float>(sum / weight);
  }
  return mean;
}

}  // namespace

TEST_CASE("A round commits the mean weighted by examples, and the next one averages its own updates only") {
  Rig rig;
  CHECK_FALSE(rig.send("a", 1, 10));
  CHECK_FALSE(rig.send("b", 2, 30));
  CHECK(rig.global() == rig.start);  // until the round is closed
  RoundReport report = rig.server.close();
  CHECK(report.committed);
  CHECK(report.accepted == 2);
  CHECK(report.total_weight == 40);
  CHECK(report.bytes_received == message_of("a", 1).size() + message_of("b", 2).size());
  CHECK(rig.global() == mean_of({{numbers(1), 10}, {numbers(2), 30}}));
  CHECK(rig.server.round() == 2);

  rig.server.open(100, 160);
  CHECK_FALSE(rig.send("c", 3, 7, 2, 110));
  report = rig.server.close();
  CHECK(report.accepted == 1);
  CHECK(rig.global() == numbers(3));
}

TEST_CASE("Row 1: with too few updates a round changes nothing, and is opened again under its number") {
  Rig rig({.min_clients = 2});
  CHECK_FALSE(rig.send("a", 1));
  RoundReport report = rig.server.close();
  CHECK_FALSE(report.committed);
  CHECK(report.accepted == 1);
  CHECK(rig.global() == rig.start);
  CHECK(rig.server.round() == 1);
  rig.server.open(100, 160);
  CHECK_FALSE(rig.send("b", 2));
  CHECK_FALSE(rig.send("c", 3));
  CHECK(rig.server.close().committed);
  CHECK(rig.global() == mean_of({{numbers(2), 10}, {numbers(3), 10}}));  // nothing of the abandoned one
}

TEST_CASE("Row 3: a straggler after the commit is late, and is not carried into the next round") {
  Rig rig;
  rig.send("a", 1);
  rig.server.close();
  const std::vector<float> committed = rig.global();
  CHECK(rig.send("b", 2) == Reason::late_round);
  rig.server.open(100, 160);
  CHECK(rig.send("b", 2) == Reason::late_round);
  const RoundReport report = rig.server.close();
  CHECK(report.rejected_for(Reason::late_round) == 2);
  CHECK(report.accepted == 0);
  CHECK(rig.global() == committed);
}

TEST_CASE("Row 4: updates over the cap are chosen by priority of their clients, whatever the order of arrival") {
  std::vector<std::string> order = five;
  std::mt19937 shuffle(1);
  std::optional<std::vector<float>> expected;
  for (int trial = 0; trial < 20; ++trial) {
    Rig rig({.min_clients = 2, .cap = 3, .seed = 5});
    for (const std::string& client : order) rig.send(client, static_cast<std::uint64_t>(client[0]), 10 + client[0]);
    const RoundReport report = rig.server.close();
    CHECK(report.committed);
    CHECK(report.accepted == 3);
    CHECK(report.rejected_for(Reason::over_cap) == 2);
    if (!expected) expected = rig.global();
    CHECK(rig.global() == *expected);
    std::shuffle(order.begin(), order.end(), shuffle);
  }
}

TEST_CASE("Row 5: the same bytes again are acknowledged and count once") {
  Rig rig;
  CHECK_FALSE(rig.send("a", 1, 10));
  CHECK_FALSE(rig.send("a", 1, 10));
  CHECK_FALSE(rig.send("b", 2, 10));
  const RoundReport report = rig.server.close();
  CHECK(report.accepted == 2);
  CHECK(report.total_weight == 20);
  CHECK(rig.global() == mean_of({{numbers(1), 10}, {numbers(2), 10}}));
}

TEST_CASE("Row 6: of two different updates of a client the first one counts") {
  Rig rig;
  CHECK_FALSE(rig.send("a", 1));
  CHECK(rig.send("a", 2) == Reason::duplicate);
  const RoundReport report = rig.server.close();
  CHECK(report.rejected_for(Reason::duplicate) == 1);
  CHECK(rig.global() == numbers(1));
}

TEST_CASE("Row 7: an update that counted in its round is a replay in later ones") {
  Rig rig;
  const std::vector<std::byte> old = message_of("a", 1);
  rig.send("a", old);
  rig.server.close();
  rig.server.open(100, 160);
  CHECK(rig.send("a", old) == Reason::wrong_round);
  CHECK(rig.server.accepted() == 0);
}

TEST_CASE("Rows 8 to 11: a refused update changes nothing and is counted under its reason") {
  Rig rig;
  std::vector<std::byte> broken = message_of("b", 2);
  broken.pop_back();
  CHECK(rig.send("b", broken) == Reason::malformed);
  Session other = small_session();
  other.base[0] ^= std::byte{1};
  CHECK(rig.send("b", encode_update(other, update_of("b", 2))) == Reason::base_hash_mismatch);
  Update<float> infinite = update_of("b", 2);
  infinite.values[25] = std::numeric_limits<float>::infinity();
  CHECK(rig.send("b", encode_update(small_session(), infinite)) == Reason::non_finite);
  CHECK_FALSE(rig.send("a", 1));
  const RoundReport report = rig.server.close();
  CHECK(report.accepted == 1);
  for (const Reason reason : {Reason::malformed, Reason::base_hash_mismatch, Reason::non_finite})
    CHECK(report.rejected_for(reason) == 1);
  CHECK(rig.global() == numbers(1));
}

TEST_CASE("Row 12: an update beyond the norm bound is refused or moved back to it, also where squares overflow") {
  const auto far = [](float size) {
    Update<float> update = update_of("a", 1);
    std::ranges::fill(update.values, size);
    return encode_update(small_session(), update);
  };
  Rig rejecting({.max_norm = 1});
  CHECK(rejecting.send("a", far(1e38f)) == Reason::norm);
  Rig clipping({.max_norm = 1, .norm_rule = NormRule::clip});
  CHECK_FALSE(clipping.send("a", far(1e38f)));
  CHECK(clipping.server.close().committed);
  double squares = 0;
  for (std::size_t i = 0; i < clipping.start.size(); ++i)
    squares += std::pow(double(clipping.global()[i]) - double(clipping.start[i]), 2);
  CHECK(std::sqrt(squares) == Approx(1).epsilon(1e-6));  // rounding of floats near one
}

TEST_CASE("Row 13: an update that changes nothing, and one of zeros, count like any other") {
  Rig rig({.max_norm = 100});
  Update<float> same = update_of("a", 1);
  same.values = rig.start;
  CHECK_FALSE(rig.send("a", encode_update(small_session(), same)));
  Update<float> zero = update_of("b", 1);
  std::ranges::fill(zero.values, 0.0f);
  CHECK_FALSE(rig.send("b", encode_update(small_session(), zero)));
  CHECK(rig.server.close().committed);
  CHECK(rig.global() == mean_of({{rig.start, 10}, {zero.values, 10}}));
}

TEST_CASE("Row 15: a weight above the largest allowed counts as that") {
  Rig rig({.max_weight = 100});
  rig.send("a", 1, 4000000000);
  rig.send("b", 2, 50);
  CHECK(rig.server.close().total_weight == 150);
  CHECK(rig.global() == mean_of({{numbers(1), 100}, {numbers(2), 50}}));
}

TEST_CASE("Row 16: the mean has the same bits in any order, and equal weights are those of equal examples") {
  std::vector<std::string> order = five;
  std::mt19937 shuffle(2);
  std::optional<std::vector<float>> expected;
  for (int trial = 0; trial < 20; ++trial) {
    Rig by_examples, equal({.weighting = Weighting::equal});
    for (const std::string& client : order) {
      by_examples.send(client, static_cast<std::uint64_t>(client[0]), 10);
      equal.send(client, static_cast<std::uint64_t>(client[0]), 10 + client[0]);
    }
    by_examples.server.close();
    equal.server.close();
    if (!expected) expected = by_examples.global();
    CHECK(by_examples.global() == *expected);
    CHECK(equal.global() == *expected);
    std::shuffle(order.begin(), order.end(), shuffle);
  }
}

TEST_CASE("Row 17: no update abandons, as many as asked for commit, and one is enough where one is asked for") {
  Rig none;
  CHECK_FALSE(none.server.close().committed);
  CHECK(none.global() == none.start);
  Rig exactly({.min_clients = 2});
  exactly.send("a", 1);
  exactly.send("b", 2);
  CHECK(exactly.server.close().committed);
  Rig one;
  one.send("e", 1);
  CHECK(one.server.close().committed);
}

TEST_CASE("Rows 30 and 31: clients that are not of the session, and peers that speak for others, are refused") {
  Rig rig;
  CHECK(rig.send("mallory", 1) == Reason::unknown_client);
  CHECK(rig.send("mallory", std::vector<std::byte>(7)) == Reason::unknown_client);  // before anything is parsed
  CHECK(rig.send("b", message_of("a", 1)) == Reason::unknown_client);
  CHECK(rig.server.accepted() == 0);
}

TEST_CASE("Row 32: the deadline is the caller's, exclusive of what comes after it, and cannot lie in the past") {
  Rig rig;
  CHECK_FALSE(rig.send("a", 1, 10, 1, 60));
  CHECK(rig.send("b", 2, 10, 1, 60.001) == Reason::late_round);
  CHECK_ERROR(rig.server.open(0, 1), ErrorId::value, "round 1 is open already");
  rig.server.close();
  CHECK_ERROR(rig.server.open(10, 10), ErrorId::value, "the deadline is 10 s, expected after now, 10 s");
  CHECK_ERROR(rig.server.open(10, -1), ErrorId::value, "the deadline is -1 s");
  CHECK_ERROR(rig.server.close(), ErrorId::value, "no round is open");
}

TEST_CASE("Row 33: many threads at once give the bits of one after another") {
  std::vector<std::string> clients;
  for (int c = 0; c < 64; ++c) clients.push_back("client " + std::to_string(c));
  const auto run = [&](int threads, Index cap) {
    Server<float> server(small_session(), numbers(99), clients, {.cap = cap, .seed = 3});
    server.open(0, 60);
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t)
      workers.emplace_back([&, t] {
        for (std::size_t c = static_cast<std::size_t>(t); c < clients.size(); c += static_cast<std::size_t>(threads))
          server.receive(message_of(clients[c], c, 1 + c), clients[c], 1);
      });
    for (std::thread& worker : workers) worker.join();
    CHECK(server.close().accepted == (cap > 0 ? cap : 64));
    return std::vector<float>(server.global().begin(), server.global().end());
  };
  CHECK(run(8, 0) == run(1, 0));
  CHECK(run(8, 20) == run(1, 20));
}

TEST_CASE("Row 36: a lower rank counts with the global numbers in the places that it did not train") {
  Rig rig;
  Update<float> part = update_of("a", 1);
  part.rank = 1;
  part.values.resize(1 + 1 + 8);
  load_leading<float>(small_session().layout, 1, numbers(1), part.values);
  CHECK_FALSE(rig.send("a", encode_update(small_session(), part)));
  CHECK_FALSE(rig.send("b", 2, 30));
  rig.server.close();
  std::vector<float> whole = rig.start;
  store_leading<float>(small_session().layout, 1, part.values, whole);
  CHECK(rig.global() == mean_of({{whole, 10}, {numbers(2), 30}}));
}

TEST_CASE("Row 38: rounds rise by one with each commit, and updates of later ones are refused") {
  Rig rig;
  for (std::uint64_t round = 1; round <= 3; ++round) {
    CHECK(rig.server.round() == round);
    CHECK(rig.send("a", 1, 10, round + 1) == Reason::wrong_round);
    CHECK(rig.send("a", 1, 10, ~std::uint64_t{0}) == Reason::wrong_round);
    CHECK_FALSE(rig.send("a", round, 10, round));
    rig.server.close();
    rig.server.open(100, 160);
  }
}

TEST_CASE("A share of the clients takes part, others are refused, and the choice depends on seed and round alone") {
  Rig rig({.participation = 0.4, .seed = 8});
  const std::vector<Index> selected = rig.server.selected();
  CHECK(selected.size() == 2);
  for (std::size_t c = 0; c < five.size(); ++c) {
    const bool chosen = std::ranges::find(selected, static_cast<Index>(c)) != selected.end();
    CHECK(rig.send(five[c], c) == (chosen ? std::nullopt : std::optional(Reason::not_selected)));
  }
  CHECK(select_clients(1000, 0.3, 1, 1).size() == 300);
  CHECK(select_clients(1000, 0.3, 1, 1) == select_clients(1000, 0.3, 1, 1));
  CHECK(select_clients(1000, 0.3, 1, 1) != select_clients(1000, 0.3, 1, 2));
  CHECK(select_clients(3, 1e-9, 1, 1).size() == 1);
  CHECK_ERROR(select_clients(3, 0, 1, 1), ErrorId::value, "participation is 0");
}

TEST_CASE("A server refuses a start and options that cannot be") {
  CHECK_ERROR(Server<float>(small_session(), std::vector<float>(25), five, {}), ErrorId::shape,
              "start has 25 numbers, expected 26");
  CHECK_ERROR(Server<float>(small_session(), std::vector<float>(26, NAN), five, {}), ErrorId::not_finite, "start holds NaN");
  CHECK_ERROR(Server<float>(small_session(), std::vector<float>(26), {}, {}), ErrorId::value, "no clients");
  CHECK_ERROR(Server<float>(small_session(), std::vector<float>(26), {"a", "a"}, {}), ErrorId::duplicate_name,
              "\"a\" is there twice");
  CHECK_ERROR((ServerOptions{.min_clients = 0}.validate()), ErrorId::value, "min_clients is 0");
  CHECK_ERROR((ServerOptions{.min_clients = 3, .cap = 2}.validate()), ErrorId::value, "cap is 2");
  CHECK_ERROR((ServerOptions{.participation = 1.5}.validate()), ErrorId::value, "participation is 1.5");
  CHECK_ERROR((ServerOptions{.max_weight = 0}.validate()), ErrorId::value, "max_weight is 0");
  CHECK_ERROR((ServerOptions{.max_norm = -1}.validate()), ErrorId::value, "max_norm is -1");
}

TEST_CASE("The updates that counted are shown by client, as the mean saw them, until the next round") {
  Rig rig({.cap = 2, .max_weight = 20, .keep_updates = true});
  for (const char* client : {"e", "c", "a", "d"}) rig.send(client, std::uint64_t(client[0]), 30);
  const RoundReport report = rig.server.close();
  CHECK(report.messages == 4);
  REQUIRE(rig.server.admitted().size() == 2);
  std::vector<Index> clients;
  std::vector<std::pair<std::vector<float>, int>> updates;
  for (const AdmittedUpdate<float>& update : rig.server.admitted()) {
    clients.push_back(update.client);
    CHECK(update.weight == 20);
    CHECK(update.values == numbers(std::uint64_t('a' + update.client)));
    updates.emplace_back(update.values, 20);
  }
  CHECK(clients == report.clients);
  CHECK(rig.global() == mean_of(updates));
  rig.server.open(100, 160);
  CHECK(rig.server.admitted().empty());
}

TEST_CASE("Rows 21 and 24: a server that takes over the committed rounds of another goes on to the same bits and reasons") {
  Rig rig;
  rig.send("a", 1);
  const RoundReport report = rig.server.close();
  Rig again;
  again.server.close();  // abandons
  again.server.replay(1, rig.server.global(), report.clients);
  CHECK(again.server.round() == 2);
  CHECK(again.global() == rig.global());
  for (Rig* r : {&rig, &again}) {
    r->server.open(100, 160);
    CHECK(r->send("a", 1, 10, 1, 110) == Reason::wrong_round);  // a replay: it counted
    CHECK(r->send("b", 2, 10, 1, 110) == Reason::late_round);
    CHECK_FALSE(r->send("c", 3, 10, 2, 110));
    r->server.close();
  }
  CHECK(again.global() == rig.global());
}

TEST_CASE("Row 38: rounds that are taken over come one by one, whole and finite") {
  Rig rig;
  const std::vector<Index> clients{0};
  CHECK_THROWS_AS(rig.server.replay(1, numbers(5), clients), Error);  // a round is open
  rig.server.close();
  CHECK_THROWS_AS(rig.server.replay(2, numbers(5), clients), Error);
  CHECK_THROWS_AS(rig.server.replay(0, numbers(5), clients), Error);
  CHECK_THROWS_AS(rig.server.replay(1, std::vector<float>(3), clients), Error);
  CHECK_THROWS_AS(rig.server.replay(1, numbers(5), std::vector<Index>{5}), Error);
  std::vector<float> bad = numbers(5);
  bad[4] = std::nanf("");
  CHECK_THROWS_AS(rig.server.replay(1, bad, clients), Error);
  CHECK(rig.global() == rig.start);
  CHECK(rig.server.round() == 1);
  rig.server.replay(1, numbers(5), clients);
  CHECK(rig.global() == numbers(5));
}

TEST_CASE("Row 28: with a planned number of clients the divisor does not depend on who answers") {
  Rig rig({.weighting = Weighting::equal, .planned_clients = 7});
  rig.send("a", 1, 10);
  rig.send("b", 2, 30);
  CHECK(rig.server.close().total_weight == 2);
  CHECK(rig.global() == mean_of({{numbers(1), 1}, {numbers(2), 1}, {rig.start, 5}}));

  Rig all({.weighting = Weighting::equal, .planned_clients = 5});
  std::vector<std::pair<std::vector<float>, int>> updates;
  for (std::uint64_t c = 0; c < 5; ++c) {
    all.send(five[c], c);
    updates.emplace_back(numbers(c), 1);
  }
  all.server.close();
  CHECK(all.global() == mean_of(updates));

  CHECK_THROWS_AS(Rig({.planned_clients = 7}), Error);  // weights by examples have no planned sum
  CHECK_THROWS_AS(Rig({.weighting = Weighting::equal, .planned_clients = 4}), Error);
  CHECK_NOTHROW(Rig({.cap = 4, .weighting = Weighting::equal, .planned_clients = 4}));
}

TEST_CASE("1,000 updates have the same mean bits in 100 orders, in trees of sums, and from two threads") {
  const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (int c = 0; c < 1000; ++c) all.push_back(std::to_string(c));
    return all;
  }();
  std::vector<std::vector<std::byte>> messages;
  std::vector<std::uint64_t> order(1000);
  for (std::uint64_t c = 0; c < 1000; ++c) {
    order[c] = c;
    messages.push_back(message_of(names[c], c, 1 + c * c % 977));
  }
  const auto sha_of = [](std::span<const float> values) {
    Sha256 sha;
    sha.update(std::as_bytes(values));
    return hex(sha.digest());
  };
  const auto through_server = [&](int threads) {
    Server<float> server(small_session(), numbers(99), names, {});
    server.open(0, 60);
    parallel_for(threads, threads, [&](Index part) {
      for (std::size_t i = std::size_t(part); i < 1000; i += std::size_t(threads))
        server.receive(messages[order[i]], names[order[i]], 1);
    });
    CHECK(server.close().accepted == 1000);
    return sha_of(server.global());
  };
  const std::string expected = through_server(1);
  std::mt19937_64 shuffling(3);
  for (int trial = 0; trial < 100; ++trial) {
    std::shuffle(order.begin(), order.end(), shuffling);
    CHECK(through_server(1 + trial % 2) == expected);
  }

  std::vector<ExactMean<float>> sums;
  for (const std::uint64_t c : order) {
    sums.emplace_back(26);
    sums.back().add(numbers(c), std::uint32_t(1 + c * c % 977));
  }
  while (sums.size() > 1) {  // merges two drawn by chance, until one is left
    std::swap(sums[shuffling() % sums.size()], sums.back());
    ExactMean<float> last = std::move(sums.back());
    sums.pop_back();
    sums[shuffling() % sums.size()].merge(last);
  }
  std::vector<float> mean(26);
  sums[0].mean(mean);
  CHECK(sha_of(mean) == expected);
}

TEST_CASE("Row 12: the norm bound holds after rounding, and where differences are beyond double") {
  ParameterLayout layout;
  layout.add("w", 1, 2);
  const auto clipped = [&]<class S>(std::vector<S> start, std::vector<S> update, double bound) {
    const Session session{.id = "s", .base = {}, .layout = layout};
    Server<S> server(session, start, {"a"}, {.max_norm = bound, .norm_rule = NormRule::clip});
    server.open(0, 1);
    const Receipt receipt = server.receive(
        encode_update<S>(session, {.round = 1, .client = "a", .examples = 1, .rank = 0, .values = std::move(update)}), "a", 0);
    CHECK(receipt.accepted);
    CHECK(server.close().committed);
    for (const S x : server.global()) CHECK(std::isfinite(x));
    return std::hypot(double(server.global()[0]) - double(start[0]), double(server.global()[1]) - double(start[1]));
  };
  const double near_million = clipped(std::vector<float>{1e6f, 1e6f}, std::vector<float>{1e6f + 1, 1e6f - 3}, 0.2);
  CHECK(near_million <= 0.2);
  CHECK(clipped(std::vector<double>{0, 0}, std::vector<double>{1.5e308, -1.5e308}, 1) == Approx(1));
  CHECK(clipped(std::vector<double>{-1.5e308, 0}, std::vector<double>{1.5e308, 0}, 1e300) == Approx(1e300));
  CHECK(clipped(std::vector<double>{0, 0}, std::vector<double>{3e-310, 4e-310}, 1) == Approx(5e-310));
}

TEST_CASE("A round that was abandoned is opened again for clients drawn anew, and a replay draws the same") {
  std::vector<std::string> names;
  for (int c = 0; c < 50; ++c) names.push_back(std::to_string(c));
  Server<float> server(small_session(), numbers(99), names, {.participation = 0.1}),
      again(small_session(), numbers(99), names, {.participation = 0.1});
  std::set<std::vector<Index>> drawn;
  for (int attempt = 0; attempt < 5; ++attempt) {
    CHECK(server.selected() == again.selected());
    drawn.insert(server.selected());
    server.open(0, 1);
    if (attempt % 2 == 0)
      CHECK_FALSE(server.close().committed);
    else
      server.abandon();
    CHECK(server.round() == 1);
    again.replay_abandoned();
  }
  CHECK(drawn.size() == 5);
  server.abandon();  // nothing is open
  CHECK(server.selected() == again.selected());
}

TEST_CASE("What is refused between two rounds is counted in the next report") {
  Rig rig;
  rig.server.close();
  CHECK(rig.send("a", 1) == Reason::late_round);
  rig.server.open(100, 160);
  CHECK_FALSE(rig.send("b", 2, 10, 1, 110));
  const RoundReport report = rig.server.close();
  CHECK(report.rejected_for(Reason::late_round) == 1);
  CHECK(report.messages == 2);
  CHECK_THROWS_AS(Rig({.min_clients = 6}), Error);  // five clients: it could never count
}

TEST_CASE("Row 33: messages that come from many threads while rounds open and close are each counted once") {
  Server<float> server(small_session(), numbers(99), five, {});
  std::atomic<bool> stop = false;
  std::atomic<Index> sent = 0;
  std::vector<std::jthread> peers;
  for (std::size_t c = 0; c < 5; ++c)
    peers.emplace_back([&, c] {
      for (std::uint64_t round = 1; !stop; round = round % 40 + 1) {
        server.receive(message_of(five[c], c, 1, round), five[c], 1);
        ++sent;
      }
    });
  Index counted = 0;
  for (int i = 0; i < 40; ++i) {
    server.open(0, 60);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    counted += server.close().messages;
  }
  stop = true;
  peers.clear();
  server.open(0, 60);
  CHECK(counted + server.close().messages == sent);
}
