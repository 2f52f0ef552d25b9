// How the programs train heads, models and scouts over a base model.
#pragma once

#include "examples/common/base_model.hpp"
#include "lorasb/classify/look_ahead.hpp"
#include "lorasb/classify/start_adapters.hpp"
#include "lorasb/train/train_head.hpp"

namespace lorasb::examples {

inline train::HeadOptions head_options(const BaseModel& base, const CommonOptions& options, Index epochs, double weight_decay) {
  return {.epochs = epochs,
          .learning_rate = options.head_learning_rate,
          .weight_decay = weight_decay,
          .seed = options.seed,
          .scale = base.head_scale,
          .activation = base.head_activation};
}

/// With adamw the head has a rate of its own; SGD's rates are of another size.
inline std::unique_ptr<optim::Optimizer<float>> model_optimizer(const CommonOptions& options, const ParameterLayout& layout, double rate) {
  std::unique_ptr<optim::Optimizer<float>> optimizer = make_optimizer(options.optimizer, layout.size());
  if (options.optimizer == OptimizerKind::adamw) train::set_head_rate(*optimizer, layout, options.head_learning_rate / rate);
  return optimizer;
}

/// What all look-aheads have of the options; adapters, steps and parts differ.
inline LookAheadOptions look_ahead_options(const CommonOptions& options) {
  return {.learning_rate = scout_learning_rate(options),
          .rate_name = "--scout-learning-rate",
          .head_learning_rate = options.head_learning_rate,
          .max_norm = options.max_norm,
          .threads = options.threads};
}

}  // namespace lorasb::examples
