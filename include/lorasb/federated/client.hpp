// The client's side of a round: from a broadcast, through training of the program's own, to an update.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/federated/broadcast.hpp"
#include "lorasb/federated/leading.hpp"
#include "lorasb/federated/transport.hpp"
#include "lorasb/federated/update.hpp"

namespace lorasb::federated {

/// Keeps the training of a client of a lower rank inside the leading rank x rank block of each core. Call mask() on every
/// gradient, and restore() on the values after every step: weight decay and momentum move values that have no gradient. Rank 0
/// stands for the whole rank, and both do nothing.
template <Real S>
class LeadingMask {
 public:
  /// `start` holds the values that the round starts from; they are copied.
  LeadingMask(const ParameterLayout& layout, Index rank, std::span<const S> start)
      : layout_(layout), rank_(rank), start_(rank > 0 ? std::vector<S>(start.begin(), start.end()) : std::vector<S>()),
        zeros_(start_.size()), leading_(rank > 0 ? static_cast<std::size_t>(leading_layout(layout, rank).size()) : 0) {}

  void mask(std::span<S> gradient) { keep_leading(gradient, zeros_); }
  void restore(std::span<S> values) { keep_leading(values, start_); }

 private:
  void keep_leading(std::span<S> values, std::span<const S> others) {  // the rest as in `others`
    if (rank_ == 0) return;
    load_leading<S>(layout_, rank_, values, leading_);
    std::ranges::copy(others, values.begin());
    store_leading<S>(layout_, rank_, leading_, values);
  }

  ParameterLayout layout_;
  Index rank_;
  std::vector<S> start_, zeros_, leading_;
};

/// The update of a client that has trained `values`, in session.layout, of which the leading blocks are sent.
template <Real S>
Update<S> make_update(const Session& session, std::uint64_t round, std::string client, std::uint64_t examples, Index rank,
                      std::span<const S> values) {
  Update<S> update{.round = round, .client = std::move(client), .examples = examples, .rank = rank, .values = {}};
  update.values.resize(static_cast<std::size_t>(leading_layout(session.layout, rank).size()));
  load_leading<S>(session.layout, rank, values, update.values);
  return update;
}

/// What the clients of one process do with a round.
template <Real S>
struct ClientWork {
  /// Trains `values` in place on the client's own data, and returns how many examples it has. Called from several threads at
  /// once, with a different `slot` on each. A client without data returns 0 and leaves the values alone.
  std::function<std::uint64_t(Index client, int slot, std::uint64_t round, std::span<S> values, LeadingMask<S>& mask)> train;
  /// Of each client by index: its name, and the rank that it trains (0, or no entry: the whole one).
  std::vector<std::string> names = {};
  std::vector<Index> ranks = {};
  /// Takes a round's message instead of validate_broadcast(), where it carries more than the values of the session; returns
  /// what the clients start from. Throws for a message that it refuses.
  std::function<Broadcast<S>(std::span<const std::byte> message)> take = {};
  /// In a session with experts: how much of the client's data trained each, asked on the same slot after train().
  std::function<std::vector<std::uint64_t>(Index client, int slot)> experts = {};
  /// Changes what a client starts from, such as factors of its own.
  std::function<void(Index client, std::uint64_t round, std::span<S> values)> start = {};
};

/// A ClientHost whose clients train by a function of the program's.
///
///     Clients<float> clients(session, {.train = train, .names = {"a", "b", "c"}});
///     InProcessTransport transport(clients, 2);
///     RoundReport report = run_round(server, transport, message, 60);
template <Real S>
class Clients final : public ClientHost {
 public:
  /// Throws ErrorId::value without `train` or names.
  Clients(Session session, ClientWork<S> work) : session_(std::move(session)), work_(std::move(work)) {
    require(work_.train != nullptr && !work_.names.empty(), ErrorId::value,
            "federated::Clients: there is no function that trains, or there are no names");
  }

  /// Throws ErrorId::value with the reason for a message that is refused.
  void begin(std::span<const std::byte> message) override {
    if (work_.take) {
      broadcast_ = work_.take(message);
      return;
    }
    Checked<Broadcast<S>> checked = validate_broadcast<S>(session_, broadcast_.round, message);
    if (const Rejection* const rejection = std::get_if<Rejection>(&checked))
      throw Error(ErrorId::value, concat("federated::Clients: ", name_of(rejection->reason), ": ", rejection->text));
    broadcast_ = std::get<Broadcast<S>>(std::move(checked));
  }

  Bytes answer(Index client, int slot) override {
    const auto c = static_cast<std::size_t>(client);
    require(c < work_.names.size(), ErrorId::value, "federated::Clients: client ", client, ", expected 0 to ",
            work_.names.size() - 1);
    const Index rank = c < work_.ranks.size() ? work_.ranks[c] : 0;
    std::vector<S> values = broadcast_.values;
    if (work_.start) work_.start(client, broadcast_.round, values);
    LeadingMask<S> mask(session_.layout, rank, values);
    const std::uint64_t examples = work_.train(client, slot, broadcast_.round, values, mask);
    Update<S> update = make_update<S>(session_, broadcast_.round, work_.names[c], examples, rank, values);
    if (work_.experts) update.experts = work_.experts(client, slot);
    return encode_update<S>(session_, update);
  }

 private:
  Session session_;
  ClientWork<S> work_;
  Broadcast<S> broadcast_;
};

}  // namespace lorasb::federated
