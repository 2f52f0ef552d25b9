// What a session starts from: a head, and with fed-sb bases from texts of the server or from sums over all clients.
#pragma once

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "examples/common/private_bases.hpp"
#include "examples/federated/workplace.hpp"
#include "lorasb/federated/bases_round.hpp"
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

/// Bases from all clients, in a round before the first. Everything must outlive it.
inline federated::BasesRound<float> client_bases(const FederatedTask& task, const FederateOptions& options, const Parameters<float>& head,
                                                 const federated::Shares& shares) {
  using federated::BasesSource;
  const bool ahead = options.look_ahead != 0, noised = takes_noised_bases(options);
  federated::BasesWork<float> work;
  for (const std::vector<Index>& share : shares) work.examples.push_back(std::ssize(share));
  work.pass = [&, noised](Index client) -> train::EstimationPass<float> {
    const std::vector<Index>& share = shares[static_cast<std::size_t>(client)];
    const std::size_t batch = noised ? 1 : std::size_t(estimation_batch);
    return [pass = estimation_pass(task.base, head, task.train, share, 1, 1, batch)](const Layers<float>& layers) { return pass.run(layers, 0); };
  };
  work.look_ahead = [&](Index client, train::Scout<float>& scout) {
    const std::vector<Index>& share = shares[static_cast<std::size_t>(client)];
    train::ShuffledBatches batches(std::ssize(share), options.batch, derive_seed(options.seed, static_cast<std::uint64_t>(client)));
    take_scout_steps(scout, task.base, task.train, batches, detail::look_ahead_options(options, batches, 1, 1), share);
  };
  work.noise = [&](Index client) { return options.privacy.source(2, derive_seed(0, static_cast<std::uint64_t>(client))); };
  return {concat("lorasb-federate-start-", options.seed), task.base.modules, task.base.weights, head, client_names(options.clients),
          std::move(work),
          {.source = ahead ? BasesSource::look_ahead : noised ? BasesSource::noised_gradients : BasesSource::gradients,
           .adapter = detail::adapter_options(options),
           .batch = estimation_batch,
           .scout = options.scout,
           .noised = options.privacy.noised_bases(adapter_rank(options), options.seed)}};
}

/// Asks all clients and makes the bases, on the server.
template <federated::Transport T>
SessionStart collect_bases(const federated::BasesRound<float>& round, T& transport, const FederateOptions& options) {
  const double began = seconds_now();
  federated::BasesRoundResult<float> found =
      round.collect(transport, {.min_clients = options.min_clients}, options.round_seconds > 0 ? options.round_seconds : 1e9);
  for (const std::string& failure : found.round.failures) std::fprintf(stderr, "start: %s\n", failure.c_str());
  return {.head = std::move(found.head),
          .adapters = std::move(found.modules.adapters),
          .bytes_up_per_client = found.bytes_up_per_client,
          .bytes_down_per_client = found.bytes_down_per_client,
          .bytes_total = found.bytes_total,
          .seconds = seconds_now() - began};
}

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
  federated::BasesRound<float> round = client_bases(task, options, head, shares);
  federated::InProcessTransport transport(round.host(), options.threads);
  return collect_bases(round, transport, options);
}

}  // namespace lorasb::examples
