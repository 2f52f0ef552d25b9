// A session from its first round to its last, over any transport, with a journal to go on from.
#pragma once

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "examples/common/ledger_file.hpp"
#include "examples/common/progress.hpp"
#include "examples/federated/start.hpp"
#include "lorasb/federated/noised_aggregator.hpp"
#include "lorasb/federated/round_journal.hpp"
#include "lorasb/federated/transport.hpp"

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
  nlohmann::json privacy;  // of a private session; else null
  Digest digest{};      // of the global numbers
  double seconds = 0;   // of this process
};

/// Rounds that have changed the global numbers. Those of local and central training all do.
inline Index committed_rounds(const nlohmann::json& rounds) {
  return std::ranges::count_if(rounds, [](const nlohmann::json& line) { return line.value("committed", true); });
}

namespace detail {

/// Bytes of a message, and those of its adapters.
struct MessageSize {
  std::size_t all = 0;
  std::size_t adapter = 0;

  MessageSize& operator+=(MessageSize other) {
    all += other.all;
    adapter += other.adapter;
    return *this;
  }
};
inline MessageSize size_of(std::span<const std::byte> message, const ParameterLayout& layout) {
  MessageSize size{.all = message.size(), .adapter = 0};
  try {
    for (const io::TensorInfo& t : io::parse_safetensors_header(message, "the message").tensors) {
      const ParameterLayout::Tensor* const known = layout.find(t.name);
      if (known == nullptr || !is_head(known->role)) size.adapter += t.end - t.begin;  // a delta is an adapter's too
    }
  } catch (const Error&) {  // no message: the server will say so
  }
  return size;
}

/// Passes everything on, counts what clients send, and shows how many have answered.
template <federated::Transport T>
class CountingTransport {
 public:
  CountingTransport(T& transport, const ParameterLayout& layout, const std::string& name, std::size_t clients)
      : transport_(transport), layout_(layout), bar_(std::in_place, name, double(clients), "clients") {}

  double now() const { return transport_.now(); }
  void bound_answers(std::size_t bytes) {
    if constexpr (federated::BoundedTransport<T>) transport_.bound_answers(bytes);
  }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    transport_.ask(clients, std::move(message));
  }
  std::optional<federated::Delivery> next(double deadline_seconds) {
    std::optional<federated::Delivery> delivery = transport_.next(deadline_seconds);
    if (delivery && delivery->failure.empty()) {
      sent_ += size_of(delivery->message, layout_);
      ++messages_;
    }
    if (delivery)
      bar_->update(double(++answers_), 0, "");
    else
      bar_.reset();
    return delivery;
  }

  MessageSize sent() const { return sent_; }
  Index messages() const { return messages_; }

 private:
  T& transport_;
  const ParameterLayout& layout_;
  std::optional<ProgressBar> bar_;  // until the round is over
  MessageSize sent_;
  Index messages_ = 0;
  Index answers_ = 0;  // failures too
};

}  // namespace detail

/// The ledgers of a private session with a journal.
inline LedgerFile ledger_file(const FederateOptions& options) {
  return LedgerFile(options.journal.string() + ".ledger",
                    options.privacy.enabled && !options.privacy.noise_seed && !options.journal.empty());
}

/// The journal that --journal names, checked or made; nothing without the option. Throws what Journal throws.
inline std::optional<io::Journal> open_journal(const FederateOptions& options) {
  if (options.journal.empty()) return std::nullopt;
  if (!std::filesystem::exists(options.journal)) ledger_file(options).remove();
  return std::optional<io::Journal>(std::in_place, options.journal, run_config(options));
}

/// The server's side of a session.
template <federated::Transport T>
class SessionRun {
 public:
  /// Goes on from the journal, and adds to it. Everything must outlive it. `accounts` are those of a private session, `mixed` that
  /// of one with experts; null without.
  SessionRun(const FederatedTask& task, const FederateOptions& options, SharedModel& shared, T& transport,
             std::optional<io::Journal>& journal, const StartResult& started = {}, Accounts* accounts = nullptr,
             const FederatedMixture* mixed = nullptr)
      : task_(task),
        options_(options),
        shared_(shared),
        transport_(transport),
        journal_(journal),
        accounts_(accounts),
        mixed_(mixed),
        workplace_(task, shared, mixed, 4) {
    federated::ServerOptions serving{.min_clients = options.min_clients,
                                     .cap = options.cap,
                                     .participation = options.participation,
                                     .seed = options.seed,
                                     .keep_updates = true};
    std::unique_ptr<federated::Aggregator<float>> aggregator;
    if (options.poisson_rate > 0) {
      draws_ = options.privacy.enabled ? options.privacy.source(3) : std::make_unique<privacy::SeededNoise>(options.seed, 3);
      sample_.emplace(options.clients, options.poisson_rate, *draws_);
    }
    if (accounts_ != nullptr && options.privacy.unit == privacy::PrivacyUnit::client) {
      using Noised = federated::NoisedAggregator<float>;
      const federated::NoisedAggregatorOptions noised{
          .clip = options.privacy.clip,
          .noise = accounts_->mechanism().sigma,
          .clients = std::ssize(federated::select_clients(options.clients, options.participation, 0, 1)),
          .rate = accounts_->mechanism().q};
      noise_ = options.privacy.source(1);
      aggregator = std::make_unique<Noised>(shared.session().layout.size(), noised, noise_);
      serving = Noised::server_options(serving, noised);
    }
    if (mixed_ != nullptr)
      aggregator = std::make_unique<federated::ExpertAggregator<float>>(shared.session().layout.size(), options.experts, mixed_->cores);
    if (options.aggregate != Aggregate::mean)
      aggregator = std::make_unique<federated::RobustAggregator<float>>(
          shared.session().layout.size(),
          federated::RobustOptions{.rule = robust_rule(options.aggregate),
                                   .trimmed_share = options.trimmed_share,
                                   .liars = options.liars});
    if (options.server.enabled()) {
      const Index size = shared.session().layout.size();
      optimizer_ = std::make_shared<federated::ServerOptimizer<float>>(size, options.server.optimizer());
      if (aggregator == nullptr) aggregator = std::make_unique<federated::ExactAggregator<float>>(size);
      aggregator = std::make_unique<federated::OptimizedAggregator<float>>(std::move(aggregator), optimizer_);
    }
    server_.emplace(shared.session(), std::as_const(shared).values().flat(), client_names(options.clients), serving,
                    std::move(aggregator));
    result_.start = started;
    total_ = {.all = started.bytes_total, .adapter = started.bytes_total};
  }

  SessionResult finish() {
    const double start = seconds_now();
    message_ = std::make_shared<const Bytes>(shared_.message(1, std::as_const(shared_).values().flat(), {}));
    shared_.take(*message_);
    result_.start.accuracy = measure();
    if (journal_) resume();
    while (std::ssize(result_.rounds) < options_.rounds && round()) {}
    result_.digest = shared_.digest();
    if (accounts_ != nullptr) {
      result_.privacy = accounts_->report();
      result_.privacy["probe"] = {{"texts", task_.test.size()}, {"before", result_.start.accuracy}, {"after", result_.accuracy}};
    }
    result_.seconds = seconds_now() - start;
    return std::move(result_);
  }

 private:
  /// Takes back what the journal holds, here and at every host.
  void resume() {
    federated::resume_from<float>(*journal_, *server_, [&](const federated::RoundRecord& record) {
      nlohmann::json line = nlohmann::json::parse(record.line);
      if (accounts_ != nullptr) accounts_->restore(line["ledgers"]);
      line.erase("ledgers");
      result_.rounds.push_back(line);
      total_ = {.all = line.at("bytes_total"), .adapter = line.at("adapter_bytes_total")};
      result_.accuracy = line.at("accuracy");
      if (record.message.empty()) return std::span<const float>();
      if (optimizer_) optimizer_->restore(record.state);
      if (shared_.adds_to_weights()) transport_.ask({}, message_);  // otherwise the last message says it all
      message_ = std::make_shared<const Bytes>(record.message);
      shared_.take(*message_);
      return std::as_const(shared_).values().flat();
    });
    if (accounts_ != nullptr && ledger_file_.is_written()) {
      const std::optional<std::string> spent = ledger_file_.read();
      require(spent || result_.rounds.empty(), ErrorId::journal, "there is no \"", ledger_file_.path().string(),
              "\" beside the journal: what was spent after it is unknown");
      if (spent) accounts_->restore(nlohmann::json::parse(*spent));
    }
    if (!result_.rounds.empty()) std::printf("The journal holds %zu rounds\n", result_.rounds.size());
  }

  /// False when the budget has no room for one more.
  bool round() {
    const double began = seconds_now();
    const double timeout = options_.round_seconds > 0 ? options_.round_seconds : 1e9;
    if (sample_) {
      sample_->seek(0, static_cast<std::uint64_t>(next_line()));
      const std::span<const Index> drawn = sample_->next();
      server_->select({drawn.begin(), drawn.end()});
    }
    const std::vector<Index> selected = server_->selected();
    const std::size_t asked = selected.size();
    if (accounts_ != nullptr) {
      if (!accounts_->has_room(selected)) {
        std::fprintf(stderr, "Rounds that were lost are paid for: the budget has no room for round %td of %td\n", next_line(),
                     options_.rounds);
        return false;
      }
      accounts_->charge(selected);
      ledger_file_.save(accounts_->saved().dump());  // before anybody is asked
    }
    if (noise_) noise_->start_step(server_->round());
    detail::CountingTransport counting(transport_, shared_.session().layout, concat("round ", next_line(), "/", options_.rounds), asked);
    const federated::RoundReport report = federated::run_round(*server_, counting, message_, timeout);
    for (const std::string& failure : report.failures) std::fprintf(stderr, "round %td: %s\n", next_line(), failure.c_str());
    const detail::MessageSize sent = counting.sent();
    // who takes no part needs what a round has added to the model all the same
    const bool adds = shared_.adds_to_weights() && shared_.round() > 1;
    const std::size_t receivers = adds ? static_cast<std::size_t>(options_.clients) : asked;
    const detail::MessageSize down = detail::size_of(*message_, shared_.session().layout);
    total_.all += sent.all + down.all * receivers;
    total_.adapter += sent.adapter + down.adapter * receivers;

    nlohmann::json exactness;  // null for a round that changes nothing
    Bytes next;
    if (report.committed) {
      next = shared_.message(server_->round(), server_->global(), server_->admitted());
      const std::vector<Weight<double>> added_before = shared_.added();
      shared_.take(next);
      if (mixed_ != nullptr)
        exactness = federated::expert_exactness_error<float>(mixed_->mixture.bank.bases(), mixed_->cores, server_->admitted(),
                                                             std::as_const(shared_).values().flat());
      else if (!noise_ && !optimizer_ && options_.aggregate == Aggregate::mean)
        exactness = shared_.exactness_error(added_before, server_->admitted());
      result_.accuracy = measure();
      message_ = std::make_shared<const Bytes>(next);
    } else if (result_.rounds.empty()) {
      result_.accuracy = measure();
    }
    nlohmann::json rejected = nlohmann::json::object();
    for (const auto& [reason, name] : federated::reason_table)
      if (report.rejected_for(reason) > 0) rejected[std::string(name)] = report.rejected_for(reason);
    const auto a_client = [&](std::size_t bytes) {
      return counting.messages() > 0 ? double(bytes) / double(counting.messages()) : 0;
    };
    nlohmann::json line = {{"round", next_line()},
                                 {"accuracy", result_.accuracy},
                                 {"committed", report.committed},
                                 {"bytes_up_per_client", a_client(sent.all)},
                                 {"adapter_bytes_up_per_client", a_client(sent.adapter)},
                                 {"bytes_down_per_client", down.all},
                                 {"adapter_bytes_down_per_client", down.adapter},
                                 {"bytes_total", total_.all},
                                 {"adapter_bytes_total", total_.adapter},
                                 {"accepted", report.accepted},
                                 {"rejected", rejected},
                                 {"failed", report.failures.size()},
                                 {"exactness_error", exactness}};
    if (mixed_ != nullptr) {
      std::vector<std::uint64_t> weights(static_cast<std::size_t>(options_.experts));
      for (const federated::AdmittedUpdate<float>& update : server_->admitted())
        for (std::size_t e = 0; e < weights.size(); ++e) weights[e] += update.experts[e];
      line["expert_weights"] = weights;
    }
    if (accounts_ != nullptr) line["epsilon_so_far"] = accounts_->epsilon_so_far();
    if (journal_) {
      nlohmann::json kept = line;
      if (accounts_ != nullptr) kept["ledgers"] = accounts_->saved();
      federated::RoundRecord record{.line = kept.dump(), .clients = report.clients, .message = next};
      if (optimizer_ && report.committed) record.state = optimizer_->state();
      journal_->append(federated::encode_record(record));
    }
    result_.rounds.push_back(line);
    print(line, asked, seconds_now() - began);
    return true;
  }

  std::ptrdiff_t next_line() const { return std::ssize(result_.rounds) + 1; }

  double measure() {
    std::ranges::copy(std::as_const(shared_).values().flat(), workplace_.values.flat().begin());
    return models::accuracy(workplace_.classifier, task_.test, 4, options_.threads);
  }

  void print(const nlohmann::json& line, std::size_t asked, double seconds) const {
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
    std::printf("round %3.0f/%td  accuracy %5.2f %%  %.0f of %zu updates%s  a client: %.1f KB up, %.1f KB down%s  %.1f s\n",
                number("round"), options_.rounds, 100 * number("accuracy"), number("accepted"), asked, more.c_str(),
                number("bytes_up_per_client") / 1000, number("bytes_down_per_client") / 1000, exactness, seconds);
    std::fflush(stdout);
  }

  const FederatedTask& task_;
  const FederateOptions& options_;
  SharedModel& shared_;
  T& transport_;
  std::optional<io::Journal>& journal_;
  Accounts* accounts_;                           // of a private session
  const FederatedMixture* mixed_;                // of a session with experts
  LedgerFile ledger_file_ = ledger_file(options_);
  std::shared_ptr<privacy::NoiseSource> noise_;  // of the server, with --unit client
  std::unique_ptr<privacy::NoiseSource> draws_;      // of Poisson samples of clients
  std::optional<privacy::PoissonBatches> sample_;
  std::shared_ptr<federated::ServerOptimizer<float>> optimizer_;  // null without --server-optimizer
  Workplace workplace_;  // of the global model
  std::optional<federated::Server<float>> server_;
  std::shared_ptr<const Bytes> message_;  // that starts the next round
  detail::MessageSize total_;             // of all messages so far
  SessionResult result_;
};

}  // namespace lorasb::examples
