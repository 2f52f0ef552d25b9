// The clients of one process: each trains on its own texts from what the round's message says.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/federated/shared_model.hpp"
#include "lorasb/federated/transport.hpp"
#include "lorasb/train/sampler.hpp"

namespace lorasb::examples {

inline std::string client_name(Index client) { return "client-" + std::to_string(client); }

/// The model of one thread, lent to one client after another. It stays where it is: the layers look into the values.
struct Workplace {
  Parameters<float> values;
  Layers<float> layers;
  TextClassifier classifier;
  train::Step<float> step;

  Workplace(const FederatedTask& task, const SharedModel& shared, Index parts = 1)
      : values(shared.session().layout),
        layers(shared.bind(values)),
        classifier(task.base, task.base.weights, layers, values, parts),
        step(values.layout().size(), 1, 1) {}
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
};

/// Trains the numbers of `work` for one round on the texts of `share`. A client of a lower rank moves the leading block of each
/// core alone. The optimizer starts anew; the rate falls from round to round, to 0 after the last. Throws ErrorId::not_finite.
inline void train_locally(Workplace& work, const FederatedTask& task, const FederateOptions& options,
                          const std::vector<Index>& share, Index rank, Index client, std::uint64_t round) {
  const ParameterLayout& layout = work.values.layout();
  const double falling = 1 - double(round - 1) / double(options.rounds);
  const std::unique_ptr<optim::Optimizer<float>> optimizer = make_optimizer(options.optimizer, layout.size());
  if (options.optimizer == OptimizerKind::adamw)
    optimizer->set_rate_factor(work.classifier.adapter_size(), work.classifier.head_size(),
                               options.head_learning_rate / learning_rate(options));
  train::ShuffledBatches batches(std::ssize(share), options.batch,
                                 derive_seed(derive_seed(options.seed, round), static_cast<std::uint64_t>(client)));
  const Index steps = options.local_steps > 0 ? options.local_steps : options.local_epochs * batches.batches_per_epoch();
  const std::vector<float> start(work.values.flat().begin(), work.values.flat().end());
  std::vector<Index> texts;
  std::vector<float> leading(static_cast<std::size_t>(federated::leading_layout(layout, rank).size()));
  const auto keep_leading = [&](std::span<float> numbers, std::span<const float> others) {  // the rest as in `others`
    federated::load_leading<float>(layout, rank, numbers, leading);
    std::ranges::copy(others, numbers.begin());
    federated::store_leading<float>(layout, rank, leading, numbers);
  };
  const std::vector<float> zeros(start.size());
  for (Index t = 0; t < steps; ++t) {
    texts.clear();
    for (const Index i : batches.next()) texts.push_back(share[static_cast<std::size_t>(i)]);
    const train::StepResult found = work.step.run(
        std::ssize(texts),
        [&](Index part, Index, Index, std::span<float> gradient) {
          const train::PassResult result = work.classifier.pass(task.train, texts, part, gradient);
          if (rank > 0) keep_leading(gradient, zeros);
          return result;
        },
        work.values.flat(), *optimizer, falling * learning_rate(options), options.max_norm);
    if (rank > 0) keep_leading(work.values.flat(), start);  // weight decay moves what has no gradient
    require(found.status == train::StepStatus::updated, ErrorId::not_finite, "local step ", t + 1, ": the loss is ",
            found.mean_loss, " and the gradient's norm is ", found.gradient_norm, "; a lower --learning-rate (now ",
            learning_rate(options), ") may help");
  }
}

/// Where the clients of this process live.
class TrainingHost : public federated::ClientHost {
 public:
  /// Everything must outlive it.
  TrainingHost(const FederatedTask& task, const FederateOptions& options, SharedModel& shared, const Shares& shares,
               int threads)
      : task_(task), options_(options), shared_(shared), shares_(shares) {
    for (int t = 0; t < threads; ++t) workplaces_.push_back(std::make_unique<Workplace>(task, shared));
  }

  void begin(std::span<const std::byte> message) override { shared_.take(message); }

  Bytes answer(Index client, int slot) override {
    Workplace& work = *workplaces_[static_cast<std::size_t>(slot)];
    const std::vector<Index>& share = shares_[static_cast<std::size_t>(client)];
    const Index rank = options_.ranks.empty() ? 0 : options_.ranks[static_cast<std::size_t>(client) % options_.ranks.size()];
    shared_.start_client(client, work.values);
    if (!share.empty()) train_locally(work, task_, options_, share, rank, client, shared_.round());
    const ParameterLayout leading = federated::leading_layout(shared_.session().layout, rank);
    std::vector<float> numbers(static_cast<std::size_t>(leading.size()));
    federated::load_leading<float>(shared_.session().layout, rank, work.values.flat(), numbers);
    return federated::encode_update<float>(shared_.session(), {.round = shared_.round(),
                                                               .client = client_name(client),
                                                               .examples = share.size(),
                                                               .rank = rank,
                                                               .values = std::move(numbers)});
  }

 private:
  const FederatedTask& task_;
  const FederateOptions& options_;
  SharedModel& shared_;
  const Shares& shares_;
  std::vector<std::unique_ptr<Workplace>> workplaces_;
};

}  // namespace lorasb::examples
