// A private training as a whole: noise that keeps within a budget, steps in the order that accounting needs, and what they cost.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/privacy/report.hpp"
#include "lorasb/train/private_step.hpp"

namespace lorasb::train {

struct PrivateTrainingOptions {
  std::uint64_t steps = 0;  // of the whole training
  Index batch = 0;          // expected examples of a step: q = batch / examples, at most 1
  double clip = 1;          // C: the norm that the gradient of an example is clipped to
  double noise = 0;         // σ over C; 0: the least with which all steps keep within the ledger's budget
  NoiseKind kind = NoiseKind::continuous;
  Origin origin = Origin::unknown;             // of everything that is not trained: bases, heads, constants
  std::optional<std::uint64_t> seed = {};      // for trials: then nothing is private; nothing: the operating system's generator
  std::uint64_t steps_done = 0;                // before, by a checkpoint
  std::uint64_t other_charges = 0;             // of the ledger that are no steps of this training, as those of noised bases
  Index parts = 4;                             // of a batch, as Step has them
  int threads = 1;

  /// Throws ErrorId::value.
  void validate() const {
    require(steps >= 1 && batch >= 1, ErrorId::value, "PrivateTrainingOptions: steps is ", steps, " and batch is ", batch,
            ", expected at least 1");
    require(is_finite(noise) && noise >= 0, ErrorId::value, "PrivateTrainingOptions: noise is ", noise,
            ", expected above 0, or 0 to take the least that the budget allows");
    require(steps_done <= steps, ErrorId::value, "PrivateTrainingOptions: steps_done is ", steps_done, " of ", steps, " steps");
  }
};

/// Ledger, Poisson batches, noise and step of DP-SGD over private examples, in the order that ε needs: a step is charged (and
/// written down, with Ledger::on_charge), then its batch is drawn and its gradients are clipped, then noise is added. A step too
/// many is refused before it draws a batch. The loop, its rates and what it measures are the caller's.
///
///     privacy::Ledger ledger({.population = N, .delta = 1e-6, .budget = 3});
///     PrivateTraining<float> training(values.layout().size(), N,
///                                     {.steps = 500, .batch = 64, .origin = Origin::no_data}, ledger);
///     for (std::uint64_t t = 1; t <= training.last_step(); ++t)
///       training.step(values.flat(), optimizer, rates.rate(t),
///                     [&](std::span<const Index> examples, Index part, const privacy::ClippedSum<float>& sum) {
///                       sum.add(gradients of these examples, one column each);
///                     });
///     std::fputs(statement(training.report()).c_str(), stdout);
///
/// A run that goes on after a crash restores the ledger first (train/ledger_file.hpp), and keeps the noise that it started with:
/// steps that were charged and lost are paid for, so with a budget as many are missing at the end.
template <Real S>
class LORASB_OWNS_MEMORY PrivateTraining {
 public:
  /// `size` trained values, `examples` private examples. Reserves the steps. `ledger` must outlive it. Throws ErrorId::value for
  /// options out of range, a ledger of another population, a noise of 0 without a budget, and what Ledger::reserve, noise_for and
  /// PrivateStep throw.
  PrivateTraining(Index size, Index examples, const PrivateTrainingOptions& options, privacy::Ledger& ledger LORASB_LIFETIMEBOUND)
      : options_(checked(options, examples, ledger)),
        ledger_(&ledger),
        draws_(privacy::make_noise_source(options.seed, 0)),
        source_(privacy::make_noise_source(options.seed, 1)),
        batches_(examples, std::min(1.0, double(options.batch) / double(examples)), *draws_),
        planned_(plan()),
        step_(size, options.parts, options.threads,
              {.clip = options.clip, .noise = planned_.noise, .kind = options.kind, .origin = options.origin}, ledger, batches_,
              *source_) {
    batches_.seek(0, options.steps_done);
  }
  PrivateTraining(const PrivateTraining&) = delete;
  PrivateTraining& operator=(const PrivateTraining&) = delete;

  double rate() const { return batches_.rate(); }    // q
  double noise() const { return planned_.noise; }    // σ over C
  /// The number of the last step that may be taken: `steps`, or fewer where the budget has paid for steps that were lost.
  std::uint64_t last_step() const { return options_.steps_done + planned_.steps; }
  /// Steps that were taken, with those before.
  std::uint64_t steps_done() const { return batches_.position(); }
  /// The sampler, for a checkpoint (save_run, restore_run).
  privacy::PoissonBatches& batches() LORASB_LIFETIMEBOUND { return batches_; }

  /// One step. pass(examples, part, const privacy::ClippedSum<S>&) adds the gradients of the examples that it is given; it is
  /// called from several threads at once, with a different part on each. A draw of more than twice the expected size goes through
  /// it in pieces, so that it needs no more memory. Throws what Ledger::charge throws, before a batch is drawn, and what `pass`
  /// throws. A status of not_finite means that the optimizer's step was left out; it is charged all the same.
  template <class Pass>
  PrivateStepResult step(std::span<S> values, optim::Optimizer<S>& optimizer, double learning_rate, const Pass& pass) {
    step_.charge();
    const std::span<const Index> batch = batches_.next();
    const auto most = static_cast<std::size_t>(2 * options_.batch);
    for (std::size_t first = 0; first < batch.size(); first += most) {
      const std::span<const Index> piece = batch.subspan(first, std::min(most, batch.size() - first));
      step_.accumulate(std::ssize(piece), [&](Index part, Index start, Index count, const privacy::ClippedSum<S>& sum) {
        pass(piece.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(count)), part, sum);
      });
    }
    return step_.apply(values, optimizer, learning_rate);
  }

  /// What was spent so far, by the ledger, and how.
  privacy::PrivacyReport report() const {
    const privacy::Epsilon claimed = ledger_->claimed_epsilon();
    privacy::PrivacyReport report{.delta = ledger_->options().delta,
                                  .noise = noise(),
                                  .rate = rate(),
                                  .clip = options_.clip,
                                  .steps = charged(),
                                  .accountant = claimed.method,
                                  .unit = ledger_->options().unit,
                                  .relation = ledger_->options().relation};
    if (ledger_->is_private()) report.epsilon = claimed.epsilon;
    report.steps_lost = report.steps - std::min(report.steps, steps_done());
    if (options_.kind == NoiseKind::discrete) {
      report.grid = step_.on_grid();
      report.epsilon_continuous = epsilon_of_continuous();
    }
    return report;
  }

 private:
  static const PrivateTrainingOptions& checked(const PrivateTrainingOptions& options, Index examples, const privacy::Ledger& ledger) {
    options.validate();
    const privacy::LedgerOptions& of = ledger.options();
    require(of.unit != privacy::PrivacyUnit::example || of.population == static_cast<std::uint64_t>(examples), ErrorId::value,
            "PrivateTraining: the ledger is over ", of.population, " examples, expected ", examples);
    require(options.noise > 0 || is_finite(of.budget), ErrorId::value,
            "PrivateTraining: noise is 0 and the ledger has no budget that it could follow from; give one of both");
    require(ledger.steps() >= options.other_charges, ErrorId::value, "PrivateTraining: other_charges is ", options.other_charges,
            ", but the ledger has ", ledger.steps(), " charges");
    return options;
  }
  /// Steps of this training that the ledger has.
  std::uint64_t charged() const { return ledger_->steps() - options_.other_charges; }

  /// The noise, and how many more steps may be taken, which are reserved then.
  privacy::SubsampledGaussian plan() {
    const std::uint64_t left = options_.steps - options_.steps_done;
    const double rate = batches_.rate();
    const auto reserved = std::ranges::find_if(ledger_->reserved(), [&](const auto& m) { return m.rate == rate; });
    const bool has_reserve = reserved != ledger_->reserved().end();
    const std::uint64_t room = has_reserve ? reserved->steps : 0;
    privacy::SubsampledGaussian planned{.rate = rate, .noise = options_.noise, .steps = left};
    if (has_reserve) {
      planned.noise = reserved->noise;
    } else if (charged() > 0) {
      planned.noise = ledger_->spent().back().noise;
    } else {
      if (options_.noise == 0) planned.noise = privacy::noise_for(*ledger_, rate, options_.steps);
      ledger_->reserve(privacy::SamplingScheme::poisson, rate, planned.noise, left);
      return planned;
    }
    if (options_.noise == 0)  // what is left of the reserve is all that the budget allows
      planned.steps = std::min(room, left);
    else if (room < left)
      ledger_->reserve(privacy::SamplingScheme::poisson, rate, planned.noise, left - room);
    return planned;
  }

  /// ε of continuous noise as large as that on the grid, over gradients that were clipped and not rounded.
  double epsilon_of_continuous() const {
    std::vector<privacy::SubsampledGaussian> spent = ledger_->spent();
    const std::uint64_t steps = charged();
    for (privacy::SubsampledGaussian& m : spent)
      if (m.rate == rate() && m.noise == noise()) m.steps -= std::min(steps, m.steps);
    std::erase_if(spent, [](const auto& m) { return m.steps == 0; });
    const privacy::GridNoise& on = step_.on_grid();
    if (steps > 0)
      spent.insert(spent.begin(),
                   {.rate = rate(), .noise = std::sqrt(double(on.variance)) * on.grid / options_.clip, .steps = steps});
    const privacy::LedgerOptions& of = ledger_->options();
    return spent.empty() ? 0 : privacy::epsilon_of(spent, of.delta, of.accountant, of.relation).epsilon;
  }

  PrivateTrainingOptions options_;
  privacy::Ledger* ledger_;
  std::unique_ptr<privacy::NoiseSource> draws_, source_;  // of batches, of noise: streams 0 and 1 of a seed
  privacy::PoissonBatches batches_;
  privacy::SubsampledGaussian planned_;
  PrivateStep<S> step_;
};

}  // namespace lorasb::train
