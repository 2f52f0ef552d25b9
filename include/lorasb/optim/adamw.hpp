// AdamW: Adam with decoupled weight decay.
#pragma once

#include <algorithm>

#include "lorasb/core/config.hpp"
#include "lorasb/optim/optimizer.hpp"

namespace lorasb::optim {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;  // torch.optim.AdamW's; 0 for plain Adam

  /// Throws ErrorId::value.
  void validate() const {
    require(beta1 >= 0 && beta1 < 1, ErrorId::value, "AdamWOptions: beta1 is ", beta1, ", expected 0 <= beta1 < 1");
    require(beta2 >= 0 && beta2 < 1, ErrorId::value, "AdamWOptions: beta2 is ", beta2, ", expected 0 <= beta2 < 1");
    require(is_finite(epsilon) && epsilon > 0, ErrorId::value, "AdamWOptions: epsilon is ", epsilon,
            ", expected a finite number above 0");
    require(is_finite(weight_decay) && weight_decay >= 0, ErrorId::value, "AdamWOptions: weight_decay is ", weight_decay,
            ", expected a finite number of at least 0");
  }
};

/// Loshchilov and Hutter, Decoupled Weight Decay Regularization, algorithm 2. With values w, gradients g, rate η, decay λ and
/// step t = 1, 2, ..., the moments and values in S, the corrections in double:
///
///     w = (1 - η λ) w
///     m = β1 m + (1 - β1) g
///     v = β2 v + (1 - β2) g²
///     w = w - η / (1 - β1ᵗ) · m / (√v / √(1 - β2ᵗ) + ε)
///
/// That is torch.optim.AdamW, in its order of operations. Without decay the first step is -η g / (|g| + ε), nearly -η sign(g).
/// State: "first_moment" (m) and "second_moment" (v).
template <Real S>
class LORASB_OWNS_MEMORY AdamW final : public Optimizer<S> {
 public:
  explicit AdamW(Index size, AdamWOptions options = {})
      : Optimizer<S>(size, {"first_moment", "second_moment"}), options_(options) {
    options_.validate();
  }

 private:
  void update(std::span<S> values, std::span<const S> gradients, Index first, double learning_rate) override {
    const auto [beta1, beta2, epsilon, weight_decay] = options_;
    const double t = static_cast<double>(this->steps());
    const double first_correction = 1 - std::pow(beta1, t);
    const double second_correction = 1 - std::pow(beta2, t);
    const S keep = static_cast<S>(1 - learning_rate * weight_decay);
    const S rate = static_cast<S>(learning_rate / first_correction);
    const S root = static_cast<S>(std::sqrt(second_correction));
    const S b1 = static_cast<S>(beta1), c1 = static_cast<S>(1 - beta1);
    const S b2 = static_cast<S>(beta2), c2 = static_cast<S>(1 - beta2);

    S* const all_m = this->state().flat("first_moment").data() + first;
    S* const all_v = this->state().flat("second_moment").data() + first;
    detail::Block<S> w, g, m, v, r;
    for (Index begin = 0; begin < std::ssize(values); begin += w.size) {
      const Index count = std::min(w.size, std::ssize(values) - begin);
      w.load(values.data() + begin, count);
      g.load(gradients.data() + begin, count);
      m.load(all_m + begin, count);
      v.load(all_v + begin, count);
      for (Index i = 0; i < w.size; ++i) {
        m[i] = b1 * m[i] + c1 * g[i];
        v[i] = b2 * v[i] + c2 * (g[i] * g[i]);
      }
      r.assign_sqrt(v);
      for (Index i = 0; i < w.size; ++i) w[i] = keep * w[i] - rate * m[i] / (r[i] / root + static_cast<S>(epsilon));
      w.store(values.data() + begin, count);
      m.store(all_m + begin, count);
      v.store(all_v + begin, count);
    }
  }

  AdamWOptions options_;
};

}  // namespace lorasb::optim
