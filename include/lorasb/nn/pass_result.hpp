// What a pass over some examples of a batch found.
#pragma once

#include "lorasb/core/types.hpp"

namespace lorasb::nn {

/// Sums over the examples of a pass.
struct PassResult {
  double loss = 0;
  Index correct = 0;
};

}  // namespace lorasb::nn
