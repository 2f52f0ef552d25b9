// The bases of a session from the data of all its clients, in the round before the first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/frozen_model.hpp"
#include "lorasb/federated/base_digest.hpp"
#include "lorasb/federated/estimate_round.hpp"
#include "lorasb/train/noised_bases.hpp"
#include "lorasb/train/scout.hpp"

namespace lorasb::federated {

/// What a client answers with; the server takes the exact mean over all examples.
enum class BasesSource {
  gradients,         // the sums of its minibatches' gradients at W0, and of their squares for FirstStep::moments
  look_ahead,        // ΔW and head after local steps of a scout: K-step bases without a text of the server
  noised_gradients,  // its examples' gradients, clipped and noised before they leave (train::noised_sums)
};

struct BasesRoundOptions {
  BasesSource source = BasesSource::gradients;
  InitializeOptions adapter = {};                   // of what the server makes: rank, rule, rate and seed
  Index batch = 32;                                 // examples of a minibatch, of `gradients`
  train::ScoutKind scout = train::ScoutKind::full;  // of `look_ahead`: full or sign, whose updates have an exact mean
  train::NoisedBasesOptions noised = {};            // of `noised_gradients`: clip and noise; each client's ledger pays for them

  /// Throws ErrorId::value.
  void validate() const {
    require(scout != train::ScoutKind::lora, ErrorId::value,
            "BasesRoundOptions: the factors of different clients have no exact mean; expected a scout of full weights or signs");
  }
};

/// The clients' part. The functions are called from several threads at once, for different clients with examples.
template <Real S>
struct BasesWork {
  std::vector<Index> examples;  // of each client; one without any answers nothing
  /// Forward and backward over the client's examples at W0, in minibatches of `batch`; of noised_gradients one at a time.
  std::function<train::EstimationPass<S>(Index client)> pass = {};
  /// Takes the client's steps (classify::take_scout_steps).
  std::function<void(Index client, train::Scout<S>& scout)> look_ahead = {};
  /// Of noised_gradients.
  std::function<std::unique_ptr<privacy::NoiseSource>(Index client)> noise = {};
};

template <Real S>
struct BasesRoundResult {
  train::InitializedModules<S> modules;  // the adapters that the session starts from
  Parameters<S> head;                    // the scouts' mean, or what was given
  RoundReport round;
  std::size_t bytes_up_per_client = 0;
  std::size_t bytes_down_per_client = 0;  // the question, and the bases (and head) that the server sends then
  std::size_t bytes_total = 0;
};

/// One EstimateRound, from the clients' examples to adapters. Fed-SB's server has bases only as good as its own examples are; here
/// nobody's examples leave their place.
///
///     BasesRound<float> round("s1-start", modules, weights, head, names, work, {.adapter = {.rank = 24}});
///     InProcessTransport transport(round.host(), threads);
///     BasesRoundResult<float> start = round.collect(transport, {.min_clients = 2}, 60);
///
/// With moments a client sends twice the numbers; with a look-ahead the head goes along.
template <Real S>
class BasesRound {
 public:
  /// `weights` is all that is frozen, of which `modules` are adapted; they and `head` must outlive it. Throws ErrorId::value for
  /// options out of range or a function of `work` that is missing, ErrorId::shape for another number of clients, and what EstimateRound
  /// does.
  BasesRound(std::string id, std::vector<Module<S>> modules, const FrozenModel<S>& weights, const Parameters<S>& head LORASB_LIFETIMEBOUND,
             std::vector<std::string> clients, BasesWork<S> work, const BasesRoundOptions& options)
      : modules_(std::move(modules)),
        head_(&head),
        work_(checked(std::move(work), options, clients.size())),
        options_(options),
        clients_(clients.size()),
        round_(std::move(id), base_digest(AdapterBases<S>(), frozen_modules(weights)), layout(), std::move(clients),
               [this](Index client, std::span<S> values) { return answer(client, values); }) {}
  BasesRound(const BasesRound&) = delete;
  BasesRound& operator=(const BasesRound&) = delete;

  /// The clients' side, for a transport.
  ClientHost& host() { return round_.host(); }

  /// The server's side: asks all clients and makes the adapters. Throws what EstimateRound::collect and the initialisation throw.
  template <Transport T>
  BasesRoundResult<S> collect(T& transport, const ServerOptions& options,
                              double timeout_seconds = 1e9) const {
    EstimateRoundResult<S> found = round_.collect(transport, options, timeout_seconds);
    BasesRoundResult<S> result{.modules = {}, .head = *head_, .round = std::move(found.round)};
    if (options_.source == BasesSource::gradients) {
      result.modules =
          train::initialize_modules(take_estimates(found.mean, modules_, result.round.total_weight, options_.batch), options_.adapter);
    } else {
      const auto update_of = [&](const std::string& module) { return Weight<S>(found.mean.at(module, Role::weight)); };
      result.modules = train::initialize_from_updates<S>(modules_, update_of, options_.adapter);
    }
    std::size_t bases = 0;
    if (options_.source == BasesSource::look_ahead) {
      copy_tensors(found.mean, result.head);
      bases = result.head.flat().size_bytes();
    }
    for (const auto& [name, a] : result.modules.adapters)
      bases += static_cast<std::size_t>(a.B.size() + a.A.size() + a.R.size()) * sizeof(S);
    const auto messages = static_cast<std::size_t>(result.round.messages);
    result.bytes_up_per_client = messages > 0 ? result.round.bytes_received / messages : 0;
    result.bytes_down_per_client = found.question_bytes + bases;
    result.bytes_total = result.round.bytes_received + result.bytes_down_per_client * clients_;
    return result;
  }

 private:
  static BasesWork<S> checked(BasesWork<S> work, const BasesRoundOptions& options, std::size_t clients) {
    options.validate();
    require(work.examples.size() == clients, ErrorId::shape, "BasesRound: there are examples of ", work.examples.size(),
            " clients, expected ", clients);
    const bool ahead = options.source == BasesSource::look_ahead, noised = options.source == BasesSource::noised_gradients;
    require(ahead ? bool(work.look_ahead) : bool(work.pass) && (!noised || bool(work.noise)), ErrorId::value,
            "BasesRound: the work lacks ", ahead ? "look_ahead" : !work.pass ? "pass" : "noise");
    return work;
  }
  static std::vector<Module<S>> frozen_modules(const FrozenModel<S>& weights) {
    std::vector<Module<S>> frozen;
    for (const auto& [name, weight] : weights) frozen.push_back({name, weight});
    return frozen;
  }
  GradientMoments moments() const {
    return options_.source == BasesSource::gradients && options_.adapter.rule == FirstStep::moments ? GradientMoments::first_and_second
                                                                                                    : GradientMoments::first;
  }
  ParameterLayout layout() const {
    ParameterLayout layout;
    append_estimates(modules_, moments(), layout);
    if (options_.source == BasesSource::look_ahead) layout.append(head_->layout());
    return layout;
  }

  /// Means over the client's examples.
  std::uint64_t answer(Index client, std::span<S> values) const {
    const Index examples = work_.examples[static_cast<std::size_t>(client)];
    if (examples == 0) return 0;
    if (options_.source == BasesSource::look_ahead) {
      train::Scout<S> scout(modules_, *head_, {.kind = options_.scout});
      work_.look_ahead(client, scout);
      std::ranges::copy(std::as_const(scout).values().flat(), values.begin());
    } else if (options_.source == BasesSource::noised_gradients) {
      const std::unique_ptr<privacy::NoiseSource> noise = work_.noise(client);
      const train::EstimationPass<S> pass = work_.pass(client);
      const train::PartedPass<S> whole{.run = [&pass](const Layers<S>& layers, Index) { return pass(layers); }};
      for (const ClippedGradientSum<S>& sum : train::noised_sums(modules_, whole, options_.noised, *noise))
        std::ranges::transform(flat(sum.sum()), round_.layout().at(sum.name(), Role::weight).range().of(values).begin(),
                               [&](S x) { return x / static_cast<S>(examples); });
    } else {
      std::vector<GradientEstimate<S>> estimates;
      for (const Module<S>& m : modules_) estimates.emplace_back(m.W0.rows(), m.W0.cols(), m.name, moments());
      work_.pass(client)(train::observed_layers<S>(modules_, 0, estimates));
      for (GradientEstimate<S>& estimate : estimates) estimate.count(examples);
      put_estimates(estimates, round_.layout(), values);
    }
    return static_cast<std::uint64_t>(examples);
  }

  std::vector<Module<S>> modules_;
  const Parameters<S>* head_;
  BasesWork<S> work_;
  BasesRoundOptions options_;
  std::size_t clients_;
  EstimateRound<S> round_;
};

}  // namespace lorasb::federated
