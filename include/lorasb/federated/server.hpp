// The server's side of a session: rounds that open, admit updates in any order, and close with an exact mean or unchanged.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lorasb/core/digest.hpp"
#include "lorasb/exact/mean.hpp"
#include "lorasb/federated/norm_bound.hpp"
#include "lorasb/federated/round.hpp"
#include "lorasb/federated/selection.hpp"
#include "lorasb/federated/update.hpp"

namespace lorasb::federated {

/// Round t is open or about to be opened while t - 1 rounds have been committed; one that is abandoned is opened again under
/// the same number, for clients drawn anew, and an answer to the first attempt then still counts: it starts from the same
/// numbers. The mean is of integers (core/exact_sum.hpp): the same accepted set gives the same bits in any order. An update of
/// a lower rank counts with the global numbers in the places that it did not train. With options.planned_clients the divisor is
/// public, whoever answers: for each client that is missing, the global numbers count instead of an update. receive() may be
/// called from many threads at once, also while another one opens and closes rounds; global(), admitted() and the rest belong
/// to that one. Time is the caller's, in seconds of any clock that does not go back.
///
///     Server<float> server(session, start, {"a", "b", "c"}, {.min_clients = 2});
///     server.open(now, now + 60);
///     Receipt receipt = server.receive(bytes, "a", now);   // of an authenticated peer
///     RoundReport report = server.close();
template <Real S>
class Server {
 public:
  /// `start` holds the first global numbers, in session.layout; `clients` all that may ever take part. Throws ErrorId::shape,
  /// value, not_finite, duplicate_name.
  Server(Session session, std::span<const S> start, std::vector<std::string> clients, ServerOptions options)
      : session_(std::move(session)), options_(options), clients_(std::move(clients)), global_(start.begin(), start.end()) {
    options_.validate();
    require(std::ssize(start) == session_.layout.size(), ErrorId::shape, "federated::Server: start has ", start.size(),
            " numbers, expected ", session_.layout.size());
    require(all_finite(start.data(), std::ssize(start)), ErrorId::not_finite,
            "federated::Server: start holds NaN or infinity");
    require(!clients_.empty(), ErrorId::value, "federated::Server: there are no clients");
    const Index selected = std::ssize(select_clients(std::ssize(clients_), options_.participation, 0, 0));
    const Index most = options_.cap > 0 ? std::min(options_.cap, selected) : selected;
    require(options_.planned_clients == 0 || options_.planned_clients >= most, ErrorId::value,
            "federated::Server: planned_clients is ", options_.planned_clients, ", expected at least the ", most,
            " that may count in a round");
    require(options_.min_clients <= most, ErrorId::value, "federated::Server: min_clients is ", options_.min_clients,
            ", but only ", most, " may count in a round");
    for (std::size_t c = 0; c < clients_.size(); ++c)
      require(index_.emplace(clients_[c], static_cast<Index>(c)).second, ErrorId::duplicate_name,
              "federated::Server: client \"", clients_[c], "\" is there twice");
    last_counted_.assign(clients_.size(), 0);
  }

  const Session& session() const { return session_; }
  const std::vector<std::string>& clients() const { return clients_; }
  /// The global numbers, as the last commit left them.
  std::span<const S> global() const { return global_; }
  /// 1, 2, ...: of the round that is open, or will be opened next.
  std::uint64_t round() const { return round_; }
  bool is_open() const { return open_.has_value(); }
  /// The clients that the round is for, by index.
  std::vector<Index> selected() const {
    return select_clients(std::ssize(clients_), options_.participation, options_.seed, round_, attempt_);
  }

  /// Opens the round. Updates that arrive after `deadline` are late. Throws ErrorId::value when a round is open already, and
  /// for a deadline that is not after `now`.
  void open(double now_seconds, double deadline_seconds) {
    const std::lock_guard lock(mutex_);
    require(!open_, ErrorId::value, "federated::Server::open: round ", round_, " is open already");
    require(deadline_seconds > now_seconds, ErrorId::value, "federated::Server::open: the deadline is ", deadline_seconds,
            " s, expected after now, ", now_seconds, " s");
    Open opened(session_.layout.size(), deadline_seconds);
    for (const Index c : selected()) opened.selected.insert(c);
    opened.report = between_;
    opened.report.round = round_;
    open_ = std::move(opened);
    between_ = {};
    admitted_.clear();
  }

  /// Validates the message and admits its update, whole or not at all. `peer` is who sent it, as the transport has
  /// authenticated it. Only std::bad_alloc can leave it, and then the round is as it was.
  Receipt receive(std::span<const std::byte> message, std::string_view peer, double now_seconds) {
    std::uint64_t round = 0;
    {
      const std::lock_guard lock(mutex_);
      round = round_;
    }
    std::variant<Update<S>, Refusal> validated =
        Refusal{Rejection::unknown_client, concat(in_quotes(std::string(peer)), " is not of this session")};
    Digest digest{};
    if (index_.find(peer) != index_.end()) {                     // a stranger's bytes are not looked at
      validated = validate_update<S>(session_, round, message);  // touches nothing
      Sha256 sha;
      sha.update(message);
      digest = sha.digest();
    }
    const std::lock_guard lock(mutex_);
    std::optional<Refusal> refusal;
    if (Refusal* refused = std::get_if<Refusal>(&validated))
      refusal = std::move(*refused);
    else
      refusal = admit(std::get<Update<S>>(std::move(validated)), digest, peer, now_seconds);
    RoundReport& report = open_ ? open_->report : between_;
    report.bytes_received += message.size();
    ++report.messages;
    if (refusal) ++report.rejected[static_cast<std::size_t>(refusal->reason)];
    return {.accepted = !refusal, .refusal = std::move(refusal)};
  }

  /// Updates that count so far.
  Index accepted() const {
    const std::lock_guard lock(mutex_);
    return open_ ? std::ssize(open_->accepted) : 0;
  }

  /// Closes the round: with min_clients updates or more the global numbers become their mean, all at once, and the round number
  /// rises; otherwise nothing changes. Throws ErrorId::value when no round is open, and std::bad_alloc, and then the round is
  /// open as before.
  RoundReport close() {
    const std::lock_guard lock(mutex_);
    require(open_.has_value(), ErrorId::value, "federated::Server::close: no round is open");
    // first what may want memory, on copies
    ExactMean<S> mean = open_->mean;
    for (const auto& [key, update] : open_->held) mean.add(update.values, update.weight);
    RoundReport report = open_->report;
    report.accepted = std::ssize(open_->accepted);
    for (const auto& [client, digest] : open_->accepted) report.clients.push_back(client);
    report.total_weight = mean.total_weight();
    report.committed = report.accepted >= options_.min_clients;
    std::vector<S> next(report.committed ? global_.size() : 0);
    if (report.committed) {
      mean.add(global_, static_cast<std::uint32_t>(std::max<Index>(options_.planned_clients - report.accepted, 0)));
      mean.mean(next);
    }
    std::vector<AdmittedUpdate<S>> kept;
    kept.reserve(options_.keep_updates ? open_->held.size() : 0);
    // then what cannot fail
    if (options_.keep_updates)
      for (auto& [key, update] : open_->held) kept.push_back(std::move(update));
    std::ranges::sort(kept, {}, &AdmittedUpdate<S>::client);
    if (report.committed) {
      global_.swap(next);
      for (const Index client : report.clients) last_counted_[static_cast<std::size_t>(client)] = round_;
      ++round_;
    }
    attempt_ = report.committed ? 0 : attempt_ + 1;
    admitted_.swap(kept);
    open_.reset();
    return report;
  }

  /// Closes the round, if one is open, with nothing changed.
  void abandon() {
    const std::lock_guard lock(mutex_);
    if (!open_) return;
    ++attempt_;
    open_.reset();
  }

  /// The updates that counted in the round that was closed last, by client, when options.keep_updates asks for them; until the
  /// next one is opened.
  std::span<const AdmittedUpdate<S>> admitted() const { return admitted_; }

  /// Takes over a committed round from a journal: the global numbers after it and the clients that counted. Throws
  /// ErrorId::value unless it is the round that would be opened next, ErrorId::shape and ErrorId::not_finite.
  void replay(std::uint64_t round, std::span<const S> global, std::span<const Index> clients) {
    const std::lock_guard lock(mutex_);
    require(!open_ && round == round_, ErrorId::value, "federated::Server::replay: round ", round, ", expected ", round_,
            open_ ? ", closed" : "");
    require(global.size() == global_.size(), ErrorId::shape, "federated::Server::replay: global has ", global.size(),
            " numbers, expected ", global_.size());
    require(all_finite(global.data(), std::ssize(global)), ErrorId::not_finite,
            "federated::Server::replay: global holds NaN or infinity");
    for (const Index client : clients)
      require(client >= 0 && client < std::ssize(clients_), ErrorId::value, "federated::Server::replay: client ", client,
              ", expected 0 to ", clients_.size() - 1);
    for (const Index client : clients) last_counted_[static_cast<std::size_t>(client)] = round;
    std::ranges::copy(global, global_.begin());
    ++round_;
    attempt_ = 0;
  }
  /// The same for a round that was abandoned. Throws ErrorId::value when a round is open.
  void replay_abandoned() {
    const std::lock_guard lock(mutex_);
    require(!open_, ErrorId::value, "federated::Server::replay_abandoned: round ", round_, " is open");
    ++attempt_;
  }

 private:
  struct Open {
    Open(Index size, double deadline) : deadline_seconds(deadline), mean(size) {}
    double deadline_seconds;
    std::set<Index> selected;
    std::map<Index, Digest> accepted;  // client, and the message that counts
    std::map<Index, Digest> outdone;   // admitted at first, then over the cap
    ExactMean<S> mean;
    std::map<std::pair<std::uint64_t, Index>, AdmittedUpdate<S>> held;  // by priority; with a cap, or to be kept
    RoundReport report;
  };

  /// Nothing when the update counts, or counted already.
  std::optional<Refusal> admit(Update<S> update, const Digest& digest, std::string_view peer, double now_seconds) {
    const auto found = index_.find(update.client);
    if (found == index_.end() || update.client != peer)
      return Refusal{Rejection::unknown_client,
                     concat("the update is of client ", in_quotes(update.client),
                            found == index_.end() ? ", who is not of this session" : ", but another peer sent it")};
    const Index client = found->second;
    if (update.round < round_) {
      const std::uint64_t last = last_counted_[static_cast<std::size_t>(client)];
      const bool replayed = last >= update.round;
      return Refusal{replayed ? Rejection::wrong_round : Rejection::late_round,
                     concat("the update is of round ", update.round, ", which is over",
                            replayed ? concat("; one of this client counted in round ", last) : "")};
    }
    if (!open_ || update.round != round_) return Refusal{Rejection::late_round, concat("round ", update.round, " is not open")};
    Open& o = *open_;
    if (now_seconds > o.deadline_seconds)
      return Refusal{Rejection::late_round, concat("the deadline of round ", round_, " is over")};
    if (!o.selected.contains(client))
      return Refusal{Rejection::not_selected,
                     concat("client ", in_quotes(update.client), " does not take part in round ", round_)};
    for (const auto* known : {&o.accepted, &o.outdone})
      if (const auto earlier = known->find(client); earlier != known->end()) {
        if (earlier->second != digest)
          return Refusal{Rejection::duplicate, concat("client ", in_quotes(update.client), " sent another update before")};
        if (known == &o.accepted) return std::nullopt;
        return over_cap();
      }

    std::vector<S> values = global_;
    store_leading<S>(session_.layout, update.rank, update.values, values);
    if (options_.max_norm > 0)
      if (std::optional<Refusal> refusal = bound_norm<S>(values, global_, options_)) return refusal;
    const auto examples = static_cast<std::uint32_t>(update.examples);
    const std::uint32_t weight = options_.weighting == Weighting::equal ? 1 : std::min(examples, options_.max_weight);
    if (options_.cap == 0 && !options_.keep_updates) {
      const auto place = o.accepted.emplace(client, digest).first;
      try {
        o.mean.add(values, weight);
      } catch (...) {
        o.accepted.erase(place);
        throw;
      }
      return std::nullopt;
    }
    return hold({.client = client, .weight = weight, .values = std::move(values)}, digest);
  }

  /// Keeps the updates of the first priorities, whatever the order of their arrival.
  std::optional<Refusal> hold(AdmittedUpdate<S> update, const Digest& digest) {
    Open& o = *open_;
    const Index client = update.client;
    const std::pair key{priority(options_.seed, round_, attempt_, static_cast<std::uint64_t>(client)), client};
    const bool full = options_.cap > 0 && std::ssize(o.held) == options_.cap;
    if (full && o.held.rbegin()->first < key) {
      o.outdone.emplace(client, digest);
      return over_cap();
    }
    const auto place = o.held.emplace(key, std::move(update)).first;
    try {
      o.accepted.emplace(client, digest);
      if (full) {
        const auto last = std::prev(o.held.end());
        const auto out = o.accepted.find(last->second.client);
        o.outdone.insert(o.accepted.extract(out));
        o.held.erase(last);
        ++o.report.rejected[static_cast<std::size_t>(Rejection::over_cap)];
      }
    } catch (...) {
      o.held.erase(place);
      o.accepted.erase(client);
      throw;
    }
    return std::nullopt;
  }
  Refusal over_cap() const {
    return {Rejection::over_cap,
            concat("round ", round_, " counts ", options_.cap, " updates, of clients with higher priority")};
  }

  Session session_;
  ServerOptions options_;
  std::vector<std::string> clients_;
  std::map<std::string, Index, std::less<>> index_;
  std::vector<S> global_;
  std::uint64_t round_ = 1;
  std::uint64_t attempt_ = 0;                // of this round; how often it was abandoned
  std::vector<std::uint64_t> last_counted_;  // by client: the last round that counted an update of it; 0: none
  RoundReport between_;                      // what came while no round was open, for the next report
  std::optional<Open> open_;
  std::vector<AdmittedUpdate<S>> admitted_;
  mutable std::mutex mutex_;
};

}  // namespace lorasb::federated
