// Every interleaving of what can happen to the updates of three clients in two rounds, a crash before or after the journal's
// write included. After each the global values are the exact mean of the accepted set, computed apart from the server.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "io/files.hpp"
#include "lorasb/federated/broadcast.hpp"
#include "lorasb/federated/round_journal.hpp"
#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

const std::vector<std::string> three{"a", "b", "c"};

/// An exact mean that runs out of memory in the middle of an update on demand, after it has added a part of it.
class FailingAggregator final : public Aggregator<float> {
 public:
  explicit FailingAggregator(Index size, const bool& fails) : sum_(size), fails_(&fails) {}
  std::unique_ptr<Aggregator<float>> empty() const override { return std::make_unique<FailingAggregator>(size_(), *fails_); }
  std::unique_ptr<Aggregator<float>> clone() const override { return std::make_unique<FailingAggregator>(*this); }
  void add(const AdmittedUpdate<float>& update) override {
    if (*fails_) throw std::bad_alloc();
    sum_.add(update);
  }
  std::uint64_t total_weight() const override { return sum_.total_weight(); }
  void commit(std::span<const float> global, std::uint32_t weight, std::span<float> next) const override {
    sum_.commit(global, weight, next);
  }

 private:
  Index size_() const { return small_session().layout.size(); }
  ExactAggregator<float> sum_;
  const bool* fails_;
};

/// What happens to a client in a round: it answers well, or in one of the ways that leave no trace; and then perhaps again.
enum class Event { accept, malformed, other_base, no_memory, duplicate, late, silent };
constexpr Event events[] = {Event::accept, Event::malformed, Event::other_base, Event::no_memory,
                            Event::duplicate, Event::late, Event::silent};
enum class Crash { none, before_write, after_write };

/// The weighted mean in exact arithmetic of its own: values are multiples of 2^-10 below 2^10, so that every sum is a whole
/// number of 2^-10 below 2^53.
std::vector<float> expected_mean(const std::vector<std::pair<std::vector<float>, std::uint64_t>>& accepted) {
  std::vector<float> mean(accepted[0].first.size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    std::int64_t sum = 0, weight = 0;
    for (const auto& [values, examples] : accepted) {
      sum += std::int64_t(double(values[i]) * 1024) * std::int64_t(examples);
      weight += std::int64_t(examples);
    }
    mean[i] = static_cast<float>(static_cast<long double>(sum) / static_cast<long double>(weight) / 1024);
  }
  return mean;
}

std::vector<float> dyadic(std::uint64_t seed) {
  std::vector<float> values(26);
  Random random(seed);
  for (float& x : values) x = static_cast<float>(static_cast<std::int64_t>(random.below(1 << 20)) - (1 << 19)) / 1024.0f;
  return values;
}

/// A server with its journal, which a crash ends and a restart begins anew.
class Site {
 public:
  explicit Site(const std::filesystem::path& journal) : path_(journal), start_(dyadic(1000)) { restart(); }

  void restart() {
    server_.reset();
    journal_.reset();
    journal_.emplace(path_, std::map<std::string, std::string>{{"session", "session"}});
    server_.emplace(small_session(), start_, three, ServerOptions{},
                    std::make_unique<FailingAggregator>(std::ssize(start_), no_memory_));
    values_ = start_;
    resume_from<float>(*journal_, *server_, [&](const RoundRecord& record) {
      if (record.message.empty()) return std::span<const float>();
      values_ = std::get<Broadcast<float>>(validate_broadcast<float>(small_session(), 0, record.message)).values;
      return std::span<const float>(values_);
    });
  }
  Server<float>& server() { return *server_; }
  std::vector<float> global() const { return {server_->global().begin(), server_->global().end()}; }

  /// Lets `event` happen to the client. Returns its values when they count.
  std::optional<std::vector<float>> play(Event event, std::size_t client, std::uint64_t round) {
    const std::uint64_t seed = 100 * round + client, examples = 3 * client + 2;
    const Update<float> update{.round = round, .client = three[client], .examples = examples, .rank = 0, .values = dyadic(seed)};
    const Bytes good = encode_update(small_session(), update);
    const auto receive = [&](const Bytes& bytes, double now) { return server_->receive(bytes, three[client], now); };
    switch (event) {
      case Event::accept:
        CHECK(receive(good, 0).accepted);
        return update.values;
      case Event::duplicate: {
        CHECK(receive(good, 0).accepted);
        CHECK(receive(good, 0).accepted);  // the same bytes count once
        Update<float> other = update;
        other.values[0] += 1;
        CHECK(receive(encode_update(small_session(), other), 0).rejection->reason == Reason::duplicate);
        return update.values;
      }
      case Event::malformed:
        CHECK(receive(Bytes(good.begin(), good.end() - 1), 0).rejection->reason == Reason::malformed);
        return std::nullopt;
      case Event::other_base: {
        Session other = small_session();
        other.base[0] ^= std::byte(1);
        CHECK(receive(encode_update(other, update), 0).rejection->reason == Reason::base_hash_mismatch);
        return std::nullopt;
      }
      case Event::no_memory:
        no_memory_ = true;
        CHECK_THROWS_AS(receive(good, 0), std::bad_alloc);
        no_memory_ = false;
        CHECK(server_->accepted() >= 0);
        return std::nullopt;
      case Event::late:
        CHECK(receive(good, 2).rejection->reason == Reason::late_round);
        return std::nullopt;
      case Event::silent:
        return std::nullopt;
    }
    return std::nullopt;
  }

  /// Closes the round and writes it down. False when the process "died" on the way: it is to be restarted.
  bool close(Crash crash) {
    const RoundReport report = server_->close();
    if (crash == Crash::before_write) return false;
    RoundRecord record{.line = "{}", .clients = report.clients, .message = {}};
    if (report.committed) record.message = encode_broadcast<float>(small_session(), server_->round(), server_->global());
    journal_->append(encode_record(record));
    return crash == Crash::none;
  }

 private:
  std::filesystem::path path_;
  std::vector<float> start_, values_;
  bool no_memory_ = false;
  std::optional<io::Journal> journal_;
  std::optional<Server<float>> server_;
};

/// One round: the events of the three clients in the given order of clients. Returns the values that it should end with.
std::vector<float> play_round(Site& site, std::uint64_t round, const std::array<Event, 3>& what, const std::array<std::size_t, 3>& order) {
  const std::vector<float> before = site.global();
  REQUIRE(site.server().round() == round);
  site.server().open(0, 1);
  std::vector<std::pair<std::vector<float>, std::uint64_t>> accepted;
  for (const std::size_t client : order)
    if (std::optional<std::vector<float>> values = site.play(what[client], client, round))
      accepted.emplace_back(std::move(*values), 3 * client + 2);
  CHECK(site.server().accepted() == std::ssize(accepted));
  CHECK(site.global() == before);  // nothing moves while the round is open
  return accepted.empty() ? before : expected_mean(accepted);
}

}  // namespace

TEST_CASE("Rows 3, 5, 10, 17, 21 and 34: whatever happens in two rounds, the values are the exact mean of what was accepted") {
  const TemporaryFolder folder;
  const std::array<std::array<std::size_t, 3>, 6> orders{{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};
  std::size_t played = 0;
  std::map<std::array<Event, 3>, std::vector<float>> first_round;  // by events: the same for every order and crash
  for (const Event a : events)
    for (const Event b : events)
      for (const Event c : events) {
        const std::array<Event, 3> what{a, b, c};
        // the second round: the events move on by one client, so that all pairs of events meet over the rounds
        const std::array<Event, 3> then{c, a, b};
        for (const Crash crash : {Crash::none, Crash::before_write, Crash::after_write}) {
          const std::array<std::size_t, 3>& order = orders[played % orders.size()];
          const std::array<std::size_t, 3>& next_order = orders[(played / orders.size()) % orders.size()];
          Site site(folder / ("journal-" + std::to_string(played++)));
          std::vector<float> expected = play_round(site, 1, what, order);
          const bool commits = expected != site.global();
          if (!site.close(crash)) {
            site.restart();
            if (crash == Crash::before_write) {  // the round never was: it is played again, in another order
              expected = play_round(site, 1, what, next_order);
              site.close(Crash::none);
            }
          }
          REQUIRE(site.global() == expected);
          REQUIRE(first_round.try_emplace(what, expected).first->second == expected);
          // an update of the round that is over is a replay, or too late, and changes nothing
          const Bytes old = encode_update(small_session(), Update<float>{.round = 1, .client = "a", .examples = 2, .rank = 0,
                                                                         .values = dyadic(7)});
          const Receipt receipt = site.server().receive(old, "a", 0);
          CHECK_FALSE(receipt.accepted);
          REQUIRE(site.global() == expected);

          const std::uint64_t second = commits ? 2 : 1;
          const std::vector<float> last = play_round(site, second, then, next_order);
          site.close(Crash::none);
          REQUIRE(site.global() == last);
          site.restart();  // from the journal alone
          REQUIRE(site.global() == last);
        }
      }
  CHECK(played == 7 * 7 * 7 * 3);
}
