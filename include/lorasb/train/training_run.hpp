// The steps of a training from the first to the last: schedule, epochs, evaluations, patience, and the best values.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/optim/schedule.hpp"
#include "lorasb/train/gradient_watch.hpp"
#include "lorasb/train/sampler.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::train {

/// What a step found in its batch, before it moved.
struct StepRecord {
  Index step = 0;
  double loss = 0;      // mean of an example
  double accuracy = 0;  // share of right answers
  double learning_rate = 0;
};
struct EvaluationRecord {
  Index step = 0;    // after which it was
  double score = 0;  // the larger the better; NaN is the worst
};
struct TrainingRecord {
  std::vector<StepRecord> steps = {};
  std::vector<EvaluationRecord> evaluations = {};
  double seconds = 0;  // of the steps, without evaluations
};

struct TrainingRunOptions {
  Index steps = 0;         // required
  Index steps_before = 0;  // of another stage over the same sampler, as a look-ahead: numbers of steps go on after them
  optim::ScheduleOptions schedule = {};  // by the steps of this stage; total_steps 0: `steps`
  double max_norm = 0;       // the mean gradient is clipped to it; 0: not at all
  Index pass_examples = 0;   // most examples of one pass: a larger batch is accumulated over several; 0: no limit
  std::vector<Index> examples = {};  // what the sampler's numbers stand for; empty: the numbers themselves
  bool keep_best = false;    // finish() goes back to the values with the best score
  Index patience = 0;        // stop after so many evaluations without a better score; above 0 keep_best is true; 0: take all steps
  std::function<void()> after_step = {};  // when the values have moved: Scout::after_step
  Index parts = 4;  // of a pass, as Step has them: results depend on it
  int threads = 1;

  /// Throws ErrorId::value.
  void validate() const {
    require(steps >= 1 && steps_before >= 0, ErrorId::value, "TrainingRunOptions: steps is ", steps, " and steps_before ", steps_before,
            ", expected at least 1 and 0");
    require(pass_examples >= 0 && patience >= 0, ErrorId::value, "TrainingRunOptions: pass_examples is ", pass_examples,
            " and patience ", patience, ", expected at least 0");
  }
};

/// A training with one sampler, schedule and optimizer. The loop, what it prints and what it measures stay the caller's:
///
///     TrainingRun<float> run(values, optimizer, batches, {.steps = 300, .schedule = {.learning_rate = 1e-3}, .patience = 3});
///     while (!run.is_done()) {
///       run.step([&](std::span<const Index> examples, Index part, std::span<float> gradient) {
///         return model.pass(examples, part, gradient);   // adds the gradient of their summed loss, returns the sums
///       });
///       if (run.ends_epoch()) run.evaluate(score());
///     }
///     run.finish();
///
/// save_training() and restore_training() (train/training_checkpoint.hpp) carry it over to another process, which goes on to the
/// same bits.
template <Real S>
class LORASB_OWNS_MEMORY TrainingRun {
 public:
  /// `optimizer` is new. `before` is what the stage before has recorded. All references must outlive it. Throws ErrorId::value for
  /// options out of range, ErrorId::shape for other examples than the sampler's.
  TrainingRun(Parameters<S>& values LORASB_LIFETIMEBOUND, optim::Optimizer<S>& optimizer LORASB_LIFETIMEBOUND,
              ShuffledBatches& batches LORASB_LIFETIMEBOUND, TrainingRunOptions options, TrainingRecord before = {})
      : options_(checked(std::move(options))),
        values_(&values),
        optimizer_(&optimizer),
        batches_(&batches),
        schedule_(options_.schedule),
        step_(values.layout().size(), options_.parts, options_.threads),
        watch_(values.layout()),
        record_(std::move(before)) {
    require(options_.examples.empty() || std::ssize(options_.examples) == batches.examples(), ErrorId::shape, "TrainingRun: there are ",
            options_.examples.size(), " examples, expected those of the sampler, ", batches.examples());
  }
  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;

  /// Steps that were taken, with those before: the number of the last one.
  Index steps_taken() const { return options_.steps_before + taken_; }
  Index last_step() const { return options_.steps_before + options_.steps; }
  /// Of the next step.
  double learning_rate() const { return schedule_.rate(taken_ + 1); }
  /// Whether the last step ended an epoch of the sampler.
  bool ends_epoch() const { return steps_taken() % batches_->batches_per_epoch() == 0; }
  bool is_done() const { return taken_ >= options_.steps || is_out_of_patience(); }
  /// Whether `patience` evaluations have passed since the best one.
  bool is_out_of_patience() const {
    if (options_.patience == 0 || best_.empty()) return false;
    const auto is_later = [&](const EvaluationRecord& e) { return e.step > best_step_; };
    return std::ranges::count_if(record_.evaluations, is_later) >= options_.patience;
  }

  /// One step over the sampler's next batch. pass(examples, part, gradient) is called from several threads at once, with a
  /// different part on each. Returns what Step::apply does; with a status of not_finite nothing has moved or was recorded, and the
  /// training cannot go on. Throws ErrorId::value when the run is done, ErrorId::zero_update for a tensor that does not learn
  /// (GradientWatch), and what `pass` throws.
  template <class Pass>
  StepResult step(const Pass& pass) {
    require(!is_done(), ErrorId::value, "TrainingRun::step: step ", steps_taken(), " was the last");
    const auto began = std::chrono::steady_clock::now();
    const std::span<const Index> batch = named(batches_->next());
    const std::size_t most = options_.pass_examples > 0 ? static_cast<std::size_t>(options_.pass_examples) : batch.size();
    step_.discard();
    for (std::size_t done = 0; done < batch.size(); done += most) {
      const std::span<const Index> piece = batch.subspan(done, std::min(most, batch.size() - done));
      step_.accumulate(std::ssize(piece), [&](Index part, Index first, Index count, std::span<S> gradient) {
        return pass(piece.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), part, gradient);
      });
    }
    watch_.template see<S>(step_.gradient_sum());
    const double rate = learning_rate();
    const StepResult found = step_.apply(values_->flat(), *optimizer_, rate, {.max_norm = options_.max_norm});
    if (found.status != StepStatus::updated) return found;
    ++taken_;
    if (options_.after_step) options_.after_step();
    record_.steps.push_back({steps_taken(), found.mean_loss, double(found.correct) / double(batch.size()), rate});
    record_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    return found;
  }

  /// Records the score of the values as they are. With keep_best they are kept when it is above all others of this stage.
  void evaluate(double score) {
    record_.evaluations.push_back({steps_taken(), score});
    if (!options_.keep_best) return;
    const auto value = [](double x) { return std::isnan(x) ? -std::numeric_limits<double>::infinity() : x; };
    for (std::size_t i = 0; i + 1 < record_.evaluations.size(); ++i) {
      const EvaluationRecord& e = record_.evaluations[i];
      if (e.step > options_.steps_before && value(e.score) >= value(score)) return;
    }
    const std::span<const S> now = std::as_const(*values_).flat();
    best_.assign(now.begin(), now.end());
    best_step_ = steps_taken();
  }

  /// Goes back to the best values, with keep_best.
  void finish() {
    if (!best_.empty()) std::ranges::copy(best_, values_->flat().begin());
  }
  /// The evaluation of the values that finish() leaves: the best one with keep_best, else the last; nothing where there was none.
  std::optional<EvaluationRecord> kept_evaluation() const {
    if (record_.evaluations.empty()) return std::nullopt;
    for (const EvaluationRecord& e : record_.evaluations)
      if (!best_.empty() && e.step == best_step_) return e;
    return record_.evaluations.back();
  }

  const TrainingRecord& record() const { return record_; }
  /// The best values so far, and the step after which they were; empty and 0 without keep_best or an evaluation.
  std::span<const S> best() const { return best_; }
  Index best_step() const { return best_step_; }

  // What a checkpoint is made of, and the way back from one: values, optimizer and sampler as they are then go with the rest.
  Parameters<S>& values() { return *values_; }
  const Parameters<S>& values() const { return *values_; }
  optim::Optimizer<S>& optimizer() { return *optimizer_; }
  const optim::Optimizer<S>& optimizer() const { return *optimizer_; }
  ShuffledBatches& batches() { return *batches_; }
  const ShuffledBatches& batches() const { return *batches_; }
  /// Goes on after as many steps as the optimizer has taken. `best` is empty, or as many numbers as the values, or ErrorId::shape
  /// is thrown.
  void go_on(TrainingRecord record, std::vector<S> best, Index best_step) {
    require(best.empty() || best.size() == values_->flat().size(), ErrorId::shape, "TrainingRun::go_on: best has ", best.size(),
            " numbers, expected ", values_->flat().size());
    record_ = std::move(record);
    best_ = std::move(best);
    best_step_ = best_step;
    taken_ = static_cast<Index>(optimizer_->steps());
  }

 private:
  static TrainingRunOptions checked(TrainingRunOptions options) {
    options.validate();
    if (options.schedule.total_steps == 0) options.schedule.total_steps = options.steps;
    if (options.patience > 0) options.keep_best = true;
    return options;
  }
  std::span<const Index> named(std::span<const Index> batch) {
    if (options_.examples.empty()) return batch;
    named_.clear();
    for (const Index i : batch) named_.push_back(options_.examples[static_cast<std::size_t>(i)]);
    return named_;
  }

  TrainingRunOptions options_;
  Parameters<S>* values_;
  optim::Optimizer<S>* optimizer_;
  ShuffledBatches* batches_;
  optim::Schedule schedule_;
  Step<S> step_;
  GradientWatch watch_;
  TrainingRecord record_;
  std::vector<S> best_;
  Index best_step_ = 0, taken_ = 0;
  std::vector<Index> named_;  // the examples of a batch
};

}  // namespace lorasb::train
