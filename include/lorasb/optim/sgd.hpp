// Stochastic gradient descent with momentum.
#pragma once

#include <algorithm>

#include "lorasb/core/config.hpp"
#include "lorasb/optim/optimizer.hpp"

namespace lorasb::optim {

struct SgdOptions {
  double momentum = 0;
  double dampening = 0;     // 1 - the share of the gradient that enters the momentum, from the second step on
  double weight_decay = 0;  // L2: added to the gradient, so momentum sees it
  bool nesterov = false;    // needs momentum, and no dampening

  /// Throws ErrorId::value.
  void validate() const {
    require(momentum >= 0 && momentum < 1, ErrorId::value, "SgdOptions: momentum is ", momentum,
            ", expected 0 <= momentum < 1");
    require(dampening >= 0 && dampening <= 1, ErrorId::value, "SgdOptions: dampening is ", dampening,
            ", expected 0 <= dampening <= 1");
    require(is_finite(weight_decay) && weight_decay >= 0, ErrorId::value, "SgdOptions: weight_decay is ", weight_decay,
            ", expected a finite number of at least 0");
    require(!nesterov || (momentum > 0 && dampening == 0), ErrorId::value, "SgdOptions: nesterov with momentum ", momentum,
            " and dampening ", dampening, ", expected a positive momentum and no dampening");
  }
};

/// With values w, gradients g, rate η, momentum μ, dampening τ, decay λ, all arithmetic in S:
///
///     d = g + λ w
///     v = d                    at step 1
///     v = μ v + (1 - τ) d      later
///     w = w - η d              without momentum
///     w = w - η v              with momentum
///     w = w - η (d + μ v)      with Nesterov's
///
/// That is torch.optim.SGD. State: "momentum" (v); none when μ = 0.
template <Real S>
class LORASB_OWNS_MEMORY Sgd final : public Optimizer<S> {
 public:
  explicit Sgd(Index size, SgdOptions options = {}) : Optimizer<S>(size, state_names(options)), options_(options) {}

 private:
  static std::vector<std::string> state_names(const SgdOptions& options) {
    options.validate();
    if (options.momentum == 0) return {};
    return {"momentum"};
  }

  void update(std::span<S> values, std::span<const S> gradients, Index first, double learning_rate) override {
    const S rate = static_cast<S>(learning_rate), decay = static_cast<S>(options_.weight_decay);
    const S momentum = static_cast<S>(options_.momentum), fresh = static_cast<S>(1 - options_.dampening);
    const bool with_momentum = options_.momentum > 0, start = this->steps() == 1;
    S* const all_v = with_momentum ? this->state().flat().data() + first : nullptr;
    detail::Block<S> w, d, v;
    for (Index begin = 0; begin < std::ssize(values); begin += w.size) {
      const Index count = std::min(w.size, std::ssize(values) - begin);
      w.load(values.data() + begin, count);
      d.load(gradients.data() + begin, count);
      if (with_momentum) v.load(all_v + begin, count);
      for (Index i = 0; i < w.size; ++i) {
        d[i] += decay * w[i];
        if (with_momentum) {
          v[i] = start ? d[i] : momentum * v[i] + fresh * d[i];
          d[i] = options_.nesterov ? d[i] + momentum * v[i] : v[i];
        }
        w[i] -= rate * d[i];
      }
      w.store(values.data() + begin, count);
      if (with_momentum) v.store(all_v + begin, count);
    }
  }

  SgdOptions options_;
};

}  // namespace lorasb::optim
