// The server's side of a session from its first round to its last: shared model, rounds, journal and ledgers in the right order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/federated/baselines/shared_model.hpp"
#include "lorasb/federated/counting_transport.hpp"
#include "lorasb/federated/privacy_accounts.hpp"
#include "lorasb/federated/round_journal.hpp"
#include "lorasb/federated/server_optimizer.hpp"
#include "lorasb/train/ledger_file.hpp"

namespace lorasb::federated {

template <Real S>
struct SessionRunOptions {
  ServerOptions server = {};
  std::unique_ptr<Aggregator<S>> aggregator = nullptr;       // null: the exact mean
  std::shared_ptr<ServerOptimizer<S>> optimizer = nullptr;   // steps along the aggregator's result; null: that is the new model
  double round_seconds = 1e9;                                // deadline of a round
  privacy::PoissonBatches* sample = nullptr;                 // draws the clients of a round; null: as ServerOptions::participation says
  std::shared_ptr<privacy::NoiseSource> noise = nullptr;     // of a NoisedAggregator
  PrivacyAccounts* accounts = nullptr;                       // of a private session
  train::LedgerFile ledger_file = {};                        // where they stand ahead of the journal
};

/// A round that has been, and what it sent.
struct SessionRound {
  RoundReport report = {};
  Index asked = 0;
  MessageSize up = {};         // of all answers, which report.messages counts
  MessageSize down = {};       // of the message that started the round
  std::size_t receivers = 0;   // of it: who was asked, and everybody where rounds add to the weights
  std::optional<double> exactness_error = {};  // where the mean is meant to be exact (SharedModel::exactness_error)

  MessageSize sent() const { return {.all = up.all + down.all * receivers, .adapter = up.adapter + down.adapter * receivers}; }
};

/// A session over a SharedModel and any transport. In each round: clients are drawn, their accounts are charged and written down,
/// the round's message goes out and answers come in, and the shared model takes what was committed. record() then appends the
/// round to the journal; report it afterwards. A server that was killed goes on from the journal to the same bits, and has paid
/// for the round that it has lost.
///
///     SessionRun<float, InProcessTransport> run(shared, transport, names, {.server = {.min_clients = 2}}, &journal);
///     run.resume([&](const nlohmann::json& line) { ... what was reported of a round before ... });
///     while (run.rounds() < 20) {
///       const std::optional<SessionRound> found = run.round();
///       if (!found) break;   // rounds that were lost are paid for: the budget has no room
///       run.record({{"accuracy", measure(shared.values())}});
///     }
template <Real S, Transport T>
class SessionRun {
 public:
  /// Everything must outlive it. `journal` is null without one. Throws what Server's constructor throws.
  SessionRun(SharedModel<S>& shared, T& transport, std::vector<std::string> clients, SessionRunOptions<S> options,
             io::Journal* journal = nullptr)
      : shared_(shared), transport_(transport), journal_(journal), plain_mean_(!options.aggregator && !options.optimizer),
        clients_(clients.size()),
        server_(shared.session(), std::as_const(shared).values().flat(), std::move(clients), serving(options),
                aggregator(std::move(options.aggregator), options.optimizer, shared.session().layout.size())),
        options_(std::move(options)) {
    message_ = std::make_shared<const Bytes>(shared_.message(1, std::as_const(shared_).values().flat(), {}));
    shared_.take(*message_);
  }
  SessionRun(const SessionRun&) = delete;
  SessionRun& operator=(const SessionRun&) = delete;

  const Server<S>& server() const { return server_; }
  /// That were held, whether they committed or not.
  std::size_t rounds() const { return rounds_; }

  /// Takes back what the journal holds, here and at every host. on_line(line) is called for each round with what record() was
  /// given. Without a journal nothing happens. Throws what resume_from() throws, and ErrorId::journal where what was spent is not
  /// known.
  void resume(const std::function<void(const nlohmann::json& line)>& on_line) {
    if (journal_ == nullptr) return;
    resume_from<S>(*journal_, server_, [&](const RoundRecord& record) {
      nlohmann::json line = io::parse_json(record.line, "the line of a round");
      if (options_.accounts != nullptr) restore(line["ledgers"]);
      line.erase("ledgers");
      on_line(line);
      ++rounds_;
      if (record.message.empty()) return std::span<const S>();
      if (options_.optimizer) options_.optimizer->restore(record.state);
      if (shared_.adds_to_weights()) transport_.ask({}, message_);  // otherwise the last message says it all
      message_ = std::make_shared<const Bytes>(record.message);
      shared_.take(*message_);
      return std::as_const(shared_).values().flat();
    });
    if (options_.accounts == nullptr || !options_.ledger_file.is_written()) return;
    const std::optional<std::string> spent = options_.ledger_file.read();
    require(spent || rounds_ == 0, ErrorId::journal, "there is no \"", options_.ledger_file.path().string(),
            "\" beside the journal: what was spent after it is unknown");
    if (spent) restore(io::parse_json(*spent, options_.ledger_file.path().string()));
  }

  /// The next round; nothing when the budget has no room for it, and then nobody was asked. `on_answer` is called with the number
  /// of answers so far. Throws what run_round() throws, and ErrorId::file_write where the ledgers cannot be written.
  std::optional<SessionRound> round(const std::function<void(Index answers)>& on_answer = {}) {
    if (options_.sample != nullptr) {
      options_.sample->seek(0, rounds_ + 1);
      const std::span<const Index> drawn = options_.sample->next();
      server_.select({drawn.begin(), drawn.end()});
    }
    const std::vector<Index> asked = server_.selected();
    if (options_.accounts != nullptr) {
      if (!options_.accounts->has_room(asked)) return std::nullopt;
      options_.accounts->charge(asked);
      options_.ledger_file.save(nlohmann::json(options_.accounts->saved()).dump());  // before anybody is asked
    }
    if (options_.noise) options_.noise->start_step(server_.round());
    SessionRound found{.asked = std::ssize(asked), .down = size_of(*message_, shared_.session().layout), .receivers = asked.size()};
    // who takes no part needs what a round has added to the model all the same
    if (shared_.adds_to_weights() && shared_.round() > 1) found.receivers = clients_;
    CountingTransport<T> counting(transport_, shared_.session().layout, on_answer);
    found.report = run_round(server_, counting, message_, options_.round_seconds);
    found.up = counting.sent();
    last_ = {.clients = found.report.clients};
    if (found.report.committed) {
      last_.message = shared_.message(server_.round(), server_.global(), server_.admitted());
      if (options_.optimizer) last_.state = options_.optimizer->state();
      const std::vector<Weight<double>> added_before = shared_.added();
      shared_.take(last_.message);
      if (plain_mean_) found.exactness_error = shared_.exactness_error(added_before, server_.admitted());
      message_ = std::make_shared<const Bytes>(last_.message);
    }
    ++rounds_;
    return found;
  }

  /// Appends the last round to the journal with a line of the caller's, an object without "ledgers". Without a journal nothing
  /// happens. Throws what Journal::append throws.
  void record(nlohmann::json line) {
    if (journal_ == nullptr) return;
    if (options_.accounts != nullptr) line["ledgers"] = options_.accounts->saved();
    last_.line = line.dump();
    journal_->append(encode_record(last_));
  }

 private:
  static ServerOptions serving(const SessionRunOptions<S>& options) {
    ServerOptions server = options.server;
    server.keep_updates = true;
    return server;
  }
  static std::unique_ptr<Aggregator<S>> aggregator(std::unique_ptr<Aggregator<S>> mean,
                                                   const std::shared_ptr<ServerOptimizer<S>>& optimizer, Index size) {
    if (optimizer == nullptr) return mean;
    if (mean == nullptr) mean = std::make_unique<ExactAggregator<S>>(size);
    return std::make_unique<OptimizedAggregator<S>>(std::move(mean), optimizer);
  }
  void restore(const nlohmann::json& saved) {
    std::vector<std::string> texts;
    if (saved.is_array())
      for (const nlohmann::json& one : saved)
        if (one.is_string()) texts.push_back(one.get<std::string>());
    options_.accounts->restore(texts);  // which refuses another number of them
  }

  SharedModel<S>& shared_;
  T& transport_;
  io::Journal* journal_;
  bool plain_mean_;
  std::size_t clients_, rounds_ = 0;
  Server<S> server_;
  SessionRunOptions<S> options_;
  std::shared_ptr<const Bytes> message_;  // that starts the next round
  RoundRecord last_;
};

}  // namespace lorasb::federated
