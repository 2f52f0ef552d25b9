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
#include "lorasb/federated/local_training.hpp"
#include "lorasb/mixer/mixture.hpp"
#include "lorasb/mixer/two_phase.hpp"
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

/// Falling from round to round, to 0 after the last.
inline double learning_rate_of(const FederateOptions& options, std::uint64_t round) {
  return (1 - double(round - 1) / double(options.rounds)) * learning_rate(options);
}

/// The texts of the task that numbers of a client's share stand for.
inline std::vector<Index> texts_of(const std::vector<Index>& share, std::span<const Index> numbers) {
  std::vector<Index> texts;
  for (const Index i : numbers) texts.push_back(share[static_cast<std::size_t>(i)]);
  return texts;
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
  const std::unique_ptr<optim::Optimizer<float>> optimizer = model_optimizer(options, work.values.layout(), learning_rate(options));
  work.seen.assign(static_cast<std::size_t>(options.experts), 0);
  if (options.experts > 0)
    work.balance = {.balance = options.balance, .share = mixer::RoutedShare::top_1, .over_layers = mixer::OverLayers::mean};
  const federated::LocalTrainingOptions local{
      .batch = options.batch,
      .epochs = options.local_epochs,
      .steps = options.local_steps,
      .learning_rate = learning_rate_of(options, round),
      .max_norm = options.max_norm,
      .proximal = options.proximal,
      .seed = derive_seed(derive_seed(options.seed, round), static_cast<std::uint64_t>(client))};
  const auto train = [&](const auto& pass_of) {
    return federated::train_locally(work.step, work.values.flat(), *optimizer, std::ssize(share), local, mask, pass_of);
  };
  std::vector<Index> texts;
  const federated::LocalTrainingResult found =
      options.experts > 0 ? train([&](std::span<const Index> batch) {
        texts = texts_of(share, batch);
        work.balance.multiplier = double(batch.size());
        return mixed_pass(work, task, texts);
      })
                          : train([&](std::span<const Index> batch) {
        texts = texts_of(share, batch);
        return [&](Index part, Index, Index, std::span<float> gradient) {
          return work.classifier.pass(task.train, texts, part, gradient);
        };
      });
  require(found.last.status == train::StepStatus::updated, ErrorId::not_finite, "local step ", found.steps, ": the loss is ",
          found.last.mean_loss, " and the gradient's norm is ", found.last.gradient_norm, "; a lower --learning-rate (now ",
          learning_rate(options), ") may help");
}

/// The same by DP-SGD, with the steps that the accounts have of a round and no more.
inline void train_privately(Workplace& work, const FederatedTask& task, const FederateOptions& options,
                            const federated::RoundMechanism& allowed, const std::vector<Index>& share, Index client, std::uint64_t round,
                            federated::LeadingMask<float>& mask) {
  const PrivateOptions& p = options.privacy;
  const std::unique_ptr<optim::Optimizer<float>> optimizer = model_optimizer(options, work.values.layout(), learning_rate(options));
  const federated::PrivateLocalTrainingResult found = federated::train_privately(
      work.values.flat(), *optimizer, allowed,
      {.batch = options.batch,
       .learning_rate = learning_rate_of(options, round),
       .clip = p.clip,
       .delta = p.delta,
       .kind = p.kind,
       .origin = p.origin(trains_fed_sb(options)),
       .bases_noise = takes_noised_bases(options) ? bases_noise : 0,
       .seed = p.seed(derive_seed(round, static_cast<std::uint64_t>(client)))},
      mask, [&](std::span<const Index> drawn, Index part, const privacy::ClippedSum<float>& sum) {
        work.classifier.pass_clipped(task.train, texts_of(share, drawn), part, sum);
      });
  require(found.last.status == train::StepStatus::updated, ErrorId::not_finite, "local step ", found.steps,
          ": the noised gradient's norm is ", found.last.gradient_norm);
}

/// The clients of this process. Everything must outlive them. `accounts` are those of a private session with --unit example, `mixed` that of one
/// with experts; null without.
class TrainingClients {
 public:
  TrainingClients(const FederatedTask& task, const FederateOptions& options, SharedModel& shared,
                  const federated::Shares& shares, int threads, const PrivacyAccounts* accounts = nullptr, const FederatedMixture* mixed = nullptr)
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
  const PrivacyAccounts* accounts_;
  const FederatedMixture* mixed_;  // null without experts
  std::vector<std::unique_ptr<Workplace>> workplaces_;
  federated::Clients<float> clients_;
};

}  // namespace lorasb::examples
