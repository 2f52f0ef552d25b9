// One training step over a batch that several threads share, with the same bits for any number of them.
#pragma once

#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/core/parallel.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/optim/clip.hpp"
#include "lorasb/optim/optimizer.hpp"
#include "lorasb/nn/pass_result.hpp"

namespace lorasb::train {

using nn::PassResult;

enum class StepStatus {
  updated,
  not_finite,  // loss or gradient is NaN or infinite; the values and the optimizer are as before
};

struct StepResult {
  double mean_loss = 0;
  Index correct = 0;
  double gradient_norm = 0;  // of the mean gradient, before clipping
  StepStatus status = StepStatus::updated;
};

struct ApplyOptions {
  double max_norm = 0;  // the mean gradient is clipped to it; 0: not at all
  double divisor = 0;   // of the summed gradient; 0: the examples that were accumulated. Private steps divide by the *expected*
                        // size of a batch, whatever its size came out to be
  bool ignore_loss = false;  // move whatever the loss is: in a private step it must decide nothing

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(max_norm) && max_norm >= 0, ErrorId::value, "ApplyOptions: max_norm is ", max_norm,
            ", expected a finite number of at least 0");
    require(is_finite(divisor) && divisor >= 0, ErrorId::value, "ApplyOptions: divisor is ", divisor,
            ", expected a finite number of at least 0");
  }
};

/// A step is made of two halves. accumulate() adds the gradient of a batch to a sum, as often as the caller likes: for a batch
/// that does not fit in memory, or one that is empty. apply() divides the sum, clips it, moves the values and starts a new sum.
/// Between both, gradient_sum() may be changed: noise is added there.
///
///     Step<float> step(values.layout().size(), 4, threads);
///     step.accumulate(batch.size(), pass);
///     StepResult found = step.apply(values.flat(), optimizer, rate, {.max_norm = 1});
///
/// A batch is split into a fixed number of parts of whole examples, whatever the number of threads; each part has a gradient of
/// its own, and these are added in order. More parts serve more threads; fewer make larger products.
template <Real S>
class LORASB_OWNS_MEMORY Step {
 public:
  /// Runs forward and backward over examples first, ..., first + count - 1 of the batch, adds the gradient of their *summed*
  /// loss, and returns the sums. Called from several threads at once, with a different part on each.
  using Pass = std::function<PassResult(Index part, Index first, Index count, std::span<S> gradient)>;

  /// A pass in two phases, for layers with an auxiliary loss over the whole batch (LinearLayer::auxiliary_loss).
  struct TwoPhasePass {
    Index statistics_size = 0;
    /// Forward only: returns the sums, and adds the statistics of the part.
    std::function<PassResult(Index part, Index first, Index count, std::span<double> statistics)> forward = {};
    /// The auxiliary loss of the batch from the statistics of all parts together; added to the summed loss.
    std::function<double(std::span<const double> statistics)> auxiliary_loss = {};
    /// Backward of the same part, with the statistics of the whole batch.
    std::function<void(Index part, Index first, Index count, std::span<const double> statistics, std::span<S> gradient)>
        backward = {};
  };

  /// `size` trainable values. Throws ErrorId::value for parts or threads below 1.
  Step(Index size, Index parts, int threads) : threads_(threads) {
    require(size >= 0, ErrorId::value, "Step: size is ", size, ", expected at least 0");
    require(parts >= 1 && threads >= 1, ErrorId::value, "Step: parts is ", parts, " and threads is ", threads,
            ", expected at least 1");
    sum_ = Vector<S>::Zero(size);
    gradients_.assign(static_cast<std::size_t>(parts), Vector<S>::Zero(size));
  }

  /// Adds a batch of `examples` examples to the sum; none is a batch too. When a pass throws, nothing has been added.
  void accumulate(Index examples, const Pass& pass) {
    run_parts(examples, [&](Index part, Index first, Index count, std::span<S> gradient) {
      return pass(part, first, count, gradient);
    });
  }
  /// The same in two phases: the forward passes of all parts, then the backward passes, which know the statistics of the batch.
  void accumulate(Index examples, const TwoPhasePass& pass) {
    std::vector<std::vector<double>> of_part(gradients_.size(),
                                             std::vector<double>(static_cast<std::size_t>(pass.statistics_size)));
    std::vector<PassResult> found(gradients_.size());
    for_parts(examples, [&](Index part, Index first, Index count) {
      found[at(part)] = pass.forward(part, first, count, of_part[at(part)]);
    });
    std::vector<double> statistics(static_cast<std::size_t>(pass.statistics_size));
    for (const std::vector<double>& one : of_part)
      for (std::size_t i = 0; i < one.size(); ++i) statistics[i] += one[i];
    run_parts(examples, [&](Index part, Index first, Index count, std::span<S> gradient) {
      pass.backward(part, first, count, statistics, gradient);
      return found[at(part)];
    });
    if (examples > 0 && pass.auxiliary_loss) loss_ += pass.auxiliary_loss(statistics);
  }

  /// Σ of the gradients so far, one number for each value; it may be changed until apply().
  std::span<S> gradient_sum() { return flat(sum_); }
  /// How many examples are in it.
  Index examples() const { return examples_; }

  /// Moves `values` by the optimizer along the sum, divided and clipped, and starts a new sum. Without examples the divisor must
  /// be given, or ErrorId::value is thrown. When the loss or the gradient is not finite nothing moves, and the status says so.
  StepResult apply(std::span<S> values, optim::Optimizer<S>& optimizer, double learning_rate, const ApplyOptions& options = {}) {
    options.validate();
    require(examples_ >= 1 || options.divisor > 0, ErrorId::value,
            "Step::apply: no examples were accumulated, and there is no divisor");
    const double divisor = options.divisor > 0 ? options.divisor : double(examples_);
    StepResult result{.mean_loss = examples_ > 0 ? loss_ / double(examples_) : 0, .correct = correct_};
    sum_ /= S(divisor);
    const std::span<S> gradient = flat(sum_);
    result.gradient_norm = optim::clip_global_norm<S>(
        gradient, options.max_norm > 0 ? options.max_norm : std::numeric_limits<double>::max());
    if ((options.ignore_loss || is_finite(result.mean_loss)) && is_finite(result.gradient_norm))
      optimizer.step(values, gradient, learning_rate);
    else
      result.status = StepStatus::not_finite;
    discard();
    return result;
  }
  /// Starts a new sum.
  void discard() {
    sum_.setZero();
    loss_ = 0;
    correct_ = examples_ = 0;
  }

  /// Both halves for one batch.
  StepResult run(Index examples, const Pass& pass, std::span<S> values, optim::Optimizer<S>& optimizer, double learning_rate,
                 const ApplyOptions& options = {}) {
    require(examples >= 1, ErrorId::value, "Step::run: the batch has ", examples, " examples, expected at least 1");
    discard();
    accumulate(examples, pass);
    return apply(values, optimizer, learning_rate, options);
  }

  Index parts() const { return static_cast<Index>(gradients_.size()); }

 private:
  static std::size_t at(Index part) { return static_cast<std::size_t>(part); }

  /// work(part, first, count) for each part that has examples.
  template <class Work>
  void for_parts(Index examples, const Work& work) {
    require(examples >= 0, ErrorId::value, "Step::accumulate: the batch has ", examples, " examples, expected at least 0");
    parallel_for(parts(), threads_, [&](Index part) {
      const Index first = part * examples / parts();
      const Index count = (part + 1) * examples / parts() - first;
      if (count > 0) work(part, first, count);
    });
  }
  template <class Work>
  void run_parts(Index examples, const Work& work) {
    std::vector<PassResult> found(gradients_.size());
    for (Vector<S>& gradient : gradients_) gradient.setZero();
    for_parts(examples, [&](Index part, Index first, Index count) {
      found[at(part)] = work(part, first, count, flat(gradients_[at(part)]));
    });
    for (std::size_t part = 0; part < found.size(); ++part) {
      loss_ += found[part].loss;
      correct_ += found[part].correct;
      sum_ += gradients_[part];
    }
    examples_ += examples;
  }

  int threads_;
  Vector<S> sum_;
  std::vector<Vector<S>> gradients_;  // by part
  double loss_ = 0;
  Index correct_ = 0, examples_ = 0;
};

}  // namespace lorasb::train
