// What the updates of a round become: the contract of an aggregator, and the exact mean.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lorasb/exact/mean.hpp"
#include "lorasb/federated/round.hpp"

namespace lorasb::federated {

/// The updates of one round. Whatever a server adds to a mean goes in here: noise on the sum, a robust mean, an optimizer of the
/// server's own, weights per expert. The server gives it only what was admitted, each client once.
template <Real S>
class Aggregator {
 public:
  virtual ~Aggregator() = default;
  /// An empty one of the same kind, for the next round; and one with the same updates.
  virtual std::unique_ptr<Aggregator> empty() const = 0;
  virtual std::unique_ptr<Aggregator> clone() const = 0;
  /// Adds an update, whole or not at all: what it throws leaves the aggregator as it was.
  virtual void add(const AdmittedUpdate<S>& update) = 0;
  /// Σ of the weights.
  virtual std::uint64_t total_weight() const = 0;
  /// Overwrites `next` with the values after the round. `global` are those before it; they count as one more update with the
  /// weight `global_weight` (of clients that were planned and did not answer). Changes nothing else.
  virtual void commit(std::span<const S> global, std::uint32_t global_weight, std::span<S> next) const = 0;
  /// The values of the last commit() are the global ones now: what an aggregator keeps from round to round moves on here.
  virtual void committed() const noexcept {}
  /// Throws ErrorId::value for a server whose options break what the aggregator promises.
  virtual void require_server(const ServerOptions& /*options*/) const {}
  /// Whether the result is the weighted mean of the accepted updates, rounded once, in any order of arrival.
  virtual bool exact() const { return false; }
};

/// The weighted mean as integers (exact/mean.hpp): the same accepted set gives the same bits in any order and grouping.
template <Real S>
class ExactAggregator final : public Aggregator<S> {
 public:
  /// `size` values an update.
  explicit ExactAggregator(Index size) : mean_(size) {}

  std::unique_ptr<Aggregator<S>> empty() const override { return std::make_unique<ExactAggregator>(mean_.size()); }
  std::unique_ptr<Aggregator<S>> clone() const override { return std::make_unique<ExactAggregator>(*this); }
  void add(const AdmittedUpdate<S>& update) override { mean_.add(update.values, update.weight); }
  std::uint64_t total_weight() const override { return mean_.total_weight(); }
  void commit(std::span<const S> global, std::uint32_t global_weight, std::span<S> next) const override {
    if (global_weight == 0) return mean_.mean(next);
    ExactMean<S> with_global = mean_;
    with_global.add(global, global_weight);
    with_global.mean(next);
  }
  bool exact() const override { return true; }

 private:
  ExactMean<S> mean_;
};

}  // namespace lorasb::federated
