// One training step over a batch that several threads share, with the same bits for any number of them.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "lorasb/core/parallel.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/optim/clip.hpp"
#include "lorasb/optim/optimizer.hpp"

namespace lorasb::train {

/// What a pass over some examples found; sums over them.
struct PassResult {
  double loss = 0;
  Index correct = 0;
};

enum class StepStatus {
  updated,
  not_finite,  // loss or gradient is NaN or infinite; the numbers and the optimizer are as before
};

struct StepResult {
  double mean_loss = 0;
  Index correct = 0;
  double gradient_norm = 0;  // of the mean gradient, before clipping
  StepStatus status = StepStatus::updated;
};

/// A batch is split into a fixed number of parts of whole examples, whatever the number of threads; each part has a gradient of
/// its own, and these are added in order. More parts serve more threads; fewer make larger products.
template <Real S>
class Step {
 public:
  /// Runs forward and backward over examples first, ..., first + count - 1 of the batch, adds the gradient of their *summed*
  /// loss, and returns the sums. Called from several threads at once, with a different part on each.
  using Pass = std::function<PassResult(Index part, Index first, Index count, std::span<S> gradient)>;

  /// `size` trainable numbers. Throws ErrorId::value for parts or threads below 1.
  Step(Index size, Index parts, int threads) : threads_(threads) {
    require(size >= 0, ErrorId::value, "Step: size is ", size, ", expected at least 0");
    require(parts >= 1 && threads >= 1, ErrorId::value, "Step: parts is ", parts, " and threads is ", threads,
            ", expected at least 1");
    gradients_.assign(static_cast<std::size_t>(parts), Vector<S>::Zero(size));
  }

  /// The gradient of the mean loss over `examples` examples, clipped to `max_norm` (0: not at all), moves `values`.
  StepResult run(Index examples, const Pass& pass, std::span<S> values, optim::Optimizer<S>& optimizer, double learning_rate,
                 double max_norm) {
    require(max_norm >= 0, ErrorId::value, "Step::run: max_norm is ", max_norm, ", expected at least 0");
    StepResult result = accumulate(examples, pass);
    gradients_.front() /= S(examples);
    const std::span<S> gradient = flat(gradients_.front());
    result.gradient_norm =
        optim::clip_global_norm<S>(gradient, max_norm > 0 ? max_norm : std::numeric_limits<double>::infinity());
    if (!is_finite(result.mean_loss) || !is_finite(result.gradient_norm)) {
      result.status = StepStatus::not_finite;
      return result;
    }
    optimizer.step(values, gradient, learning_rate);
    return result;
  }

  Index parts() const { return static_cast<Index>(gradients_.size()); }

 private:
  /// The summed gradient, in gradients_.front().
  StepResult accumulate(Index examples, const Pass& pass) {
    require(examples >= 1, ErrorId::value, "Step::run: the batch has ", examples, " examples, expected at least 1");
    std::vector<PassResult> found(gradients_.size());
    parallel_for(parts(), threads_, [&](Index part) {
      const Index first = part * examples / parts();
      const Index count = (part + 1) * examples / parts() - first;
      Vector<S>& gradient = gradients_[static_cast<std::size_t>(part)];
      gradient.setZero();
      if (count > 0) found[static_cast<std::size_t>(part)] = pass(part, first, count, flat(gradient));
    });
    StepResult result;
    for (std::size_t part = 0; part < found.size(); ++part) {
      result.mean_loss += found[part].loss;
      result.correct += found[part].correct;
      if (part > 0) gradients_.front() += gradients_[part];
    }
    result.mean_loss /= double(examples);
    return result;
  }

  int threads_;
  std::vector<Vector<S>> gradients_;  // by part
};

}  // namespace lorasb::train
