// Stochastic gradient descent with momentum.
#pragma once

#include <algorithm>

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
    require(std::isfinite(weight_decay) && weight_decay >= 0, ErrorId::value, "SgdOptions: weight_decay is ", weight_decay,
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
class Sgd final : public Optimizer<S> {
 public:
  explicit Sgd(Index size, SgdOptions options = {}) : Optimizer<S>(size, state_names(options)), options_(options) {}

 private:
  static std::vector<std::string> state_names(const SgdOptions& options) {
    options.validate();
    if (options.momentum == 0) return {};
    return {"momentum"};
  }

  void update(std::span<S> values, std::span<const S> gradients, double learning_rate) override {
    const S rate = static_cast<S>(learning_rate), decay = static_cast<S>(options_.weight_decay);
    const S momentum = static_cast<S>(options_.momentum), fresh = static_cast<S>(1 - options_.dampening);
    const Eigen::Map<const Vector<S>> all_g = as_vector(gradients);
    Eigen::Map<Vector<S>> all_w = as_vector(values), all_v = as_vector(this->state().flat());  // no v when momentum is 0
    detail::Block<S> w = detail::Block<S>::Zero(), d = w, v = w;  // beyond the last number they stay unseen
    for (Index begin = 0; begin < this->size(); begin += w.size()) {
      const Index count = std::min(w.size(), this->size() - begin);
      w.head(count) = all_w.segment(begin, count);
      d.head(count) = all_g.segment(begin, count);
      d += decay * w;
      if (options_.momentum > 0) {
        v.head(count) = all_v.segment(begin, count);
        if (this->steps() == 1)
          v = d;
        else
          v = momentum * v + fresh * d;
        all_v.segment(begin, count) = v.head(count);
        if (options_.nesterov)
          d += momentum * v;
        else
          d = v;
      }
      w -= rate * d;
      all_w.segment(begin, count) = w.head(count);
    }
  }

  SgdOptions options_;
};

}  // namespace lorasb::optim
