// The optimizers that a command line can name.
#pragma once

#include <memory>

#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"

namespace lorasb::examples {

enum class OptimizerKind { adamw, sgd };

inline std::unique_ptr<optim::Optimizer<float>> make_optimizer(OptimizerKind kind, Index size) {
  if (kind == OptimizerKind::sgd) return std::make_unique<optim::Sgd<float>>(size, optim::SgdOptions{.momentum = 0.9});
  return std::make_unique<optim::AdamW<float>>(size, optim::AdamWOptions{.weight_decay = 0.01});
}

}  // namespace lorasb::examples
