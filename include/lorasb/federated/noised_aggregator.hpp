// Privacy of whole clients: a mean over a fixed number of clients, with noise on their sum.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "lorasb/federated/aggregator.hpp"
#include "lorasb/privacy/noise_source.hpp"

namespace lorasb::federated {

struct NoisedAggregatorOptions {
  double clip = 1;    // C: an update moves the numbers by at most this, Euclidean over all of them
  double noise = 0;   // σ: standard deviation of the noise on the sum over C, as a ledger has it
  Index clients = 0;  // n: the divisor, whoever answers
  double rate = 1;    // q: below 1, each of the n clients takes part by a draw of its own, and the divisor is q n

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(clip) && clip > 0, ErrorId::value, "NoisedAggregatorOptions: clip is ", clip, ", expected above 0");
    require(is_finite(noise) && noise > 0, ErrorId::value, "NoisedAggregatorOptions: noise is ", noise, ", expected above 0");
    require(clients >= 2, ErrorId::value, "NoisedAggregatorOptions: clients is ", clients,
            ", expected at least 2: one client has nobody to hide among");
    require(is_finite(rate) && rate > 0 && rate <= 1, ErrorId::value, "NoisedAggregatorOptions: rate is ", rate,
            ", expected above 0, at most 1");
  }
};

/// Client-level privacy with a fixed denominator (McMahan et al., arXiv 1710.06963, algorithm 1):
///
///     next = global + (Σ_k clipped(values_k − global) + N(0, σ² C² I)) / n
///
/// Every update weighs 1, and a client that does not answer counts as one that moved nothing: fewer answers do not lower the noise.
/// A client changes the sum by at most C: the Gaussian mechanism with q = 1. That a round asks a fixed number of drawn clients
/// amplifies nothing here. With rate q < 1 the clients of a round must be a Poisson sample (privacy/poisson_batches.hpp,
/// Server::select), whose draws nobody else knows; the divisor is then q n, and a round of nobody is noise alone.
///
/// The sum over the clients is the exact mean, rounded once before the noise is added in double.
template <Real S>
class NoisedAggregator final : public Aggregator<S> {
 public:
  /// `size` values an update. Throws ErrorId::value, also without a source.
  NoisedAggregator(Index size, const NoisedAggregatorOptions& options, std::shared_ptr<privacy::NoiseSource> source)
      : sum_(size), options_(options), source_(std::move(source)) {
    options_.validate();
    require(source_ != nullptr, ErrorId::value, "NoisedAggregator: there is no source of noise");
  }

  /// The options of a server that clips, weighs and divides as this aggregator needs it.
  static ServerOptions server_options(ServerOptions options, const NoisedAggregatorOptions& noised) {
    options.weighting = Weighting::equal;
    options.max_norm = noised.clip;
    options.norm_rule = NormRule::clip;
    options.planned_clients = noised.clients;
    if (noised.rate < 1) options.min_clients = 0;  // whether a round counts must not depend on who was drawn
    return options;
  }
  void require_server(const ServerOptions& options) const override {
    require(options.weighting == Weighting::equal && options.max_norm == options_.clip && options.norm_rule == NormRule::clip &&
                options.planned_clients == options_.clients && (options_.rate == 1 || options.min_clients == 0),
            ErrorId::value, "NoisedAggregator: the server does not clip to ", options_.clip, ", weigh all alike and divide by ",
            options_.clients, "; use NoisedAggregator::server_options");
  }

  std::unique_ptr<Aggregator<S>> empty() const override {
    return std::make_unique<NoisedAggregator>(sum_.size(), options_, source_);
  }
  std::unique_ptr<Aggregator<S>> clone() const override { return std::make_unique<NoisedAggregator>(*this); }
  void add(const AdmittedUpdate<S>& update) override {
    require(update.weight == 1, ErrorId::value, "NoisedAggregator: an update weighs ", update.weight, ", expected 1");
    sum_.add(update.values, 1);
  }
  std::uint64_t total_weight() const override { return sum_.total_weight(); }
  void commit(std::span<const S> global, std::uint32_t global_weight, std::span<S> next) const override {
    const auto n = static_cast<std::uint64_t>(options_.clients);
    require(sum_.total_weight() + global_weight == n, ErrorId::value, "NoisedAggregator: ", sum_.total_weight(),
            " updates came, but the divisor is ", n);
    const double divisor = options_.rate * double(n);
    if (options_.rate < 1) {  // global + (m / q n) (mean of the m that came - global)
      std::ranges::copy(global, next.begin());
      if (sum_.total_weight() > 0) sum_.mean(next);
      const double share = double(sum_.total_weight()) / divisor;
      for (std::size_t i = 0; i < next.size(); ++i)
        next[i] = static_cast<S>(double(global[i]) + share * (double(next[i]) - double(global[i])));
    } else {
      ExactMean<S> with_global = sum_;
      if (global_weight > 0) with_global.add(global, global_weight);
      with_global.mean(next);
    }
    privacy::add_gaussian_noise<S>(next, options_.noise * options_.clip / divisor, *source_);
  }

 private:
  ExactMean<S> sum_;
  NoisedAggregatorOptions options_;
  std::shared_ptr<privacy::NoiseSource> source_;
};

}  // namespace lorasb::federated
