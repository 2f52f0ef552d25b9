// AdamW: Adam with decoupled weight decay.
#pragma once

#include <algorithm>

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
    require(std::isfinite(epsilon) && epsilon > 0, ErrorId::value, "AdamWOptions: epsilon is ", epsilon,
            ", expected a finite number above 0");
    require(std::isfinite(weight_decay) && weight_decay >= 0, ErrorId::value, "AdamWOptions: weight_decay is ", weight_decay,
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
class AdamW final : public Optimizer<S> {
 public:
  explicit AdamW(Index size, AdamWOptions options = {})
      : Optimizer<S>(size, {"first_moment", "second_moment"}), options_(options) {
    options_.validate();
  }

 private:
  void update(std::span<S> values, std::span<const S> gradients, double learning_rate) override {
    const auto [beta1, beta2, epsilon, weight_decay] = options_;
    const double t = static_cast<double>(this->steps());
    const double first_correction = 1 - std::pow(beta1, t);
    const double second_correction = 1 - std::pow(beta2, t);
    const S keep = static_cast<S>(1 - learning_rate * weight_decay);
    const S rate = static_cast<S>(learning_rate / first_correction);
    const S root = static_cast<S>(std::sqrt(second_correction));
    const S b1 = static_cast<S>(beta1), c1 = static_cast<S>(1 - beta1);
    const S b2 = static_cast<S>(beta2), c2 = static_cast<S>(1 - beta2);

    const Eigen::Map<const Vector<S>> all_g = as_vector(gradients);
    Eigen::Map<Vector<S>> all_w = as_vector(values);
    Eigen::Map<Vector<S>> all_m = as_vector(this->state().flat("first_moment"));
    Eigen::Map<Vector<S>> all_v = as_vector(this->state().flat("second_moment"));
    detail::Block<S> w = detail::Block<S>::Zero(), g = w, m = w, v = w;  // beyond the last number they stay unseen
    for (Index begin = 0; begin < this->size(); begin += w.size()) {
      const Index count = std::min(w.size(), this->size() - begin);
      w.head(count) = all_w.segment(begin, count);
      g.head(count) = all_g.segment(begin, count);
      m.head(count) = all_m.segment(begin, count);
      v.head(count) = all_v.segment(begin, count);
      m = b1 * m + c1 * g;
      v = b2 * v + c2 * g.square();
      w = keep * w - rate * m / (v.sqrt() / root + static_cast<S>(epsilon));
      all_w.segment(begin, count) = w.head(count);
      all_m.segment(begin, count) = m.head(count);
      all_v.segment(begin, count) = v.head(count);
    }
  }

  AdamWOptions options_;
};

}  // namespace lorasb::optim
