// What a session starts from: a head, and with fed-sb bases from texts of the server or from sums over all clients.
#pragma once

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "examples/common/private_bases.hpp"
#include "examples/federated/workplace.hpp"
#include "lorasb/federated/estimate_round.hpp"
#include "lorasb/federated/in_process.hpp"

namespace lorasb::examples {

/// What a session starts from, and what it took.
struct SessionStart {
  Parameters<float> head;
  AdapterSet<float> adapters = {};  // of fed-sb
  NamedSet<LoraAdapter<float>> factors = {};                       // of the LoRA methods, when they go on from a folder
  std::size_t bytes_up_per_client = 0, bytes_down_per_client = 0;  // of the round before the first; the bases are sent down
  std::size_t bytes_total = 0;
  double seconds = 0;
};

namespace detail {

inline InitializeOptions adapter_options(const FederateOptions& options) {
  InitializeOptions adapter{.rank = adapter_rank(options), .rule = first_step(options), .seed = options.seed};
  // rounds know no warm-up: the first step is taken as if 50 steps of one came
  adapter.learning_rate = learning_rate(options) / 50;
  return adapter;
}

/// The look-ahead on the texts of a share: --look-ahead steps, with auto one pass over them.
inline LookAheadOptions look_ahead_options(const FederateOptions& options, const train::ShuffledBatches& batches, Index parts, int threads) {
  LookAheadOptions ahead = examples::look_ahead_options(options);
  ahead.steps = options.look_ahead > 0 ? options.look_ahead : batches.batches_per_epoch();
  ahead.adapter = adapter_options(options);
  ahead.parts = parts;
  ahead.threads = threads;
  return ahead;
}

}  // namespace detail

/// Bases from all clients, in a round before the first: with --look-ahead from ΔW and head after local steps of a scout of full
/// weights, otherwise from the sums of minibatch gradients at W0.
class ClientEstimates {
 public:
  /// Everything must outlive it.
  ClientEstimates(const FederatedTask& task, const FederateOptions& options, const Parameters<float>& head,
                  const federated::Shares& shares)
      : task_(task), options_(options), head_(head), shares_(shares), modules_(task.base.modules),
        moments_(options.look_ahead == 0 && !options.privacy.enabled && first_step(options) == FirstStep::moments ? GradientMoments::first_and_second
                                                                                      : GradientMoments::first),
        round_(concat("lorasb-federate-start-", options.seed), base_digest(), layout(), client_names(options.clients),
               [this](Index client, std::span<float> values) { return answer(client, values); }) {}

  federated::ClientHost& host() { return round_.host(); }

  /// Asks all clients and makes the bases, on the server.
  template <federated::Transport T>
  SessionStart collect(T& transport) const {
    const double began = seconds_now();
    const auto found = round_.collect(transport, {.min_clients = options_.min_clients},
                                      options_.round_seconds > 0 ? options_.round_seconds : 1e9);
    for (const std::string& failure : found.round.failures) std::fprintf(stderr, "start: %s\n", failure.c_str());
    SessionStart start{.head = head_};
    train::InitializedModules<float> made;
    const InitializeOptions adapter = detail::adapter_options(options_);
    if (options_.look_ahead != 0 || takes_noised_bases(options_)) {
      const auto update_of = [&](const std::string& module) { return Weight<float>(found.mean.at(module, Role::weight)); };
      made = train::initialize_from_updates<float>(modules_, update_of, adapter);
      if (options_.look_ahead != 0)
        for (const ParameterLayout::Tensor& t : head_.layout().tensors())
          std::ranges::copy(found.mean.flat(t.name), start.head.flat(t.name).begin());
    } else {
      made = train::initialize_modules(
          federated::take_estimates(found.mean, modules_, found.round.total_weight, estimation_batch), adapter);
    }
    start.adapters = std::move(made.adapters);
    std::size_t bases = options_.look_ahead != 0 ? start.head.flat().size_bytes() : 0;
    for (const auto& [name, a] : start.adapters)
      bases += static_cast<std::size_t>(a.B.size() + a.A.size() + a.R.size()) * sizeof(float);
    const federated::RoundReport& report = found.round;
    start.bytes_up_per_client = report.messages > 0 ? report.bytes_received / static_cast<std::size_t>(report.messages) : 0;
    start.bytes_down_per_client = found.question_bytes + bases;
    start.bytes_total = report.bytes_received + start.bytes_down_per_client * static_cast<std::size_t>(options_.clients);
    start.seconds = seconds_now() - began;
    return start;
  }

 private:
  Digest base_digest() const {
    std::vector<Module<float>> frozen;
    for (const auto& [name, weight] : task_.base.weights) frozen.push_back({name, weight});
    return federated::base_digest(AdapterBases<float>(), frozen);
  }
  ParameterLayout layout() const {
    ParameterLayout layout;
    federated::append_estimates(modules_, moments_, layout);
    if (options_.look_ahead != 0)
      for (const ParameterLayout::Tensor& t : head_.layout().tensors()) layout.add(t.module, t.role, t.rows, t.cols);
    return layout;
  }
  std::uint64_t answer(Index client, std::span<float> values) const {
    const std::vector<Index>& share = shares_[static_cast<std::size_t>(client)];
    if (share.empty()) return 0;
    if (options_.look_ahead != 0) {
      train::Scout<float> scout(modules_, head_, {.kind = options_.scout});
      train::ShuffledBatches batches(std::ssize(share), options_.batch, derive_seed(options_.seed, static_cast<std::uint64_t>(client)));
      take_scout_steps(scout, task_.base, task_.train, batches, detail::look_ahead_options(options_, batches, 1, 1), share);
      std::ranges::copy(std::as_const(scout).values().flat(), values.begin());
      return share.size();
    }
    if (takes_noised_bases(options_)) {
      const std::unique_ptr<privacy::NoiseSource> noise = options_.privacy.source(2, derive_seed(0, static_cast<std::uint64_t>(client)));
      for (const ClippedGradientSum<float>& sum :
           train::noised_sums(modules_, estimation_pass(task_.base, head_, task_.train, share, 1, 1, 1),
                              options_.privacy.noised_bases(adapter_rank(options_), options_.seed), *noise))
        std::ranges::transform(flat(sum.sum()), round_.layout().at(sum.name(), Role::weight).range().of(values).begin(),
                               [&](float x) { return x / static_cast<float>(share.size()); });
      return share.size();
    }
    std::vector<GradientEstimate<float>> estimates;
    for (const Module<float>& m : modules_) estimates.emplace_back(m.W0.rows(), m.W0.cols(), m.name, moments_);
    estimation_pass(task_.base, head_, task_.train, share, 1, 1).run(train::observed_layers<float>(modules_, 0, estimates), 0);
    for (GradientEstimate<float>& estimate : estimates) estimate.count(std::ssize(share));
    federated::put_estimates(estimates, round_.layout(), values);
    return share.size();
  }

  const FederatedTask& task_;
  const FederateOptions& options_;
  const Parameters<float>& head_;
  const federated::Shares& shares_;
  std::vector<Module<float>> modules_;
  GradientMoments moments_;
  federated::EstimateRound<float> round_;
};

/// The head that everybody starts with, that of --load or one from the texts of --init-data.
inline Parameters<float> start_head(const FederatedTask& task, const FederateOptions& options) {
  if (task.loaded) return loaded_head(*task.loaded, task.base, start_head(task.base, task.classes(), options.seed));
  return train::train_head<float>(frozen_features(task.base, task.start, 4, options.threads), task.start.labels, task.classes(),
                                  {.epochs = options.start_head_epochs,
                                   .batch = 32,
                                   .learning_rate = options.head_learning_rate,
                                   .weight_decay = 0.3,
                                   .seed = options.seed});
}

/// The start from the server's texts alone, or from the folder of --load.
inline SessionStart server_start(const FederatedTask& task, const FederateOptions& options, const Parameters<float>& head) {
  const double began = seconds_now();
  SessionStart start{.head = head};
  if (task.loaded) {
    if (task.loaded->method == Method::lora)
      start.factors = lora_factors(task.loaded_adapters);
    else
      start.adapters = task.loaded_adapters;
    return start;
  }
  if (options.method != federated::FederatedMethod::fed_sb) return start;  // LoRA starts at 0
  if (options.privacy.enabled && options.privacy.bases != PrivateBases::public_file) {
    start.adapters = data_free_adapters(task.base.modules, options.privacy.bases, adapter_rank(options), options.seed);
    start.seconds = seconds_now() - began;
    return start;
  }
  train::InitializedModules<float> found;
  const std::vector<Index> order = all_of(task.start);
  if (options.look_ahead != 0) {
    train::Scout<float> scout(task.base.modules, head,
                              {.kind = options.scout,
                               .lora_rank = options.scout_rank > 0 ? options.scout_rank : 2 * adapter_rank(options),
                               .seed = options.seed});
    train::ShuffledBatches batches(std::ssize(order), options.batch, options.seed);
    found = look_ahead(scout, task.base, task.start, batches, detail::look_ahead_options(options, batches, 4, options.threads)).modules;
    start.head = scout.head();
  } else {
    train::InitializeModulesOptions init{.adapter = detail::adapter_options(options)};
    init.measure_start = false;
    found = sb_adapters(task.base, head, task.start, order, 4, options.threads, init);
  }
  start.adapters = std::move(found.adapters);
  start.seconds = seconds_now() - began;
  return start;
}

/// Cores at zero, where that is asked for or private.
inline void start_cores(const FederateOptions& options, SessionStart& start) {
  if (options.core_start == CoreStart::zero || options.privacy.enabled)
    for (auto& [name, adapter] : start.adapters) adapter.R.setZero();
}

/// What all members share from then on. `mixed`: what start_mixture() made of the start.
inline SharedModel make_shared_model(const FederatedTask& task, const FederateOptions& options, SessionStart start,
                                     const FederatedMixture* mixed = nullptr) {
  if (!task.loaded) start_cores(options, start);
  federated::SharedModelStart<float> shared{.method = options.method,
                                            .rank = adapter_rank(options),
                                            .clients = options.clients,
                                            .seed = options.seed,
                                            .adapters = std::move(start.adapters),
                                            .factors = std::move(start.factors),
                                            .head = start.head.layout(),
                                            .head_values = {start.head.flat().begin(), start.head.flat().end()},
                                            .modules = task.base.modules,
                                            .experts = options.experts,
                                            .frozen = {}};
  for (const auto& [name, weight] : task.base.weights) shared.frozen.push_back({name, weight});
  if (mixed != nullptr)
    for (const auto& [module, basis] : mixed->mixture.bank.bases()) {
      shared.frozen.push_back({concat(module, ".basis.B"), basis.B});
      shared.frozen.push_back({concat(module, ".basis.A"), basis.A});
    }
  Sha256 sha;  // the session is named after all that decides its bits
  for (const auto& [key, text] : run_config(options)) {
    const std::string line = key + "=" + text + "\n";
    sha.update(std::as_bytes(std::span(line)));
  }
  shared.session_id = "lorasb-federate-" + hex(sha.digest()).substr(0, 16);
  return SharedModel(std::move(shared));
}

/// The start of a session whose clients are in this process.
inline SessionStart start_session(const FederatedTask& task, const FederateOptions& options, const federated::Shares& shares) {
  const Parameters<float> head = start_head(task, options);
  if (estimate_of(options) == Estimate::server) return server_start(task, options, head);
  ClientEstimates estimates(task, options, head, shares);
  federated::InProcessTransport transport(estimates.host(), options.threads);
  return estimates.collect(transport);
}

}  // namespace lorasb::examples
