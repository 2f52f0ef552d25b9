// Optimizers of the server: the mean of a round as one step of momentum or Adam.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/little_endian.hpp"
#include "lorasb/federated/aggregator.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"

namespace lorasb::federated {

enum class ServerRule { momentum, adam };
inline constexpr std::array<std::string_view, 2> server_rule_names{"momentum", "adam"};

struct ServerOptimizerOptions {
  ServerRule rule = ServerRule::momentum;
  double learning_rate = 1;
  double momentum = 0.9;  // β of momentum, β1 of Adam
  double beta2 = 0.99;    // of Adam
  double epsilon = 1e-3;  // of Adam: τ in the paper, far above an optimizer's usual 1e-8

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(learning_rate) && learning_rate > 0, ErrorId::value, "ServerOptimizerOptions: learning_rate is ",
            learning_rate, ", expected a finite number above 0");
  }
};

/// With the global values x, the mean of a round M(x) and the pseudo-gradient g = x - M(x), the values after the round are a
/// step of an optimizer along g, at a rate η that is the server's own (Reddi et al., Adaptive Federated Optimization, arXiv
/// 2003.00295, algorithm 1):
///
///     momentum   v = β v + g                  (FedAvgM: Hsu et al., arXiv 1909.06335; optim::Sgd)
///                x = x - η v
///     adam       m = β1 m + (1 - β1) g        (FedAdam; optim::AdamW without decay)
///                v = β2 v + (1 - β2) g²
///                x = x - η / (1 - β1ᵗ) m / (√v / √(1 - β2ᵗ) + ε)
///
/// The bias corrections are Adam's own; the paper's algorithm 2 leaves them out. The state counts a round when it is taken, so
/// a round that is abandoned, or whose values are not finite, leaves it as it was.
template <Real S>
class ServerOptimizer {
 public:
  /// `size` values. Throws ErrorId::value.
  ServerOptimizer(Index size, const ServerOptimizerOptions& options) : options_(options), optimizer_(make(size, options)) {
    const std::span<const S> state = std::as_const(*optimizer_).state().flat();
    state_.assign(state.begin(), state.end());
  }

  /// Turns `next`, the mean, into the values after the round. The state stays until take().
  void propose(std::span<const S> global, std::span<S> next) {
    std::vector<S> gradient(global.size());
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = global[i] - next[i];
    std::ranges::copy(global, next.begin());
    std::ranges::copy(state_, optimizer_->state().flat().begin());
    optimizer_->set_steps(rounds_);
    optimizer_->step(next, gradient, options_.learning_rate);
  }
  /// The values that were proposed last are the global ones now.
  void take() noexcept {
    std::ranges::copy(std::as_const(*optimizer_).state().flat(), state_.begin());
    rounds_ = optimizer_->steps();
  }

  /// The committed rounds (8 bytes, the lowest first) and the moments: with them restore() gives the same bits.
  std::vector<std::byte> state() const {
    const std::array<std::byte, 8> rounds = little_endian(rounds_);
    const std::span<const std::byte> moments = std::as_bytes(std::span(state_));
    std::vector<std::byte> bytes(rounds.size() + moments.size());
    std::ranges::copy(moments, std::ranges::copy(rounds, bytes.begin()).out);
    return bytes;
  }
  /// Throws ErrorId::journal for bytes that are no state of this optimizer.
  void restore(std::span<const std::byte> bytes) {
    require(bytes.size() == 8 + state_.size() * sizeof(S), ErrorId::journal, "the state of the server's optimizer has ",
            bytes.size(), " bytes, expected ", 8 + state_.size() * sizeof(S));
    std::vector<S> moments(state_.size());
    if (!moments.empty()) std::memcpy(moments.data(), bytes.data() + 8, moments.size() * sizeof(S));
    require(all_finite(std::span<const S>(moments)), ErrorId::journal,
            "the state of the server's optimizer holds NaN or infinity");
    rounds_ = from_little_endian(bytes.template first<8>());
    state_ = std::move(moments);
  }

 private:
  static std::unique_ptr<optim::Optimizer<S>> make(Index size, const ServerOptimizerOptions& options) {
    options.validate();
    if (options.rule == ServerRule::momentum)
      return std::make_unique<optim::Sgd<S>>(size, optim::SgdOptions{.momentum = options.momentum});
    return std::make_unique<optim::AdamW<S>>(
        size,
        optim::AdamWOptions{.beta1 = options.momentum, .beta2 = options.beta2, .epsilon = options.epsilon, .weight_decay = 0});
  }

  ServerOptimizerOptions options_;
  std::unique_ptr<optim::Optimizer<S>> optimizer_;  // of the round that was proposed last
  std::vector<S> state_;                            // after the committed rounds
  std::uint64_t rounds_ = 0;
};

/// Another aggregator's result as a step of the server's optimizer, which all rounds share and the caller keeps for the
/// journal.
template <Real S>
class OptimizedAggregator final : public Aggregator<S> {
 public:
  /// Throws ErrorId::value without one of both.
  OptimizedAggregator(std::unique_ptr<Aggregator<S>> mean, std::shared_ptr<ServerOptimizer<S>> optimizer)
      : mean_(std::move(mean)), optimizer_(std::move(optimizer)) {
    require(mean_ != nullptr && optimizer_ != nullptr, ErrorId::value, "OptimizedAggregator: there is no mean or no optimizer");
  }

  std::unique_ptr<Aggregator<S>> empty() const override {
    return std::make_unique<OptimizedAggregator>(mean_->empty(), optimizer_);
  }
  std::unique_ptr<Aggregator<S>> clone() const override {
    return std::make_unique<OptimizedAggregator>(mean_->clone(), optimizer_);
  }
  void add(const AdmittedUpdate<S>& update) override { mean_->add(update); }
  std::uint64_t total_weight() const override { return mean_->total_weight(); }
  void commit(std::span<const S> global, std::uint32_t global_weight, std::span<S> next) const override {
    mean_->commit(global, global_weight, next);
    optimizer_->propose(global, next);
  }
  void committed() const noexcept override {
    mean_->committed();
    optimizer_->take();
  }
  void require_server(const ServerOptions& options) const override { mean_->require_server(options); }

 private:
  std::unique_ptr<Aggregator<S>> mean_;
  std::shared_ptr<ServerOptimizer<S>> optimizer_;
};

}  // namespace lorasb::federated
