// Who may take part in a round, when, and how often: decided from names, rounds and times, never from values.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lorasb/core/digest.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/federated/round.hpp"
#include "lorasb/federated/selection.hpp"

namespace lorasb::federated {

/// Rounds are numbered by commits. An abandoned round keeps its number and is reopened for newly drawn clients. Updates of the
/// first attempt are still accepted: both attempts start from the same values. Not for several threads at once: the server
/// locks.
class Admission {
 public:
  /// Throws ErrorId::value for no clients or options that cannot be met, and ErrorId::duplicate_name.
  Admission(std::vector<std::string> clients, const ServerOptions& options) : options_(options), clients_(std::move(clients)) {
    options_.validate();
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
              "federated::Server: client ", in_quotes(clients_[c]), " is there twice");
    last_counted_.assign(clients_.size(), 0);
  }

  const std::vector<std::string>& clients() const { return clients_; }
  bool knows(std::string_view client) const { return index_.find(client) != index_.end(); }
  /// 1, 2, ...: of the round that is open, or will be opened next.
  std::uint64_t round() const { return round_; }
  bool is_open() const { return open_.has_value(); }
  /// The clients that the round is for, by index.
  std::vector<Index> selected() const {
    return chosen_ ? *chosen_ : select_clients(std::ssize(clients_), options_.participation, options_.seed, round_, attempt_);
  }
  /// Updates that count so far, and their clients, ascending.
  Index accepted() const { return open_ ? std::ssize(open_->accepted) : 0; }
  std::vector<Index> accepted_clients() const {
    std::vector<Index> clients;
    if (open_)
      for (const auto& [client, digest] : open_->accepted) clients.push_back(client);
    return clients;
  }

  /// Names the clients of the next round, in rising order, as Poisson samples are: nobody is a sample, too. Throws
  /// ErrorId::value when a round is open, and for a client that is not there or there twice.
  void select(std::vector<Index> clients) {
    require(!open_, ErrorId::value, "federated::Server::select: round ", round_, " is open already");
    Index next = 0;
    for (const Index client : clients) {
      require(client >= next && client < std::ssize(clients_), ErrorId::value, "federated::Server::select: client ", client,
              ", expected ", next, " to ", clients_.size() - 1, ", in rising order");
      next = client + 1;
    }
    chosen_ = std::move(clients);
  }
  /// Throws ErrorId::value when a round is open already, and for a deadline that is not after `now`.
  void open(double now_seconds, double deadline_seconds) {
    require(!open_, ErrorId::value, "federated::Server::open: round ", round_, " is open already");
    require(deadline_seconds > now_seconds, ErrorId::value, "federated::Server::open: the deadline is ", deadline_seconds,
            " s, expected after now, ", now_seconds, " s");
    Open opened{.deadline_seconds = deadline_seconds};
    for (const Index c : selected()) opened.selected.insert(c);
    open_ = std::move(opened);
  }
  /// Ends the round: its clients have counted, or nothing has changed. Does not throw.
  void close(bool committed) noexcept {
    if (committed) {
      for (const auto& [client, digest] : open_->accepted) last_counted_[static_cast<std::size_t>(client)] = round_;
      ++round_;
      attempt_ = 0;
    } else {
      ++attempt_;
    }
    chosen_.reset();
    open_.reset();
  }

  /// Takes over a round from a journal. Throws ErrorId::value unless it is the one that would be opened next.
  void replay(std::uint64_t round, std::span<const Index> clients) {
    require(!open_ && round == round_, ErrorId::value, "federated::Server::replay: round ", round, ", expected ", round_,
            open_ ? ", closed" : "");
    for (const Index client : clients)
      require(client >= 0 && client < std::ssize(clients_), ErrorId::value, "federated::Server::replay: client ", client,
              ", expected 0 to ", clients_.size() - 1);
    for (const Index client : clients) last_counted_[static_cast<std::size_t>(client)] = round;
    ++round_;
    attempt_ = 0;
  }
  void replay_abandoned() {
    require(!open_, ErrorId::value, "federated::Server::replay_abandoned: round ", round_, " is open");
    ++attempt_;
  }

  /// A new update that may count: of which client, and whose update it displaces when the cap is reached.
  struct Candidate {
    Index client = 0;
    std::optional<Index> displaces;
  };
  /// The same bytes a second time: they count already.
  struct CountsAlready {};

  /// Decides on an update of `round` by `client`, with the bytes of this digest, sent by `peer`. Changes nothing.
  std::variant<Candidate, CountsAlready, Rejection> decide(std::uint64_t round, const std::string& client, const Digest& digest,
                                                           std::string_view peer, double now_seconds) const {
    const auto found = index_.find(client);
    if (found == index_.end() || client != peer)
      return Rejection{Reason::unknown_client,
                       concat("the update is of client ", in_quotes(client),
                              found == index_.end() ? ", who is not of this session" : ", but another peer sent it")};
    const Index index = found->second;
    if (round < round_) {
      const std::uint64_t last = last_counted_[static_cast<std::size_t>(index)];
      const bool replayed = last >= round;
      return Rejection{replayed ? Reason::wrong_round : Reason::late_round,
                       concat("the update is of round ", round, ", which is over",
                              replayed ? concat("; one of this client counted in round ", last) : "")};
    }
    if (!open_ || round != round_) return Rejection{Reason::late_round, concat("round ", round, " is not open")};
    const Open& o = *open_;
    if (now_seconds > o.deadline_seconds)
      return Rejection{Reason::late_round, concat("the deadline of round ", round_, " is over")};
    if (!o.selected.contains(index))
      return Rejection{Reason::not_selected, concat("client ", in_quotes(client), " does not take part in round ", round_)};
    for (const auto* known : {&o.accepted, &o.displaced})
      if (const auto earlier = known->find(index); earlier != known->end()) {
        if (earlier->second != digest)
          return Rejection{Reason::duplicate, concat("client ", in_quotes(client), " sent another update before")};
        if (known == &o.accepted) return CountsAlready{};
        return over_cap();
      }
    Candidate candidate{.client = index, .displaces = {}};
    if (options_.cap > 0 && std::ssize(o.order) == options_.cap) {
      if (*o.order.rbegin() < key(index)) return over_cap();
      candidate.displaces = o.order.rbegin()->second;
    }
    return candidate;
  }

  /// The update counts. Throws std::bad_alloc, and then nothing has changed.
  void accept(const Candidate& candidate, const Digest& digest) {
    Open& o = *open_;
    o.accepted.emplace(candidate.client, digest);
    if (options_.cap == 0) return;
    try {
      o.order.insert(key(candidate.client));
    } catch (...) {
      o.accepted.erase(candidate.client);
      throw;
    }
    if (candidate.displaces) {
      o.order.erase(key(*candidate.displaces));
      o.displaced.insert(o.accepted.extract(*candidate.displaces));  // moves a node: no memory
    }
  }
  /// Takes back an accept() that displaced nobody.
  void withdraw(Index client) noexcept {
    open_->accepted.erase(client);
    open_->order.erase(key(client));
  }
  /// Remembers an update that was over the cap, so that another one of the same client is a duplicate.
  void remember_over_cap(const std::string& client, const Digest& digest) {
    const auto found = index_.find(client);
    if (open_ && found != index_.end()) open_->displaced.emplace(found->second, digest);
  }

 private:
  using Key = std::pair<std::uint64_t, Index>;  // priority, client
  struct Open {
    double deadline_seconds = 0;
    std::set<Index> selected = {};
    std::map<Index, Digest> accepted = {};   // client, and the message that counts
    std::map<Index, Digest> displaced = {};  // over the cap
    std::set<Key> order = {};                // of the accepted ones, with a cap
  };

  Key key(Index client) const {
    return {priority(options_.seed, round_, attempt_, static_cast<std::uint64_t>(client)), client};
  }
  Rejection over_cap() const {
    return {Reason::over_cap,
            concat("round ", round_, " counts ", options_.cap, " updates, of clients with higher priority")};
  }

  ServerOptions options_;
  std::vector<std::string> clients_;
  std::map<std::string, Index, std::less<>> index_;
  std::uint64_t round_ = 1;
  std::uint64_t attempt_ = 0;                // of this round; how often it was abandoned
  std::vector<std::uint64_t> last_counted_;  // by client: the last round that counted an update of it; 0: none
  std::optional<std::vector<Index>> chosen_;  // for the next round, by select()
  std::optional<Open> open_;
};

}  // namespace lorasb::federated
