// Whether every trained tensor learns: one without any gradient is bound to nothing, or cut off from the loss.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb::train {

/// Sees the summed gradients of the first two steps of a run. LoRA's A has none in its first step, because B is 0; in the second every
/// tensor must have had one. Routers are excepted, and what the caller names: an expert that no token was sent to has no gradient. Costs a
/// look at each number until one is not zero, in two steps.
///
///     GradientWatch watch(values.layout());
///     step.accumulate(batch.size(), pass);
///     watch.see(step.gradient_sum());
///     step.apply(values.flat(), optimizer, rate);
class GradientWatch {
 public:
  static constexpr int steps = 2;

  using Excepted = std::function<bool(const ParameterLayout::Tensor&)>;

  explicit GradientWatch(const ParameterLayout& layout, const Excepted& excepted = {}) {
    for (const ParameterLayout::Tensor& t : layout.tensors())
      if (t.rows * t.cols > 0 && t.role != Role::router && !(excepted && excepted(t)))
        silent_.push_back({t.name, static_cast<std::size_t>(t.offset), static_cast<std::size_t>(t.rows * t.cols)});
    all_ = silent_.size();
  }

  /// Throws ErrorId::zero_update at the second gradient, with the names of the tensors that had none. When none at all had one (all texts
  /// are known by heart, or the batches were empty) nothing is thrown.
  template <Real S>
  void see(std::span<const S> gradient) {
    if (seen_ == steps) return;
    std::erase_if(silent_, [&](const Silent& t) {
      return std::ranges::any_of(gradient.subspan(t.offset, t.size), [](S value) { return value != 0; });
    });
    if (++seen_ < steps || silent_.empty() || silent_.size() == all_) return;
    std::string names;
    for (std::size_t i = 0; i < std::min<std::size_t>(silent_.size(), 5); ++i) names += concat(i == 0 ? "" : ", ", in_quotes(silent_[i].name));
    throw Error(ErrorId::zero_update,
                concat("GradientWatch: ", silent_.size(), " of ", all_, " trained tensors had a gradient of zero in both first steps: ", names,
                       silent_.size() > 5 ? ", ..." : "", "; the layer is not the one that the model uses, or nothing depends on it"));
  }

 private:
  struct Silent {
    std::string name;
    std::size_t offset, size;
  };
  std::vector<Silent> silent_;  // without a gradient so far
  std::size_t all_ = 0;
  int seen_ = 0;
};

}  // namespace lorasb::train
