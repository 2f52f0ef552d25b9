// The server's side of a session: rounds that open, admit updates in any order, and close with new values or unchanged.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/digest.hpp"
#include "lorasb/federated/admission.hpp"
#include "lorasb/federated/aggregator.hpp"
#include "lorasb/federated/norm_bound.hpp"
#include "lorasb/federated/update.hpp"

namespace lorasb::federated {

/// A server is an Admission (who counts), an Aggregator (what the updates become) and the global values. By default the values
/// after a round are the exact mean of the accepted set: the same bits in any order. An update of a lower rank counts with the
/// global values where it did not train. With options.planned_clients the divisor is public, whoever answers: for each client
/// that is missing the global values count.
///
/// receive() may be called from many threads at once, also while another one opens and closes rounds; global(), admitted() and
/// the rest belong to that one. Time is given by the caller, in seconds of any clock that does not go back.
///
///     Server<float> server(session, start, {"a", "b", "c"}, {.min_clients = 2});
///     server.open(now, now + 60);
///     Receipt receipt = server.receive(bytes, "a", now);   // of an authenticated peer
///     RoundReport report = server.close();
template <Real S>
class Server {
 public:
  /// `start` holds the first global values, in session.layout; `clients` all that may ever take part; `aggregator` is an empty
  /// one, null for the exact mean. Throws ErrorId::shape, value, not_finite, duplicate_name.
  Server(Session session, std::span<const S> start, std::vector<std::string> clients, ServerOptions options,
         std::unique_ptr<Aggregator<S>> aggregator = nullptr)
      : session_(std::move(session)),
        options_(options),
        admission_(std::move(clients), options),
        aggregator_(aggregator ? std::move(aggregator) : std::make_unique<ExactAggregator<S>>(session_.layout.size())),
        global_(start.begin(), start.end()) {
    require(std::ssize(start) == session_.layout.size(), ErrorId::shape, "federated::Server: start has ", start.size(),
            " numbers, expected ", session_.layout.size());
    require(all_finite(start), ErrorId::not_finite, "federated::Server: start holds NaN or infinity");
    aggregator_->require_server(options_);
  }

  const Session& session() const { return session_; }
  const std::vector<std::string>& clients() const { return admission_.clients(); }
  /// The global values, as the last commit left them.
  std::span<const S> global() const { return global_; }
  std::uint64_t round() const { return admission_.round(); }
  bool is_open() const { return admission_.is_open(); }
  std::vector<Index> selected() const { return admission_.selected(); }
  /// Names the clients of the next round instead of options.participation. Throws what Admission::select does.
  void select(std::vector<Index> clients) {
    const std::lock_guard lock(mutex_);
    admission_.select(std::move(clients));
  }
  /// The bytes of the largest update that can be admitted: what a transport need not take in beyond that.
  std::size_t largest_message() const { return federated::largest_message<S>(session_.layout, session_.experts); }
  /// Updates that count so far.
  Index accepted() const {
    const std::lock_guard lock(mutex_);
    return admission_.accepted();
  }

  /// Opens the round. Updates that arrive after `deadline` are late. Throws ErrorId::value when a round is open already, and
  /// for a deadline that is not after `now`.
  void open(double now_seconds, double deadline_seconds) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Aggregator<S>> sum = aggregator_->empty();
    admission_.open(now_seconds, deadline_seconds);
    sum_ = std::move(sum);
    report_.round = admission_.round();
    admitted_.clear();
  }

  /// Validates the message and admits its update, whole or not at all. `peer` is who sent it, as the transport has
  /// authenticated it. Only std::bad_alloc, or what an aggregator of the caller's throws, can leave it, and then the round is as
  /// it was.
  Receipt receive(std::span<const std::byte> message, std::string_view peer, double now_seconds) {
    std::uint64_t round = 0;
    {
      const std::lock_guard lock(mutex_);
      round = admission_.round();
    }
    Checked<Update<S>> validated = Rejection{Reason::unknown_client, concat(in_quotes(peer), " is not of this session")};
    Digest digest{};
    if (admission_.knows(peer)) {                                // a stranger's bytes are not looked at
      validated = validate_update<S>(session_, round, message);  // touches nothing
      Sha256 sha;
      sha.update(message);
      digest = sha.digest();
    }
    const std::lock_guard lock(mutex_);
    std::optional<Rejection> rejection;
    if (Rejection* const rejected = std::get_if<Rejection>(&validated))
      rejection = std::move(*rejected);
    else
      rejection = admit(std::get<Update<S>>(std::move(validated)), digest, peer, now_seconds);
    report_.bytes_received += message.size();
    ++report_.messages;
    if (rejection) ++report_.rejected[static_cast<std::size_t>(rejection->reason)];
    return {.accepted = !rejection, .rejection = std::move(rejection)};
  }

  /// Closes the round: with min_clients updates or more the aggregator's result becomes the global values, all at once, and the
  /// round number rises; otherwise nothing changes. Throws ErrorId::value when no round is open, and std::bad_alloc or what the
  /// aggregator throws, and then the round is open as before.
  RoundReport close() {
    const std::lock_guard lock(mutex_);
    require(admission_.is_open(), ErrorId::value, "federated::Server::close: no round is open");
    // first what may fail, on copies
    std::unique_ptr<Aggregator<S>> sum = sum_->clone();
    for (const auto& [client, update] : held_) sum->add(update);
    RoundReport report = report_;
    report.accepted = admission_.accepted();
    report.clients = admission_.accepted_clients();
    report.total_weight = sum->total_weight();
    report.committed = report.accepted >= options_.min_clients;
    std::vector<S> next(report.committed ? global_.size() : 0);
    if (report.committed) {
      const Index missing = std::max<Index>(options_.planned_clients - report.accepted, 0);
      sum->commit(global_, static_cast<std::uint32_t>(missing), next);
      require(all_finite(std::span<const S>(next)), ErrorId::not_finite,
              "federated::Server::close: the aggregator gave NaN or infinity");
    }
    std::vector<AdmittedUpdate<S>> kept;
    kept.reserve(options_.keep_updates ? held_.size() : 0);
    // then what cannot
    if (options_.keep_updates)
      for (auto& [client, update] : held_) kept.push_back(std::move(update));
    if (report.committed) {
      global_.swap(next);
      sum->committed();
    }
    admission_.close(report.committed);
    admitted_.swap(kept);
    forget_round();
    return report;
  }

  /// Closes the round, if one is open, with nothing changed.
  void abandon() {
    const std::lock_guard lock(mutex_);
    if (!admission_.is_open()) return;
    admission_.close(false);
    forget_round();
  }

  /// The updates that counted in the round that was closed last, by client, when options.keep_updates asks for them; until the
  /// next one is opened.
  std::span<const AdmittedUpdate<S>> admitted() const { return admitted_; }

  /// Takes over a committed round from a journal: the global values after it and the clients that counted. Throws
  /// ErrorId::value unless it is the round that would be opened next, ErrorId::shape and ErrorId::not_finite.
  void replay(std::uint64_t round, std::span<const S> global, std::span<const Index> clients) {
    const std::lock_guard lock(mutex_);
    require(global.size() == global_.size(), ErrorId::shape, "federated::Server::replay: global has ", global.size(),
            " numbers, expected ", global_.size());
    require(all_finite(global), ErrorId::not_finite, "federated::Server::replay: global holds NaN or infinity");
    admission_.replay(round, clients);
    std::ranges::copy(global, global_.begin());
  }
  /// The same for a round that was abandoned. Throws ErrorId::value when a round is open.
  void replay_abandoned() {
    const std::lock_guard lock(mutex_);
    admission_.replay_abandoned();
  }

 private:
  /// Returns no rejection if the update is accepted now or was before.
  std::optional<Rejection> admit(Update<S> update, const Digest& digest, std::string_view peer, double now_seconds) {
    auto decision = admission_.decide(update.round, update.client, digest, peer, now_seconds);
    if (std::holds_alternative<Admission::CountsAlready>(decision)) return std::nullopt;
    if (Rejection* const rejection = std::get_if<Rejection>(&decision)) {
      if (rejection->reason == Reason::over_cap) admission_.remember_over_cap(update.client, digest);
      return std::move(*rejection);
    }
    const Admission::Candidate candidate = std::get<Admission::Candidate>(decision);
    AdmittedUpdate<S> admitted{.client = candidate.client, .weight = 1, .values = global_};
    store_leading<S>(session_.layout, update.rank, update.values, admitted.values);
    if (options_.max_norm > 0)
      if (std::optional<Rejection> rejection = bound_norm<S>(admitted.values, global_, options_)) return rejection;
    if (options_.weighting == Weighting::examples)
      admitted.weight = std::min(static_cast<std::uint32_t>(update.examples), options_.max_weight);
    const std::uint32_t most = options_.weighting == Weighting::examples ? options_.max_weight : 1;
    for (const std::uint64_t e : update.experts) admitted.experts.push_back(std::min(static_cast<std::uint32_t>(e), most));
    if (holds_updates()) {
      held_.emplace(candidate.client, std::move(admitted));
      try {
        admission_.accept(candidate, digest);
      } catch (...) {
        held_.erase(candidate.client);
        throw;
      }
      if (candidate.displaces) {
        held_.erase(*candidate.displaces);
        ++report_.rejected[static_cast<std::size_t>(Reason::over_cap)];
      }
      return std::nullopt;
    }
    admission_.accept(candidate, digest);
    try {
      sum_->add(admitted);
    } catch (...) {
      admission_.withdraw(candidate.client);
      throw;
    }
    return std::nullopt;
  }
  /// Updates are summed as they come, unless one may be displaced by another or all are to be shown after the round.
  bool holds_updates() const { return options_.cap > 0 || options_.keep_updates; }
  void forget_round() {
    held_.clear();
    sum_.reset();
    report_ = {};
  }

  Session session_;
  ServerOptions options_;
  Admission admission_;
  std::unique_ptr<Aggregator<S>> aggregator_;  // empty
  std::vector<S> global_;
  std::unique_ptr<Aggregator<S>> sum_;       // of the open round
  std::map<Index, AdmittedUpdate<S>> held_;  // of the open round, by client
  RoundReport report_;                       // of the open round, and of what came since the last one was closed
  std::vector<AdmittedUpdate<S>> admitted_;
  mutable std::mutex mutex_;
};

}  // namespace lorasb::federated
