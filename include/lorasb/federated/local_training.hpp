// The steps that a client takes in a round.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lorasb/federated/client.hpp"
#include "lorasb/federated/privacy_accounts.hpp"
#include "lorasb/federated/proximal.hpp"
#include "lorasb/train/private_training.hpp"
#include "lorasb/train/sampler.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::federated {

struct LocalTrainingOptions {
  Index batch = 16;
  Index epochs = 1;           // passes over the client's examples
  Index steps = 0;            // steps in place of passes; 0: passes
  double learning_rate = 0;   // required
  double max_norm = 0;        // the mean gradient of a step is clipped to it; 0: not at all
  double proximal = 0;        // μ of FedProx: weight of ‖w - w0‖² / 2, w0 the values that the round starts with; 0: none
  std::uint64_t seed = 0;     // of the order of the examples: another one for each round and client
};

struct LocalTrainingResult {
  Index steps = 0;              // that were tried
  train::StepResult last = {};  // of the last one; not_finite: the training ended with it
};

/// Trains `values` on `examples` examples. pass_of(batch) makes a Step's pass, Step<S>::Pass or TwoPhasePass, over the examples
/// that are named in `batch`, numbers below `examples`; it is called once a step. `mask` is what ClientWork::train was given: a
/// client of a lower rank stays in its block. The optimizer is the caller's; clients start with a new one in each round.
///
///     ClientWork<float>::train = [&](Index client, int slot, std::uint64_t round, std::span<float> values, LeadingMask<float>& mask) {
///       optim::AdamW<float> optimizer(values.size());
///       train_locally(steps[slot], values, optimizer, examples[client],
///                     {.learning_rate = 1e-3, .seed = derive_seed(round, client)}, mask, pass_of);
///       return examples[client];
///     }
///
/// Without examples nothing happens.
template <Real S, class PassOf>
LocalTrainingResult train_locally(train::Step<S>& step, std::span<S> values, optim::Optimizer<S>& optimizer, Index examples,
                                  const LocalTrainingOptions& options, LeadingMask<S>& mask, const PassOf& pass_of) {
  LocalTrainingResult result;
  if (examples == 0) return result;
  train::ShuffledBatches batches(examples, options.batch, options.seed);
  const Index steps = options.steps > 0 ? options.steps : options.epochs * batches.batches_per_epoch();
  const std::vector<S> start(options.proximal > 0 ? values.begin() : values.end(), values.end());
  while (result.steps < steps && result.last.status == train::StepStatus::updated) {
    const std::span<const Index> batch = batches.next();
    step.accumulate(std::ssize(batch), pass_of(batch));
    mask.mask(step.gradient_sum());
    if (options.proximal > 0)
      add_proximal_gradient<S>(options.proximal, step.examples(), values, start, step.gradient_sum());
    result.last = step.apply(values, optimizer, options.learning_rate, {.max_norm = options.max_norm});
    mask.restore(values);
    ++result.steps;
  }
  return result;
}

struct PrivateLocalTrainingOptions {
  Index batch = 16;          // expected examples of a step, those that the client's mechanism was made with (dp_sgd_round)
  double learning_rate = 0;  // required
  double clip = 1;           // C: the norm that the gradient of an example is clipped to
  double delta = 0;          // required: of the session's accounts
  train::NoiseKind kind = train::NoiseKind::continuous;
  train::Origin origin = train::Origin::unknown;  // required: of everything that is not trained
  double bases_noise = 0;                         // of bases that the client paid for, with Origin::noised; 0: none
  std::optional<std::uint64_t> seed = {};  // for trials, another one for each round and client; nothing: the operating system's generator
};

struct PrivateLocalTrainingResult {
  std::uint64_t steps = 0;             // that were tried
  train::PrivateStepResult last = {};  // of the last one; not_finite: the training ended with it
};

/// The same by DP-SGD: the steps that `allowed` has of a round (PrivacyAccounts::mechanism), with its noise, over Poisson batches of
/// the client's examples. pass(batch, part, sum) adds the gradients of the examples that are named in `batch` to a ClippedSum; a batch
/// may be empty, or come in pieces. What the round costs is charged to the session's accounts before the client is asked, not here.
///
///     optim::AdamW<float> optimizer(values.size());
///     train_privately(values, optimizer, accounts.mechanism(client),
///                     {.learning_rate = 1e-3, .delta = 1e-6, .origin = train::Origin::no_data}, mask,
///                     [&](std::span<const Index> batch, Index part, const privacy::ClippedSum<float>& sum) {
///                       model.pass_clipped(examples, batch, part, sum);
///                     });
///
/// It stays on the calling thread: the clients of a process train beside each other. Without examples nothing happens. Throws
/// ErrorId::value for a `batch` with another rate than the mechanism's, and what PrivateTraining throws.
template <Real S, class Pass>
PrivateLocalTrainingResult train_privately(std::span<S> values, optim::Optimizer<S>& optimizer, const RoundMechanism& allowed,
                                           const PrivateLocalTrainingOptions& options, LeadingMask<S>& mask, const Pass& pass) {
  PrivateLocalTrainingResult result;
  if (allowed.population == 0) return result;
  privacy::Ledger ledger({.population = allowed.population, .delta = options.delta});
  if (options.bases_noise > 0) ledger.charge_all(options.bases_noise, !options.seed);
  train::PrivateTraining<S> training(std::ssize(values), static_cast<Index>(allowed.population),
                                     {.steps = allowed.steps,
                                      .batch = options.batch,
                                      .clip = options.clip,
                                      .noise = allowed.noise,
                                      .kind = options.kind,
                                      .origin = options.origin,
                                      .seed = options.seed,
                                      .other_charges = ledger.steps(),
                                      .parts = 1},
                                     ledger);
  require(training.rate() == allowed.rate, ErrorId::value, "train_privately: batches of ", options.batch, " of ", allowed.population,
          " examples have a rate of ", training.rate(), ", expected ", allowed.rate, ", which the accounts are charged for");
  while (result.steps < allowed.steps && result.last.status == train::StepStatus::updated) {
    result.last = training.step(values, optimizer, options.learning_rate,
                                [&](std::span<const Index> batch, Index part, const privacy::ClippedSum<S>& sum) {
                                  pass(batch, part, sum);
                                  if (!sum.numbers().empty()) mask.mask(sum.numbers());
                                });
    mask.restore(values);
    ++result.steps;
  }
  return result;
}

}  // namespace lorasb::federated
