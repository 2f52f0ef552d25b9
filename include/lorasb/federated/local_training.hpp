// The steps that a client takes in a round.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lorasb/federated/client.hpp"
#include "lorasb/federated/proximal.hpp"
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

}  // namespace lorasb::federated
