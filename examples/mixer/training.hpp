// A stage of training: steps of AdamW over some texts, with the auxiliary loss of the layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/common/progress.hpp"
#include "examples/mixer/task.hpp"
#include "lorasb/mixer/two_phase.hpp"
#include "lorasb/optim/schedule.hpp"
#include "lorasb/train/sampler.hpp"

namespace lorasb::examples {

struct StageOptions {
  std::string name;
  std::vector<Index> texts;  // places in task.train
  Index epochs = 1;
  double learning_rate = 0;
  double head_learning_rate = 0;  // 0: the head stays
  bool head_by_domain = true;     // classes of the text's domain alone
};

/// A classifier over the layers, with the heads of the domains apart or as one.
inline Classifier mix_classifier(const MixTask& task, const Layers<float>& layers, const Parameters<float>& values,
                                 bool by_domain, Index parts) {
  Classifier classifier = make_classifier(task.base, task.base.weights, layers, values, parts);
  if (by_domain) classifier.set_task_classes(task.classes);
  return classifier;
}

/// Trains `values`, which hold the head. `loss` is what the layers look at: its multiplier follows the batch. Throws
/// ErrorId::not_finite when a loss is.
inline void train_stage(const MixTask& task, const Layers<float>& layers, Parameters<float>& values,
                        mixer::BalanceLossOptions& loss, const MixOptions& options, const StageOptions& stage) {
  Classifier classifier = mix_classifier(task, layers, values, stage.head_by_domain, options.parts);
  optim::AdamW<float> optimizer(values.layout().size(), {.weight_decay = 0.01});
  train::set_head_rate(optimizer, values.layout(), stage.head_learning_rate / stage.learning_rate);
  train::ShuffledBatches batches(std::ssize(stage.texts), options.batch, options.seed);
  const Index steps = stage.epochs * batches.batches_per_epoch();
  const optim::Schedule rates(
      {.decay = optim::Decay::linear, .learning_rate = stage.learning_rate, .warmup_steps = steps / 16, .total_steps = steps});
  train::Step<float> step(values.layout().size(), options.parts, options.threads);
  StepProgress progress(stage.name, options.batch, 0, steps);
  std::vector<Index> texts;
  const train::Step<float>::TwoPhasePass pass = mixer::two_phase_pass(classifier, task.train, texts);
  for (Index t = 1; t <= steps; ++t) {
    texts.clear();
    for (const Index i : batches.next()) texts.push_back(stage.texts[std::size_t(i)]);
    loss.multiplier = double(texts.size());
    step.accumulate(std::ssize(texts), pass);
    const train::StepResult found = step.apply(values.flat(), optimizer, rates.rate(t), {.max_norm = options.max_norm});
    require(found.status == train::StepStatus::updated, ErrorId::not_finite, stage.name, ", step ", t, ": the loss is ",
            found.mean_loss, "; a lower learning rate may help");
    progress.update(t, found.mean_loss);
  }
  std::fprintf(stderr, "%s: %td steps, loss %.3f\n", stage.name.c_str(), steps, progress.loss());
}

}  // namespace lorasb::examples
