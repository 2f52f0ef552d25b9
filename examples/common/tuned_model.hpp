// How the programs train a head over a base model.
#pragma once

#include "examples/common/base_model.hpp"
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

}  // namespace lorasb::examples
