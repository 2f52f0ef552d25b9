#include "lorasb/federated/session_run.hpp"

#include <vector>

#include "io/files.hpp"
#include "lorasb/federated/client.hpp"
#include "lorasb/federated/in_process.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

const std::vector<std::string> names{"a", "b", "c"};

/// Passes everything on, adds up what goes each way, and breaks down at an answer, counted over all rounds.
struct Spy {
  InProcessTransport& transport;
  int breaks_at = 0;
  std::size_t bytes = 0;
  int answers = 0;

  double now() const { return transport.now(); }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    bytes += clients.size() * message->size();
    transport.ask(clients, std::move(message));
  }
  std::optional<Delivery> next(double deadline_seconds) {
    std::optional<Delivery> delivery = transport.next(deadline_seconds);
    if (delivery) bytes += delivery->message.size();
    if (delivery && ++answers == breaks_at) throw Error(ErrorId::value, "the light went out");
    return delivery;
  }
};

/// Two modules of a frozen model, three clients that move all numbers by draws of their own, and a server; everything anew, as in
/// a process of its own.
struct Trial {
  Weight<float> W[2] = {random_matrix<Weight<float>>(6, 5, 1), random_matrix<Weight<float>>(4, 6, 2)};
  std::vector<Module<float>> modules{{"first", W[0]}, {"second", W[1]}};
  SharedModel<float> shared, at_clients;
  Clients<float> clients;
  InProcessTransport transport;
  Spy spy{transport};

  explicit Trial(FederatedMethod method)
      : shared(start(method)), at_clients(shared), clients(shared.session(), work()), transport(clients, 1) {}

  SharedModelStart<float> start(FederatedMethod method) const {
    SharedModelStart<float> s{
        .session_id = "session", .method = method, .rank = 2, .clients = 3, .seed = 5, .modules = modules, .frozen = modules};
    if (method == FederatedMethod::fed_sb)
      for (const Module<float>& m : modules)
        s.adapters.add(m.name, {.B = random_matrix<Weight<float>>(m.W0.rows(), 2, 3),
                                .R = Weight<float>::Zero(2, 2),
                                .A = random_matrix<Weight<float>>(2, m.W0.cols(), 4)});
    return s;
  }
  ClientWork<float> work() {
    return {.train =
                [](Index client, int, std::uint64_t round, std::span<float> values, LeadingMask<float>&) {
                  Random random(round, std::uint64_t(client));
                  for (float& x : values) x += 0.1f * float(random.normal());
                  return std::uint64_t(client + 1);
                },
            .names = names,
            .take =
                [this](std::span<const std::byte> message) {
                  at_clients.take(message);
                  const std::span<const float> values = std::as_const(at_clients).values().flat();
                  return Broadcast<float>{.round = at_clients.round(), .values = {values.begin(), values.end()}};
                }};
  }
  SessionRun<float, Spy> run(SessionRunOptions<float> options = {}, io::Journal* journal = nullptr) {
    return {shared, spy, names, std::move(options), journal};
  }
};

io::Journal journal_at(const std::filesystem::path& path) { return io::Journal(path, {{"seed", "5"}}); }

}  // namespace

TEST_CASE("the bytes of a session are those that were sent, and the mean is exact") {
  for (const FederatedMethod method : {FederatedMethod::fed_sb, FederatedMethod::fedex_lora}) {
    INFO(name_of(method));
    Trial trial(method);
    SessionRun<float, Spy> run = trial.run();
    std::size_t sent = 0;
    std::vector<Index> answers;
    for (int round = 1; round <= 3; ++round) {
      const std::optional<SessionRound> found = run.round([&](Index so_far) { answers.push_back(so_far); });
      REQUIRE(found);
      CHECK(found->report.committed);
      CHECK(found->asked == 3);
      CHECK(found->exactness_error.value() < 1e-6);
      sent += found->sent().all;
      CHECK(sent == trial.spy.bytes);
    }
    CHECK(answers == std::vector<Index>{1, 2, 3, 1, 2, 3, 1, 2, 3});
    CHECK(run.rounds() == 3);
    CHECK(trial.shared.round() == 4);
    run.record({{"no", "journal"}});  // nothing happens
  }
}

TEST_CASE("Rows 21 and 24: a session that was cut goes on from its journal to the same bits, its server's optimizer too") {
  const TemporaryFolder folder;
  for (const FederatedMethod method : {FederatedMethod::fed_sb, FederatedMethod::fedex_lora}) {
    INFO(name_of(method));
    const auto options = [&](Trial& trial) {
      SessionRunOptions<float> o{.server = {.participation = 0.6, .seed = 5}};
      if (method == FederatedMethod::fed_sb)
        o.optimizer = std::make_shared<ServerOptimizer<float>>(trial.shared.session().layout.size(),
                                                               ServerOptimizerOptions{.learning_rate = 0.5});
      return o;
    };
    Trial whole(method);
    {
      SessionRun<float, Spy> run = whole.run(options(whole));
      for (int round = 0; round < 4; ++round) CHECK(run.round()->exactness_error.has_value() == (method == FederatedMethod::fedex_lora));
    }
    const std::filesystem::path path = folder / std::string(name_of(method));
    {
      Trial first(method);
      io::Journal journal = journal_at(path);
      SessionRun<float, Spy> run = first.run(options(first), &journal);
      for (int round = 1; round <= 2; ++round) {
        REQUIRE(run.round());
        run.record({{"line", round}});
      }
      first.spy.breaks_at = first.spy.answers + 1;  // in the third round
      CHECK_THROWS_AS(run.round(), Error);
    }
    Trial second(method);
    io::Journal journal = journal_at(path);
    SessionRun<float, Spy> run = second.run(options(second), &journal);
    std::vector<int> lines;
    run.resume([&](const nlohmann::json& line) { lines.push_back(line.at("line").get<int>()); });
    CHECK(lines == std::vector<int>{1, 2});
    while (run.rounds() < 4) REQUIRE(run.round());
    CHECK(second.shared.digest() == whole.shared.digest());
  }
}

TEST_CASE("Rows 21, 26 and 27: a lost round of a private session is paid for, and one without room asks nobody") {
  const TemporaryFolder folder;
  const std::vector<RoundMechanism> members{dp_sgd_round(40, 8, 2), dp_sgd_round(40, 8, 2), dp_sgd_round(40, 8, 2)};
  const std::filesystem::path ledgers = folder / "ledgers", path = folder / "journal";
  const auto open = [&](bool has_budget) {
    return PrivacyAccounts(members, {.delta = 0.01,
                                     .budget = has_budget ? 2 : std::numeric_limits<double>::infinity(),
                                     .noise = has_budget ? 0.0 : 1.0,
                                     .rounds = 3});
  };
  for (const bool has_budget : {true, false}) {
    std::filesystem::remove(ledgers);
    std::filesystem::remove(path);
    std::string before;
    {
      Trial trial(FederatedMethod::fed_sb);
      PrivacyAccounts accounts = open(has_budget);
      io::Journal journal = journal_at(path);
      SessionRun<float, Spy> run = trial.run({.accounts = &accounts, .ledger_file = train::LedgerFile(ledgers)}, &journal);
      REQUIRE(run.round());
      run.record({{"round", 1}});
      before = train::LedgerFile(ledgers).read().value();
      trial.spy.breaks_at = trial.spy.answers + 2;
      CHECK_THROWS_AS(run.round(), Error);
    }
    PrivacyAccounts accounts = open(has_budget);
    {
      Trial trial(FederatedMethod::fed_sb);
      io::Journal journal = journal_at(path);
      SessionRun<float, Spy> run = trial.run({.accounts = &accounts, .ledger_file = train::LedgerFile(ledgers)}, &journal);
      run.resume([](const nlohmann::json& line) { CHECK_FALSE(line.contains("ledgers")); });
      CHECK(accounts.report()[2].steps == 4);  // two rounds, of which one is lost
      REQUIRE(run.round());
      run.record({{"round", 2}});
      const std::size_t sent = trial.spy.bytes;
      const bool third = run.round().has_value();
      CHECK(third == !has_budget);
      CHECK((trial.spy.bytes > sent) == third);
      CHECK(accounts.report()[0].steps == (has_budget ? 6 : 8));
      if (has_budget) CHECK(*accounts.report()[0].epsilon <= 2);
    }
    // with ledgers of before, or without them, nobody is asked
    const auto resume = [&] {
      Trial trial(FederatedMethod::fed_sb);
      PrivacyAccounts again = open(has_budget);
      io::Journal journal = journal_at(path);
      trial.run({.accounts = &again, .ledger_file = train::LedgerFile(ledgers)}, &journal).resume([](const nlohmann::json&) {});
    };
    train::LedgerFile(ledgers).save(before);
    CHECK_ERROR(resume(), ErrorId::journal, "of another session");
    std::filesystem::remove(ledgers);
    CHECK_ERROR(resume(), ErrorId::journal, "is unknown");
  }
}

TEST_CASE("a Poisson sample of clients is drawn by the round, and a round that too few answer changes nothing") {
  Trial trial(FederatedMethod::fed_sb);
  privacy::SeededNoise draws(3), same(3);
  privacy::PoissonBatches sample(3, 0.5, draws), expected(3, 0.5, same);
  SessionRun<float, Spy> run = trial.run({.server = {.min_clients = 3}, .sample = &sample});
  const Digest before = trial.shared.digest();
  expected.seek(0, 1);
  for (int round = 1; round <= 4; ++round) {
    const std::optional<SessionRound> found = run.round();
    REQUIRE(found);
    CHECK(found->asked == std::ssize(expected.next()));
    if (found->asked < 3) {
      CHECK_FALSE(found->report.committed);
      CHECK_FALSE(found->exactness_error);
      CHECK(trial.shared.digest() == before);
    }
    if (found->report.committed) break;
  }
}
