// What a session starts from: a head, and with fed-sb bases from texts of the server or from sums over all clients.
#pragma once

#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "examples/federated/workplace.hpp"
#include "lorasb/federated/in_process.hpp"
#include "lorasb/federated/server.hpp"

namespace lorasb::examples {

/// What a session starts from, and what it took.
struct SessionStart {
  Parameters<float> head;
  AdapterSet<float> adapters = {};  // of fed-sb
  std::vector<train::ModuleReport> reports = {};
  std::size_t bytes_up_per_client = 0, bytes_down_per_client = 0;  // of the round before the first; the bases are sent down
  std::size_t bytes_total = 0;
  double seconds = 0;
};

namespace detail {

inline std::vector<Index> all_of(const TokenizedTexts& texts) {
  std::vector<Index> order(static_cast<std::size_t>(texts.size()));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

inline InitializeOptions adapter_options(const FederateOptions& options) {
  InitializeOptions adapter{.rank = adapter_rank(options), .rule = first_step(options), .seed = options.seed};
  // rounds know no warm-up: the first step is taken as if 50 steps of one came
  adapter.learning_rate = learning_rate(options) / 50;
  return adapter;
}

/// Takes the steps of --look-ahead on the texts of a share; with auto, one pass over them.
inline void run_scout(train::Scout<float>& scout, const FederatedTask& task, const FederateOptions& options,
                      const TokenizedTexts& texts, const std::vector<Index>& share, Index parts, int threads, std::uint64_t seed) {
  Classifier classifier = make_classifier(task.base, task.base.weights, scout.layers(), scout.values(), parts);
  const std::unique_ptr<optim::Optimizer<float>> optimizer = scout.make_optimizer();
  const double rate = scout_learning_rate(options);
  for (const Range& head : scout.values().layout().ranges([](const auto& t) { return is_head(t.role); }))
    optimizer->set_rate_factor(head.first, head.count, options.head_learning_rate / rate);
  train::ShuffledBatches batches(std::ssize(share), options.batch, seed);
  const Index steps = options.look_ahead > 0 ? options.look_ahead : batches.batches_per_epoch();
  train::Step<float> step(scout.values().layout().size(), parts, threads);
  std::vector<Index> named;
  for (Index t = 1; t <= steps; ++t) {
    named.clear();
    for (const Index i : batches.next()) named.push_back(share[static_cast<std::size_t>(i)]);
    const auto pass = [&](Index part, Index first, Index count, std::span<float> gradient) {
      return classifier.pass(texts, std::span(named).subspan(std::size_t(first), std::size_t(count)), part, gradient);
    };
    const train::StepResult found = step.run(std::ssize(named), pass, scout.values().flat(), *optimizer, rate,
                                             {.max_norm = options.max_norm});
    require(found.status == train::StepStatus::updated, ErrorId::not_finite, "step ", t, " of the scout: the loss is ",
            found.mean_loss, "; a lower --scout-learning-rate (now ", rate, ") may help");
    scout.after_step();
  }
}

}  // namespace detail

/// The round before the first, in which every client says once where training would go: with --look-ahead K its ΔW and head after
/// K local steps of a scout of full weights, otherwise the sums of its minibatch gradients (and of their squares) at W0, over the
/// number of its texts. The server's exact mean of these, weighted by texts, is the mean ΔW or Σ G_b / N over all clients.
class ClientEstimates {
 public:
  /// Everything must outlive it.
  ClientEstimates(const FederatedTask& task, const FederateOptions& options, const Parameters<float>& head,
                  const federated::Shares& shares)
      : task_(task), options_(options), head_(head), shares_(shares), modules_(task.base.modules()),
        second_moments_(options.look_ahead == 0 && first_step(options) == FirstStep::moments) {
    ParameterLayout layout;
    for (const Module<float>& m : modules_) layout.add(m.name, Role::weight, m.W0.rows(), m.W0.cols());
    if (options.look_ahead != 0)
      for (const ParameterLayout::Tensor& t : head.layout().tensors()) layout.add(t.module, t.role, t.rows, t.cols);
    if (second_moments_)
      for (const Module<float>& m : modules_) layout.add(m.name + ".squares", m.W0.rows(), m.W0.cols());
    std::vector<Module<float>> frozen;
    for (const auto& [name, weight] : task.base.weights) frozen.push_back({name, weight});
    const Digest base = federated::base_digest(AdapterBases<float>(), frozen);
    const std::string id = concat("lorasb-federate-start-", options.seed);
    session_ = {.id = id, .base = base, .layout = layout};
    question_ = {.id = id, .base = base, .layout = {}};
    federated::ClientWork<float> work{
        .train = [this](Index client, int, std::uint64_t, std::span<float> values,
                        federated::LeadingMask<float>&) { return answer(client, values); },
        .names = client_names(options.clients)};
    work.take = [this](std::span<const std::byte> message) {  // nothing but the question is sent down
      federated::Checked<federated::Broadcast<float>> checked = federated::validate_broadcast<float>(question_, 0, message);
      if (const auto* const rejection = std::get_if<federated::Rejection>(&checked))
        throw Error(ErrorId::value, concat("the start of the session: ", rejection->text));
      return federated::Broadcast<float>{.round = 1, .values = std::vector<float>(std::size_t(session_.layout.size()))};
    };
    clients_.emplace(session_, std::move(work));
  }
  ClientEstimates(const ClientEstimates&) = delete;
  ClientEstimates& operator=(const ClientEstimates&) = delete;

  federated::ClientHost& host() { return *clients_; }

  /// Asks all clients and makes the bases, on the server.
  template <federated::Transport T>
  SessionStart collect(T& transport) {
    const double began = seconds_now();
    const std::vector<float> zeros(std::size_t(session_.layout.size()));
    federated::Server<float> server(session_, zeros, client_names(options_.clients), {.min_clients = options_.min_clients});
    const auto question = std::make_shared<const Bytes>(federated::encode_broadcast<float>(question_, 1, {}));
    const double timeout = options_.round_seconds > 0 ? options_.round_seconds : 1e9;
    const federated::RoundReport report = federated::run_round(server, transport, question, timeout);
    for (const std::string& failure : report.failures) std::fprintf(stderr, "start: %s\n", failure.c_str());
    require(report.committed, ErrorId::value, "the start of the session: ", report.accepted, " of ", options_.clients,
            " clients answered, fewer than --min-clients, ", options_.min_clients);
    Parameters<float> mean(session_.layout);
    std::ranges::copy(server.global(), mean.flat().begin());
    SessionStart start{.head = head_};
    train::InitializedModules<float> found =
        options_.look_ahead != 0 ? from_updates(mean, start.head) : from_gradients(mean, static_cast<Index>(report.total_weight));
    start.adapters = std::move(found.adapters);
    start.reports = std::move(found.reports);
    std::size_t bases = 0;
    for (const auto& [name, adapter] : start.adapters)
      bases += static_cast<std::size_t>(adapter.B.size() + adapter.A.size() + adapter.R.size()) * sizeof(float);
    if (options_.look_ahead != 0) bases += start.head.flat().size_bytes();
    start.bytes_up_per_client = report.messages > 0 ? report.bytes_received / static_cast<std::size_t>(report.messages) : 0;
    start.bytes_down_per_client = question->size() + bases;
    start.bytes_total = report.bytes_received + start.bytes_down_per_client * static_cast<std::size_t>(options_.clients);
    start.seconds = seconds_now() - began;
    return start;
  }

 private:
  std::uint64_t answer(Index client, std::span<float> values) const {
    const std::vector<Index>& share = shares_[static_cast<std::size_t>(client)];
    if (share.empty()) return 0;
    if (options_.look_ahead != 0) {
      train::Scout<float> scout(modules_, head_, {.kind = options_.scout});
      detail::run_scout(scout, task_, options_, task_.train, share, 1, 1,
                        derive_seed(options_.seed, static_cast<std::uint64_t>(client)));
      std::ranges::copy(std::as_const(scout).values().flat(), values.begin());
      return share.size();
    }
    std::vector<GradientEstimate<float>> estimates;
    for (const Module<float>& m : modules_)
      estimates.emplace_back(m.W0.rows(), m.W0.cols(), m.name,
                             second_moments_ ? GradientMoments::first_and_second : GradientMoments::first);
    estimation_pass(task_.base, head_, task_.train, share, 1, 1).run(train::observed_layers<float>(modules_, 0, estimates), 0);
    auto to = values.begin();
    const auto put = [&](const Weight<float>& sums) {  // over the number of texts, which is the weight of the update
      to = std::ranges::transform(flat(sums), to, [&](float x) { return x / float(share.size()); }).out;
    };
    for (const GradientEstimate<float>& estimate : estimates) put(estimate.sum());
    if (second_moments_)
      for (const GradientEstimate<float>& estimate : estimates) put(estimate.sum_of_squares());
    return share.size();
  }

  train::InitializedModules<float> from_gradients(const Parameters<float>& mean, Index examples) const {
    Index batches = 0;
    for (const std::vector<Index>& share : shares_) batches += (std::ssize(share) + estimation_batch - 1) / estimation_batch;
    std::vector<GradientEstimate<float>> estimates;
    for (const Module<float>& m : modules_) {
      Weight<float> sum = mean.at(m.name, Role::weight) * float(examples), squares;
      if (second_moments_) squares = mean[m.name + ".squares"] * float(examples);
      estimates.push_back(
          GradientEstimate<float>::from_sums(std::move(sum), std::move(squares), examples, std::min(batches, examples), m.name));
    }
    return train::initialize_modules(estimates, detail::adapter_options(options_));
  }
  train::InitializedModules<float> from_updates(const Parameters<float>& mean, Parameters<float>& head) const {
    for (const ParameterLayout::Tensor& t : head.layout().tensors())
      std::ranges::copy(mean.flat(t.name), head.flat(t.name).begin());
    return train::initialize_from_updates<float>(
        modules_, [&](const std::string& module) { return Weight<float>(mean.at(module, Role::weight)); },
        detail::adapter_options(options_));
  }

  const FederatedTask& task_;
  const FederateOptions& options_;
  const Parameters<float>& head_;
  const federated::Shares& shares_;
  std::vector<Module<float>> modules_;
  bool second_moments_;
  federated::Session session_, question_;  // the question has no numbers
  std::optional<federated::Clients<float>> clients_;
};

/// The head that everybody starts with, from the texts of --init-data.
inline Parameters<float> start_head(const FederatedTask& task, const FederateOptions& options) {
  return train::train_head<float>(frozen_features(task.base, task.start, 4, options.threads), task.start.labels, task.classes(),
                                  {.epochs = options.start_head_epochs,
                                   .batch = 32,
                                   .learning_rate = options.head_learning_rate,
                                   .weight_decay = 0.3,
                                   .seed = options.seed});
}

/// The start from the server's texts alone.
inline SessionStart server_start(const FederatedTask& task, const FederateOptions& options, const Parameters<float>& head) {
  const double began = seconds_now();
  SessionStart start{.head = head};
  if (options.method != federated::FederatedMethod::fed_sb) return start;  // LoRA starts at 0
  train::InitializedModules<float> found;
  const std::vector<Index> order = detail::all_of(task.start);
  if (options.look_ahead != 0) {
    train::Scout<float> scout(task.base.modules(), head,
                              {.kind = options.scout,
                               .lora_rank = options.scout_rank > 0 ? options.scout_rank : 2 * adapter_rank(options),
                               .seed = options.seed});
    detail::run_scout(scout, task, options, task.start, order, 4, options.threads, options.seed);
    found = scout.adapters(detail::adapter_options(options));
    start.head = scout.head();
  } else {
    train::InitializeModulesOptions init{.adapter = detail::adapter_options(options)};
    init.measure_start = false;
    found = sb_adapters(task.base, head, task.start, order, 4, options.threads, init);
  }
  start.adapters = std::move(found.adapters);
  start.reports = std::move(found.reports);
  start.seconds = seconds_now() - began;
  return start;
}

/// What all members share from then on.
inline SharedModel make_shared_model(const FederatedTask& task, const FederateOptions& options, SessionStart start) {
  if (options.core_start == CoreStart::zero)
    for (auto& [name, adapter] : start.adapters) adapter.R.setZero();
  federated::SharedModelStart<float> shared{.method = options.method,
                                            .rank = adapter_rank(options),
                                            .clients = options.clients,
                                            .seed = options.seed,
                                            .adapters = std::move(start.adapters),
                                            .head = start.head.layout(),
                                            .head_values = {start.head.flat().begin(), start.head.flat().end()},
                                            .modules = task.base.modules(),
                                            .frozen = {}};
  for (const auto& [name, weight] : task.base.weights) shared.frozen.push_back({name, weight});
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
