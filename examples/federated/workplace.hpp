// How a client of the program trains: on texts of its own, from the values that a round starts with.
#pragma once

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "examples/federated/accounts.hpp"
#include "examples/federated/task.hpp"
#include "lorasb/federated/baselines/shared_model.hpp"
#include "lorasb/federated/client.hpp"
#include "lorasb/federated/expert_aggregator.hpp"
#include "lorasb/federated/proximal.hpp"
#include "lorasb/mixer/mixture.hpp"
#include "lorasb/mixer/two_phase.hpp"
#include "lorasb/train/private_step.hpp"
#include "lorasb/train/sampler.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::examples {

using federated::Bytes;
using SharedModel = federated::SharedModel<float>;

inline std::string client_name(Index client) { return "client-" + std::to_string(client); }
inline std::vector<std::string> client_names(Index clients) {
  std::vector<std::string> names;
  for (Index c = 0; c < clients; ++c) names.push_back(client_name(c));
  return names;
}

/// The experts of a session with --experts: what of them is frozen, and where their cores are in the session's layout.
struct FederatedMixture {
  mixer::Mixture<float> mixture;
  mixer::RoutingOptions routing;
  std::vector<federated::ExpertTensor> cores = {};
};

/// The model of one thread, lent to one client after another. It stays at its address: the layers view the values.
struct Workplace {
  Parameters<float> values;
  mixer::BalanceLossOptions balance = {};   // of the routers, which look at it
  std::vector<std::uint64_t> seen = {};     // tokens of the round by expert, over all modules
  Layers<float> layers;
  Classifier classifier;
  train::Step<float> step;

  /// `mixed`: null without experts.
  Workplace(const FederatedTask& task, const SharedModel& shared, const FederatedMixture* mixed, Index parts = 1)
      : values(shared.session().layout),
        layers(mixed == nullptr ? shared.bind(values)
                                : mixer::bind_mixture<float>(task.base.modules, mixed->mixture, values, mixed->routing, balance)),
        classifier(make_classifier(task.base, task.base.weights, layers, values, parts)),
        step(values.layout().size(), 1, 1) {}
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
};

/// The optimizer of a client, new in each round.
inline std::unique_ptr<optim::Optimizer<float>> local_optimizer(const ParameterLayout& layout, const FederateOptions& options) {
  std::unique_ptr<optim::Optimizer<float>> optimizer = make_optimizer(options.optimizer, layout.size());
  if (options.optimizer == OptimizerKind::adamw)
    for (const Range& head : layout.ranges([](const auto& t) { return is_head(t.role); }))
      optimizer->set_rate_factor(head.first, head.count, options.head_learning_rate / learning_rate(options));
  return optimizer;
}
/// Falling from round to round, to 0 after the last.
inline double learning_rate_of(const FederateOptions& options, std::uint64_t round) {
  return (1 - double(round - 1) / double(options.rounds)) * learning_rate(options);
}

/// A pass with the auxiliary loss of the routers, which counts the tokens that each expert sees.
inline train::Step<float>::TwoPhasePass mixed_pass(Workplace& work, const FederatedTask& task, const std::vector<Index>& texts) {
  train::Step<float>::TwoPhasePass pass = mixer::two_phase_pass(work.classifier, task.train, texts);
  pass.forward = [&work, forward = std::move(pass.forward)](Index part, Index first, Index count, std::span<double> statistics) {
    const train::PassResult result = forward(part, first, count, statistics);
    const auto count_tokens = [&](const mixer::Routing<float>& routing, const auto&) {
      for (std::size_t e = 0; e < work.seen.size(); ++e) work.seen[e] += routing.tokens_of(Index(e)).size();
    };
    mixer::for_each_routing(work.classifier.encoder(), work.classifier.cache(part), count_tokens);
    return result;
  };
  return pass;
}

/// Trains the values of `work` for one round on the texts of `share`. Throws
/// ErrorId::not_finite.
inline void train_locally(Workplace& work, const FederatedTask& task, const FederateOptions& options,
                          const std::vector<Index>& share, Index client, std::uint64_t round,
                          federated::LeadingMask<float>& mask) {
  const std::unique_ptr<optim::Optimizer<float>> optimizer = local_optimizer(work.values.layout(), options);
  const double rate = learning_rate_of(options, round);
  work.seen.assign(static_cast<std::size_t>(options.experts), 0);
  const bool mixed = options.experts > 0;
  if (mixed)
    work.balance = {.balance = options.balance, .share = mixer::RoutedShare::top_1, .over_layers = mixer::OverLayers::mean};
  train::ShuffledBatches batches(std::ssize(share), options.batch,
                                 derive_seed(derive_seed(options.seed, round), static_cast<std::uint64_t>(client)));
  const Index steps = options.local_steps > 0 ? options.local_steps : options.local_epochs * batches.batches_per_epoch();
  std::vector<float> start;  // what --proximal keeps the values near
  if (options.proximal > 0) start.assign(std::as_const(work.values).flat().begin(), std::as_const(work.values).flat().end());
  std::vector<Index> texts;
  const train::Step<float>::TwoPhasePass pass_of_experts =
      mixed ? mixed_pass(work, task, texts) : train::Step<float>::TwoPhasePass();
  for (Index t = 0; t < steps; ++t) {
    texts.clear();
    for (const Index i : batches.next()) texts.push_back(share[static_cast<std::size_t>(i)]);
    const auto pass = [&](Index part, Index, Index, std::span<float> gradient) {
      const train::PassResult result = work.classifier.pass(task.train, texts, part, gradient);
      mask.mask(gradient);
      return result;
    };
    if (mixed) {
      work.balance.multiplier = double(texts.size());
      work.step.accumulate(std::ssize(texts), pass_of_experts);
    } else {
      work.step.accumulate(std::ssize(texts), pass);
    }
    if (options.proximal > 0)
      federated::add_proximal_gradient<float>(options.proximal, work.step.examples(), std::as_const(work.values).flat(), start,
                                              work.step.gradient_sum());
    const train::StepResult found = work.step.apply(work.values.flat(), *optimizer, rate, {.max_norm = options.max_norm});
    mask.restore(work.values.flat());
    require(found.status == train::StepStatus::updated, ErrorId::not_finite, "local step ", t + 1, ": the loss is ",
            found.mean_loss, " and the gradient's norm is ", found.gradient_norm, "; a lower --learning-rate (now ",
            learning_rate(options), ") may help");
  }
}

/// The same by DP-SGD, with the steps that the accounts have of a round and no more.
inline void train_privately(Workplace& work, const FederatedTask& task, const FederateOptions& options,
                            const RoundMechanism& allowed, const std::vector<Index>& share, Index client, std::uint64_t round,
                            federated::LeadingMask<float>& mask) {
  const PrivateOptions& p = options.privacy;
  const std::uint64_t part = derive_seed(round, static_cast<std::uint64_t>(client));
  const std::unique_ptr<privacy::NoiseSource> draws = p.source(0, part), noise = p.source(1, part);
  privacy::PoissonBatches batches(std::ssize(share), allowed.q, *draws);
  privacy::Ledger ledger({.population = allowed.population, .delta = p.delta});
  if (takes_noised_bases(options)) p.charge_bases(ledger);
  ledger.reserve(batches.scheme(), batches.rate(), allowed.sigma, allowed.steps);
  train::PrivateStep<float> step(work.values.layout().size(), 1, 1,
                                 {.clip = p.clip, .noise = allowed.sigma, .kind = p.kind, .origin = p.origin(trains_fed_sb(options))},
                                 ledger, batches,
                                 *noise);
  const std::unique_ptr<optim::Optimizer<float>> optimizer = local_optimizer(work.values.layout(), options);
  const double rate = learning_rate_of(options, round);
  std::vector<Index> texts;
  for (std::uint64_t t = 0; t < allowed.steps; ++t) {
    step.charge();
    texts.clear();
    for (const Index i : batches.next()) texts.push_back(share[static_cast<std::size_t>(i)]);
    accumulate_in_pieces(step, texts, options.batch,
                         [&](std::span<const Index> piece, Index slot, Index, Index, auto sum) {
                           const train::PassResult result = pass_clipped(work.classifier, task.train, piece, slot, step, sum);
                           if constexpr (std::is_same_v<decltype(sum), std::span<float>>) mask.mask(sum);
                           return result;
                         });
    const train::PrivateStepResult found = step.apply(work.values.flat(), *optimizer, rate);
    mask.restore(work.values.flat());
    require(found.status == train::StepStatus::updated, ErrorId::not_finite, "local step ", t + 1,
            ": the noised gradient's norm is ", found.gradient_norm);
  }
}

/// The clients of this process. Everything must outlive them. `accounts` are those of a private session with --unit example, `mixed` that of one
/// with experts; null without.
class TrainingClients {
 public:
  TrainingClients(const FederatedTask& task, const FederateOptions& options, SharedModel& shared,
                  const federated::Shares& shares, int threads, const Accounts* accounts = nullptr, const FederatedMixture* mixed = nullptr)
      : task_(task),
        options_(options),
        shared_(shared),
        shares_(shares),
        accounts_(accounts),
        mixed_(mixed),
        clients_(shared.session(), work(threads)) {}
  TrainingClients(const TrainingClients&) = delete;
  TrainingClients& operator=(const TrainingClients&) = delete;

  federated::ClientHost& host() { return clients_; }

 private:
  federated::ClientWork<float> work(int threads) {
    for (int t = 0; t < threads; ++t) workplaces_.push_back(std::make_unique<Workplace>(task_, shared_, mixed_));
    federated::ClientWork<float> work{.train = [this](Index client, int slot, std::uint64_t round, std::span<float> values,
                                                      federated::LeadingMask<float>& mask) {
                                        return train(client, slot, round, values, mask);
                                      },
                                      .names = client_names(options_.clients)};
    for (Index c = 0; !options_.ranks.empty() && c < options_.clients; ++c)
      work.ranks.push_back(options_.ranks[static_cast<std::size_t>(c) % options_.ranks.size()]);
    if (mixed_ != nullptr)
      work.experts = [this](Index, int slot) { return workplaces_[static_cast<std::size_t>(slot)]->seen; };
    work.take = [this](std::span<const std::byte> message) {
      shared_.take(message);
      const std::span<const float> values = std::as_const(shared_).values().flat();
      return federated::Broadcast<float>{.round = shared_.round(), .values = {values.begin(), values.end()}};
    };
    return work;
  }
  std::uint64_t train(Index client, int slot, std::uint64_t round, std::span<float> values,
                      federated::LeadingMask<float>& mask) {
    Workplace& work = *workplaces_[static_cast<std::size_t>(slot)];
    const std::vector<Index>& share = shares_[static_cast<std::size_t>(client)];
    std::ranges::copy(values, work.values.flat().begin());
    shared_.start_client(client, work.values);
    if (!share.empty() && accounts_ != nullptr)
      train_privately(work, task_, options_, accounts_->mechanism(client), share, client, round, mask);
    else if (!share.empty())
      train_locally(work, task_, options_, share, client, round, mask);
    std::ranges::copy(std::as_const(work.values).flat(), values.begin());
    return share.size();
  }

  const FederatedTask& task_;
  const FederateOptions& options_;
  SharedModel& shared_;
  const federated::Shares& shares_;
  const Accounts* accounts_;
  const FederatedMixture* mixed_;  // null without experts
  std::vector<std::unique_ptr<Workplace>> workplaces_;
  federated::Clients<float> clients_;
};

}  // namespace lorasb::examples
