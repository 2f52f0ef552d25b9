// Steps along the signs of the gradient, without any state.
#pragma once

#include <algorithm>

#include "lorasb/optim/optimizer.hpp"

namespace lorasb::optim {

/// With values w, gradients g and rate η:
///
///     w = w - η sign(g)
///
/// AdamW's first step without ε and decay, taken again and again (Bernstein et al., signSGD, arXiv 1802.04434, algorithm 1). No
/// state: for weights whose two moments do not fit in memory.
template <Real S>
class LORASB_OWNS_MEMORY SignSgd final : public Optimizer<S> {
 public:
  explicit SignSgd(Index size) : Optimizer<S>(size, {}) {}

 private:
  void update(std::span<S> values, std::span<const S> gradients, Index, double learning_rate) override {
    const S rate = static_cast<S>(learning_rate);
    std::transform(values.begin(), values.end(), gradients.begin(), values.begin(),
                   [rate](S w, S g) { return w - rate * (S(g > S(0)) - S(g < S(0))); });
  }
};

}  // namespace lorasb::optim
