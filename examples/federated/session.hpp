// A session from its first round to its last, over any transport, with a journal to go on from.
#pragma once

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "examples/common/progress.hpp"
#include "examples/federated/start.hpp"
#include "lorasb/federated/noised_aggregator.hpp"
#include "lorasb/federated/session_run.hpp"

namespace lorasb::examples {

/// What the start of a session took, for metrics.json; the bytes are in every total.
struct StartResult {
  std::size_t bytes_up_per_client = 0, bytes_down_per_client = 0, bytes_total = 0;
  double seconds = 0;
  double accuracy = 0;  // before the first round
};
inline StartResult start_result(const SessionStart& start) {
  return {start.bytes_up_per_client, start.bytes_down_per_client, start.bytes_total, start.seconds};
}

/// What a session leaves behind. `rounds` are the lines of metrics.json.
struct SessionResult {
  StartResult start;
  nlohmann::json rounds = nlohmann::json::array();
  double accuracy = 0;  // after the last round
  bool is_finite = true;  // the global model's outputs then
  std::optional<SessionPrivacy> privacy;
  Digest digest{};      // of the global numbers
  double seconds = 0;   // of this process
};

/// Rounds that have changed the global numbers. Those of local and central training all do.
inline Index committed_rounds(const nlohmann::json& rounds) {
  return std::ranges::count_if(rounds, [](const nlohmann::json& line) { return line.value("committed", true); });
}

/// The ledgers of a private session with a journal.
inline std::filesystem::path ledger_path(const FederateOptions& options) { return options.journal.string() + ".ledger"; }
inline train::LedgerFile ledger_file(const FederateOptions& options) {
  const bool is_written = options.privacy.enabled && !options.privacy.noise_seed && !options.journal.empty();
  return is_written ? train::LedgerFile(ledger_path(options)) : train::LedgerFile();
}

/// The journal that --journal names, checked or made; nothing without the option. Throws what Journal throws.
inline std::optional<io::Journal> open_journal(const FederateOptions& options) {
  if (options.journal.empty()) return std::nullopt;
  if (!std::filesystem::exists(options.journal)) std::filesystem::remove(ledger_path(options));
  return std::optional<io::Journal>(std::in_place, options.journal, run_config(options));
}

/// The server's side of a session, with a line of metrics.json and of the output for each round.
template <federated::Transport T>
class ReportedSession {
 public:
  /// Goes on from the journal, and adds to it. Everything must outlive it. `accounts` are those of a private session, `mixed` that
  /// of one with experts; null without.
  ReportedSession(const FederatedTask& task, const FederateOptions& options, SharedModel& shared, T& transport,
                  std::optional<io::Journal>& journal, const StartResult& started = {}, PrivacyAccounts* accounts = nullptr,
                  const FederatedMixture* mixed = nullptr)
      : task_(task),
        options_(options),
        shared_(shared),
        accounts_(accounts),
        mixed_(mixed),
        workplace_(task, shared, mixed, 4),
        run_(shared, transport, client_names(options.clients), run_options(), journal ? &*journal : nullptr) {
    result_.start = started;
    total_ = {.all = started.bytes_total, .adapter = started.bytes_total};
  }

  SessionResult finish() {
    const double start = seconds_now();
    result_.start.accuracy = measure();
    run_.resume([&](const nlohmann::json& line) {
      result_.rounds.push_back(line);
      total_ = {.all = line.at("bytes_total"), .adapter = line.at("adapter_bytes_total")};
      result_.accuracy = line.at("accuracy");
    });
    if (!result_.rounds.empty()) std::printf("The journal holds %zu rounds\n", result_.rounds.size());
    const std::size_t known = result_.rounds.size();
    while (std::ssize(result_.rounds) < options_.rounds && round()) {}
    if (known > 0 && result_.rounds.size() == known) result_.accuracy = measure();
    result_.digest = shared_.digest();
    if (accounts_ != nullptr) {
      result_.privacy = privacy_report(*accounts_, options_);
      result_.privacy->metrics["probe"] = {{"texts", task_.test.size()}, {"before", result_.start.accuracy}, {"after", result_.accuracy}};
    }
    result_.seconds = seconds_now() - start;
    return std::move(result_);
  }

 private:
  federated::SessionRunOptions<float> run_options() {
    const Index size = shared_.session().layout.size();
    federated::SessionRunOptions<float> run{.server = {.min_clients = options_.min_clients,
                                                       .cap = options_.cap,
                                                       .participation = options_.participation,
                                                       .seed = options_.seed},
                                            .accounts = accounts_,
                                            .ledger_file = ledger_file(options_)};
    if (options_.round_seconds > 0) run.round_seconds = options_.round_seconds;
    if (options_.poisson_rate > 0) {
      draws_ = options_.privacy.enabled ? options_.privacy.source(3) : std::make_unique<privacy::SeededNoise>(options_.seed, 3);
      run.sample = &sample_.emplace(options_.clients, options_.poisson_rate, *draws_);
    }
    if (accounts_ != nullptr && options_.privacy.unit == privacy::PrivacyUnit::client) {
      using Noised = federated::NoisedAggregator<float>;
      const federated::NoisedAggregatorOptions noised{
          .clip = options_.privacy.clip,
          .noise = accounts_->mechanism().noise,
          .clients = std::ssize(federated::select_clients(options_.clients, options_.participation, 0, 1)),
          .rate = accounts_->mechanism().rate};
      run.noise = options_.privacy.source(1);
      run.aggregator = std::make_unique<Noised>(size, noised, run.noise);
      run.server = Noised::server_options(run.server, noised);
    }
    if (mixed_ != nullptr)
      run.aggregator = std::make_unique<federated::ExpertAggregator<float>>(size, options_.experts, mixed_->cores);
    if (options_.aggregate != Aggregate::mean)
      run.aggregator = std::make_unique<federated::RobustAggregator<float>>(
          size, federated::RobustOptions{.rule = robust_rule(options_.aggregate),
                                         .trimmed_share = options_.trimmed_share,
                                         .liars = options_.liars});
    if (options_.server.enabled())
      run.optimizer = std::make_shared<federated::ServerOptimizer<float>>(size, options_.server.optimizer());
    return run;
  }

  /// False when the budget has no room for one more.
  bool round() {
    const double began = seconds_now();
    const double expected = sample_ ? sample_->expected_batch_size() : double(run_.server().selected().size());
    std::optional<ProgressBar> bar(std::in_place, concat("round ", next_line(), "/", options_.rounds), expected, "clients");
    const std::optional<federated::SessionRound> found = run_.round([&](Index answers) { bar->update(double(answers), 0, ""); });
    bar.reset();
    if (!found) {
      std::fprintf(stderr, "Rounds that were lost are paid for: the budget has no room for round %td of %td\n", next_line(),
                   options_.rounds);
      return false;
    }
    const federated::RoundReport& report = found->report;
    for (const std::string& failure : report.failures) std::fprintf(stderr, "round %td: %s\n", next_line(), failure.c_str());
    total_ += found->sent();
    if (report.committed || result_.rounds.empty()) result_.accuracy = measure();
    nlohmann::json exactness;  // null for a round that changes nothing
    if (found->exactness_error)
      exactness = *found->exactness_error;
    else if (mixed_ != nullptr && report.committed)
      exactness = federated::expert_exactness_error<float>(mixed_->mixture.bank.bases(), mixed_->cores, run_.server().admitted(),
                                                           std::as_const(shared_).values().flat());
    nlohmann::json rejected = nlohmann::json::object();
    for (const auto& [reason, name] : federated::reason_table)
      if (report.rejected_for(reason) > 0) rejected[std::string(name)] = report.rejected_for(reason);
    const auto a_client = [&](std::size_t bytes) { return report.messages > 0 ? double(bytes) / double(report.messages) : 0; };
    nlohmann::json line = {{"round", next_line()},
                           {"accuracy", result_.accuracy},
                           {"committed", report.committed},
                           {"bytes_up_per_client", a_client(found->up.all)},
                           {"adapter_bytes_up_per_client", a_client(found->up.adapter)},
                           {"bytes_down_per_client", found->down.all},
                           {"adapter_bytes_down_per_client", found->down.adapter},
                           {"bytes_total", total_.all},
                           {"adapter_bytes_total", total_.adapter},
                           {"accepted", report.accepted},
                           {"rejected", rejected},
                           {"failed", report.failures.size()},
                           {"exactness_error", exactness}};
    if (mixed_ != nullptr) {
      std::vector<std::uint64_t> weights(static_cast<std::size_t>(options_.experts));
      for (const federated::AdmittedUpdate<float>& update : run_.server().admitted())
        for (std::size_t e = 0; e < weights.size(); ++e) weights[e] += update.experts[e];
      line["expert_weights"] = weights;
    }
    if (accounts_ != nullptr) line["epsilon_so_far"] = accounts_->epsilon_so_far();
    run_.record(line);
    result_.rounds.push_back(line);
    print(line, found->asked, seconds_now() - began);
    return true;
  }

  std::ptrdiff_t next_line() const { return std::ssize(result_.rounds) + 1; }

  /// 0, with a word on standard error, where the outputs are not finite.
  double measure() {
    std::ranges::copy(std::as_const(shared_).values().flat(), workplace_.values.flat().begin());
    result_.is_finite = true;
    try {
      return models::accuracy(workplace_.classifier, task_.test, 4, options_.threads);
    } catch (const Error& error) {
      if (error.id() != ErrorId::not_finite) throw;
      std::fprintf(stderr, "the global model: %s\n", error.what());
    }
    result_.is_finite = false;
    return 0;
  }

  void print(const nlohmann::json& line, Index asked, double seconds) const {
    const auto number = [&](const char* key) { return line[key].template get<double>(); };
    std::string more;
    for (const auto& [reason, count] : line["rejected"].items()) more += concat(", ", count.template get<Index>(), " ", reason);
    if (number("failed") > 0) more += concat(", ", number("failed"), " failed");
    if (!line["committed"]) more += ", too few: nothing changed";
    if (accounts_ != nullptr) {
      char spent[64];
      std::snprintf(spent, sizeof spent, ", epsilon < %.2f%s", number("epsilon_so_far"),
                    options_.privacy.noise_seed ? " if it were private" : "");
      more += spent;
    }
    char exactness[32] = "";
    if (!line["exactness_error"].is_null())
      std::snprintf(exactness, sizeof exactness, "  exactness %.1e", number("exactness_error"));
    std::printf("round %3.0f/%td  accuracy %5.2f %%  %.0f of %td updates%s  a client: %.1f KB up, %.1f KB down%s  %.1f s\n",
                number("round"), options_.rounds, 100 * number("accuracy"), number("accepted"), asked, more.c_str(),
                number("bytes_up_per_client") / 1000, number("bytes_down_per_client") / 1000, exactness, seconds);
    std::fflush(stdout);
  }

  const FederatedTask& task_;
  const FederateOptions& options_;
  SharedModel& shared_;
  PrivacyAccounts* accounts_;                    // of a private session
  const FederatedMixture* mixed_;                // of a session with experts
  std::unique_ptr<privacy::NoiseSource> draws_;  // of Poisson samples of clients
  std::optional<privacy::PoissonBatches> sample_;
  Workplace workplace_;  // of the global model
  federated::SessionRun<float, T> run_;
  federated::MessageSize total_;  // of all messages so far
  SessionResult result_;
};

}  // namespace lorasb::examples
