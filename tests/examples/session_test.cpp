// The parts of lorasb-federate that a run of the program does not show: what a shared model takes, and what a private session spends.
#include "examples/federated/session.hpp"

#include <fstream>
#include <limits>
#include <set>

#include "examples/federated/compare.hpp"
#include "models/model_files.hpp"
#include "program.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::examples;
using federated::Delivery;

namespace {

/// A task of few texts, and options of a small session on it.
struct Small {
  test::TextFolder folder;
  FederateOptions options;
  std::optional<FederatedTask> task;

  explicit Small(federated::FederatedMethod method = federated::FederatedMethod::fed_sb) {
    options.data = folder.data();
    options.model = test::model_folder();
    options.out = folder.path / "out";
    options.method = method;
    options.rank = 2;
    options.clients = 7;
    options.rounds = 3;
    options.local_steps = 1;
    options.batch = 1;
    options.init_data = "16";
    options.start_head_epochs = 1;
    options.test_size = 8;
    options.threads = 1;
    task.emplace(read_task(options));
  }
  SharedModel start(const FederateOptions& of) const {
    return make_shared_model(*task, of, start_session(*task, of, shares_of(*task, of)));
  }
};

/// Three clients that have moved all numbers of the session by draws of their own, and the mean of them.
struct Round {
  std::vector<federated::AdmittedUpdate<float>> updates;
  std::vector<float> mean;

  explicit Round(const SharedModel& shared) : mean(std::as_const(shared).values().flat().size()) {
    ExactMean<float> sum(std::ssize(mean));
    for (Index c = 0; c < 3; ++c) {
      const std::span<const float> start = std::as_const(shared).values().flat();
      updates.push_back({.client = c, .weight = 1, .values = {start.begin(), start.end()}});
      Random random(1, std::uint64_t(c));
      for (float& x : updates.back().values) x += 0.01f * float(random.normal());
      sum.add(updates.back().values, 1);
    }
    sum.mean(mean);
  }
};

/// Passes everything on and adds up the bytes that go each way to and from the clients that are asked.
struct Spy {
  federated::InProcessTransport& transport;
  std::vector<std::size_t> bytes{};  // by round

  double now() const { return transport.now(); }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    bytes.push_back(clients.size() * message->size());
    transport.ask(clients, std::move(message));
  }
  std::optional<Delivery> next(double deadline_seconds) {
    std::optional<Delivery> delivery = transport.next(deadline_seconds);
    if (delivery) bytes.back() += delivery->message.size();
    return delivery;
  }
};

}  // namespace

TEST_CASE("Row 37: a shared model takes a round's message whole, or stays as it was", "[model]") {
  if (!test::model_files_present()) return;
  for (const federated::FederatedMethod method : {federated::FederatedMethod::fed_sb, federated::FederatedMethod::fedex_lora}) {
    INFO(federated::name_of(method));
    const Small small(method);
    SharedModel shared = small.start(small.options);
    const Bytes first = shared.message(1, std::as_const(shared).values().flat(), {});
    shared.take(first);
    const auto [updates, mean] = Round(shared);
    const Bytes second = shared.message(2, mean, updates);
    const Digest before = shared.digest();
    const std::vector<Weight<double>> added = shared.added();

    const auto refused = [&](const Bytes& message, const std::string& words) {
      CHECK_ERROR(shared.take(message), ErrorId::value, words);
      CHECK(shared.digest() == before);
      CHECK(shared.round() == 1);
      CHECK(shared.added() == added);
    };
    for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{100}, second.size() / 2, second.size() - 1})
      refused(Bytes(second.begin(), second.begin() + std::ptrdiff_t(size)), "malformed");
    Bytes longer = second;
    longer.push_back(std::byte{0});
    refused(longer, "malformed");
    Bytes infinite = second;  // the last number alone, after all others were good
    const float bad = std::numeric_limits<float>::infinity();
    std::memcpy(infinite.data() + infinite.size() - sizeof bad, &bad, sizeof bad);
    refused(infinite, "non_finite");

    // a message of an older round, and one whose predecessor with its additions is missing
    refused(shared.message(0, mean, updates), "malformed");
    if (shared.adds_to_weights()) refused(shared.message(3, mean, updates), "round 3 after one of round 1");
    FederateOptions other = small.options;
    other.seed = 99;
    const SharedModel stranger = small.start(other);
    refused(stranger.message(2, mean, updates), "wrong_session");

    shared.take(second);
    CHECK(shared.round() == 2);
    CHECK(shared.digest() != before);
    const Digest after = shared.digest();
    shared.take(second);  // once more is no harm
    CHECK(shared.digest() == after);
    CHECK_ERROR(shared.take(first), ErrorId::value, "wrong_round");
    CHECK(shared.digest() == after);
  }
}

TEST_CASE("The bytes of a report are those that were sent, with a share of the clients and some without texts", "[model]") {
  if (!test::model_files_present()) return;
  Small small;
  small.options.clients = 110;  // of 104 texts
  small.options.participation = 0.2;
  const federated::Shares shares = shares_of(*small.task, small.options);
  SharedModel shared = small.start(small.options), at_clients = shared;
  TrainingClients clients(*small.task, small.options, at_clients, shares, 1);
  federated::InProcessTransport transport(clients.host(), 1);
  Spy spy{transport};
  std::optional<io::Journal> journal;
  const SessionResult result = ReportedSession(*small.task, small.options, shared, spy, journal).finish();
  REQUIRE(result.rounds.size() == 3);
  REQUIRE(spy.bytes.size() == 3);
  const nlohmann::json written = metrics(result, *small.task, small.options, shares)["rounds"];
  std::size_t total = 0;
  Index without_texts = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    total += spy.bytes[i];
    CHECK(written[i]["bytes_total"] == total);
    without_texts += written[i]["rejected"].value("no_data", 0);
    // 22 clients, 10 cores of 2 x 2, each way, and nothing of a head
    CHECK(written[i]["adapter_bytes_total"] == (i + 1) * 22 * 2 * 10 * 4 * sizeof(float));
    CHECK(written[i]["bytes_up_per_client"].get<double>() * 22 + written[i]["bytes_down_per_client"].get<double>() * 22 ==
          Approx(double(spy.bytes[i])));
  }
  CHECK(without_texts > 0);  // theirs count too
}

namespace {

/// Passes everything on but breaks down in one round, after the clients were asked.
struct Breaking {
  federated::InProcessTransport& transport;
  int breaks_in;  // counted down
  bool silent = false;

  double now() const { return transport.now(); }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    transport.ask(silent ? std::span<const Index>() : clients, std::move(message));
  }
  std::optional<Delivery> next(double deadline_seconds) {
    if (silent) return std::nullopt;
    if (breaks_in > 0 && --breaks_in == 0) throw Error(ErrorId::value, "the light went out");
    return transport.next(deadline_seconds);
  }
};

/// A private session over that transport; what it threw, or its result.
struct PrivateTrial {
  FederateOptions options;
  std::string failure = {};
  SessionResult result = {};

  void run(const Small& small, int breaks_in, bool silent = false) {
    const federated::Shares shares = shares_of(*small.task, options);
    std::optional<PrivacyAccounts> accounts = open_accounts(options, shares);
    SharedModel shared = small.start(options), at_clients = shared;
    TrainingClients clients(*small.task, options, at_clients, shares, 1, client_accounts(options, accounts));
    federated::InProcessTransport transport(clients.host(), 1);
    Breaking breaking{transport, breaks_in, silent};
    std::optional<io::Journal> journal = open_journal(options);
    failure.clear();
    try {
      result = ReportedSession(*small.task, options, shared, breaking, journal, {}, &*accounts).finish();
    } catch (const Error& error) {
      failure = error.what();
    }
  }
};

FederateOptions private_options(const Small& small, privacy::PrivacyUnit unit) {
  FederateOptions options = small.options;
  options.privacy.enabled = true;
  options.privacy.sigma = 1;
  options.privacy.delta = 0.01;
  options.privacy.unit = unit;
  options.look_ahead = 0;
  return options;
}

}  // namespace

TEST_CASE("Row 29: rounds that nobody answers are charged all the same", "[model]") {
  if (!test::model_files_present()) return;
  const Small small;
  for (const privacy::PrivacyUnit unit : {privacy::PrivacyUnit::example, privacy::PrivacyUnit::client}) {
    PrivateTrial trial{private_options(small, unit)};
    trial.run(small, 0, true);
    REQUIRE(trial.failure.empty());
    CHECK(committed_rounds(trial.result.rounds) == 0);
    CHECK(trial.result.privacy->metrics["steps"] == 3);
    CHECK(trial.result.rounds.back()["epsilon_so_far"] > trial.result.rounds.front()["epsilon_so_far"]);
  }
}

TEST_CASE("Rows 21 and 26: clients that train a lost round again have spent twice, and a budget ends the session sooner", "[model]") {
  if (!test::model_files_present()) return;
  const Small small;
  for (const bool budget : {false, true}) {
    PrivateTrial trial{private_options(small, privacy::PrivacyUnit::example)};
    trial.options.journal = small.folder.path / (budget ? "budget.journal" : "sigma.journal");
    if (budget) {
      trial.options.privacy.sigma = 0;
      trial.options.privacy.epsilon = 3;
    }
    trial.options.clients = 2;  // of shares of one size
    trial.run(small, 2 + 1 + 2);  // in the second round, when one has answered
    CHECK(trial.failure.find("the light went out") != std::string::npos);
    const std::string ledgers = test::slurp(trial.options.journal.string() + ".ledger");
    trial.run(small, 0);
    REQUIRE(trial.failure.empty());
    CHECK(trial.result.rounds.size() == (budget ? 2 : 3));
    CHECK(trial.result.privacy->metrics["steps"] == (budget ? 3 : 4));
    if (budget) CHECK(trial.result.privacy->metrics["epsilon"][0].get<double>() <= 3);
    if (budget) continue;
    // without what was spent nobody is asked
    std::filesystem::remove(trial.options.journal.string() + ".ledger");
    trial.run(small, 0);
    CHECK(trial.failure.find("is unknown") != std::string::npos);
    // nor with ledgers of before
    std::ofstream(trial.options.journal.string() + ".ledger") << ledgers;
    trial.run(small, 0);
    CHECK(trial.failure.find("of another session") != std::string::npos);
  }
}

TEST_CASE("Poisson samples of clients amplify, also a round of nobody, and a fixed number does not", "[model]") {
  if (!test::model_files_present()) return;
  const Small small;
  PrivateTrial drawn{private_options(small, privacy::PrivacyUnit::client)};
  PrivateTrial fixed = drawn;
  drawn.options.poisson_rate = 0.2;
  drawn.options.rounds = fixed.options.rounds = 6;
  drawn.options.privacy.noise_seed = fixed.options.privacy.noise_seed = 4;
  fixed.options.participation = 0.2;
  drawn.run(small, 0);
  fixed.run(small, 0);
  REQUIRE(drawn.failure.empty());
  REQUIRE(fixed.failure.empty());
  std::set<Index> sizes;
  for (const nlohmann::json& round : drawn.result.rounds) {
    CHECK(round["committed"] == true);
    sizes.insert(round["accepted"].get<Index>());
  }
  CHECK(sizes.size() > 1);
  CHECK(sizes.contains(0));  // with this seed: noise alone
  const auto spent = [](const PrivateTrial& trial) { return trial.result.rounds.back()["epsilon_so_far"].get<double>(); };
  const privacy::SubsampledGaussian amplified{.rate = 0.2, .noise = 1, .steps = 6}, plain{.rate = 1, .noise = 1, .steps = 6};
  CHECK(spent(drawn) == Approx(privacy::epsilon_of({&amplified, 1}, 0.01).epsilon).epsilon(1e-9));
  CHECK(spent(fixed) == Approx(privacy::epsilon_of({&plain, 1}, 0.01).epsilon).epsilon(1e-9));
  CHECK(drawn.result.privacy->metrics["q"].get<double>() == Approx(0.2));
  CHECK(drawn.result.privacy->metrics["client_sampling"] == "poisson:0.2");
  CHECK(statement(fixed.result.privacy->spent, fixed.options).find("amplifies nothing") != std::string::npos);
  PrivateTrial again{drawn.options};
  again.run(small, 0);
  CHECK(again.result.digest == drawn.result.digest);
}
