// A step of DP-SGD: clipped gradients, one draw of noise, a divisor that tells nothing, and an entry in the ledger.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/privacy/clipped_sum.hpp"
#include "lorasb/privacy/discrete_gaussian.hpp"
#include "lorasb/privacy/ledger.hpp"
#include "lorasb/privacy/poisson_batches.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::train {

/// What the frozen factors of a private model, its start and its constants were made from.
enum class Origin {
  unknown,       // refused: nobody has said
  no_data,       // nothing is frozen but W0; or bases of W0's SVD, or random ones (adapter/data_free.hpp)
  public_data,   // examples that may be known
  noised,        // a noised function of private examples whose cost is in the ledger (train/noised_bases.hpp)
  private_data,  // refused: raw private examples
};

enum class NoiseKind {
  continuous,  // doubles, rounded to S: which numbers can be reached may tell more than ε does
  discrete,    // integers on a grid, by integer arithmetic alone
};
inline constexpr std::array<std::string_view, 2> noise_kind_names{"continuous", "discrete"};

struct PrivateStepOptions {
  double clip = 1;   // C: the norm that the gradient of an example is clipped to, over all trained numbers together
  double noise = 0;  // σ: standard deviation of the noise over C, as it is reserved in the ledger
  NoiseKind kind = NoiseKind::continuous;
  Origin origin = Origin::unknown;  // of everything that is not trained by this step

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(clip) && clip > 0, ErrorId::value, "PrivateStepOptions: clip is ", clip, ", expected above 0");
    require(is_finite(noise) && noise > 0, ErrorId::value, "PrivateStepOptions: noise is ", noise, ", expected above 0");
    require(origin != Origin::unknown, ErrorId::value,
            "PrivateStepOptions: origin is unknown; say what the frozen factors were made from");
    require(origin != Origin::private_data, ErrorId::value,
            "PrivateStepOptions: origin is private_data: factors made from raw private examples give these away; take public "
            "examples, W0, random bases, or noised sums");
  }
};

/// What may be published of a private step.
struct PrivateStepResult {
  double gradient_norm = 0;  // of the noised sum over the expected size of a batch
  StepStatus status = StepStatus::updated;
};

/// DP-SGD (Abadi et al., arXiv 1607.00133, algorithm 1) over a Step:
///
///     values -= rate · optimizer((Σ_i min(1, C / ‖g_i‖) g_i + N(0, σ² C² I)) / (q N))
///
/// A batch is drawn by PoissonBatches, and may be empty: then it is noise alone. A pass hands the gradients of single examples to
/// a ClippedSum, which clips each; a batch may be accumulated in several pieces, the noise is drawn once. With
/// NoiseKind::discrete each clipped gradient is rounded to a grid γ, and σ is the deviation of the noise over C + γ √d / 2, what
/// an example can move d numbers: what the ledger says of continuous noise holds for it, too.
///
/// Loss and correct answers of a batch are not published: they are not noised. PrivateTraining (train/private_training.hpp) keeps
/// the order of the calls below by itself.
///
///     PrivateStep<float> step(values.layout().size(), parts, threads,
///                             {.clip = 1, .noise = sigma, .origin = Origin::no_data}, ledger, batches, source);
///     step.charge();                                      // before the batch is drawn
///     const std::span<const Index> batch = batches.next();
///     step.accumulate(batch.size(), [&](Index part, Index first, Index count, const ClippedSum<float>& sum) {
///       sum.add(gradients of examples first to first + count - 1 of the batch);
///     });
///     step.apply(values.flat(), optimizer, rate);
template <Real S>
class PrivateStep {
 public:
  /// Everything must outlive it. Throws ErrorId::value, also for parts or threads below 1, and for Origin::noised with a ledger
  /// that has nothing of it.
  PrivateStep(Index size, Index parts, int threads, const PrivateStepOptions& options, privacy::Ledger& ledger,
              const privacy::PoissonBatches& batches, privacy::NoiseSource& source)
      : step_(size, parts, threads), options_(options), ledger_(&ledger), batches_(&batches), source_(&source) {
    options_.validate();
    require(options_.origin != Origin::noised || ledger.steps() > 0, ErrorId::value,
            "PrivateStep: origin is noised, but the ledger has no cost of it");
    if (options_.kind == NoiseKind::continuous) return;
    on_grid_ = privacy::GridNoise::of(options_.noise, options_.clip, size);
    sums_.assign(static_cast<std::size_t>(parts), std::vector<std::int64_t>(static_cast<std::size_t>(size)));
  }

  /// The grid of discrete noise.
  const privacy::GridNoise& on_grid() const { return on_grid_; }

  const PrivateStepOptions& options() const { return options_; }

  /// Enters the next step in the ledger. Throws what Ledger::charge throws: then no data may be touched.
  void charge() {
    require(!charged_, ErrorId::value, "PrivateStep::charge: the step is charged already");
    ledger_->charge(batches_->scheme(), batches_->rate(), options_.noise, batches_->is_private() && source_->is_private());
    charged_ = true;
  }
  /// Adds examples to the sum; as often as the caller likes, for a batch that does not fit in memory.
  /// pass(part, first, count, const privacy::ClippedSum<S>&) is called from several threads at once, with a different part on
  /// each, as Step's pass is. When it throws, nothing of this call is in the sum; with discrete noise, nothing at all. Throws
  /// ErrorId::value before charge().
  template <class Pass>
  void accumulate(Index examples, const Pass& pass) {
    require(charged_, ErrorId::value, "PrivateStep::accumulate: charge() comes first, and then the batch is drawn");
    try {
      step_.accumulate(examples, [&](Index part, Index first, Index count, std::span<S> sum) {
        if (options_.kind == NoiseKind::discrete)
          pass(part, first, count,
               privacy::ClippedSum<S>(options_.clip, on_grid_.grid, std::span(sums_[static_cast<std::size_t>(part)])));
        else
          pass(part, first, count, privacy::ClippedSum<S>(options_.clip, sum));
        return PassResult{};
      });
    } catch (...) {  // an example that is added again would count twice
      clear_grid_sums();
      throw;
    }
  }
  /// Adds the noise, divides by the expected size of a batch, and moves `values`.
  PrivateStepResult apply(std::span<S> values, optim::Optimizer<S>& optimizer, double learning_rate) {
    require(charged_, ErrorId::value, "PrivateStep::apply: charge() comes first");
    source_->start_step(ledger_->steps());
    if (options_.kind == NoiseKind::discrete)
      take_grid_sum();
    else
      privacy::add_gaussian_noise<S>(step_.gradient_sum(), options_.noise * options_.clip, *source_);
    const StepResult found =
        step_.apply(values, optimizer, learning_rate, {.divisor = batches_->expected_batch_size(), .ignore_loss = true});
    charged_ = false;
    return {.gradient_norm = found.gradient_norm, .status = found.status};
  }

 private:
  /// The integers of all parts with their noise, times the grid: S rounds what is noised already.
  void take_grid_sum() {
    std::vector<std::int64_t>& sum = sums_.front();
    for (std::size_t part = 1; part < sums_.size(); ++part)
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += sums_[part][i];
    privacy::add_discrete_gaussian_noise(sum, on_grid_.variance, 1, *source_);
    const std::span<S> to = step_.gradient_sum();
    for (std::size_t i = 0; i < sum.size(); ++i) to[i] = static_cast<S>(double(sum[i]) * on_grid_.grid);
    clear_grid_sums();
  }
  void clear_grid_sums() {
    for (std::vector<std::int64_t>& part : sums_) std::ranges::fill(part, 0);
  }

  Step<S> step_;
  PrivateStepOptions options_;
  privacy::Ledger* ledger_;
  const privacy::PoissonBatches* batches_;
  privacy::NoiseSource* source_;
  privacy::GridNoise on_grid_;                    // of discrete noise
  std::vector<std::vector<std::int64_t>> sums_;  // by part, on the grid
  bool charged_ = false;
};

}  // namespace lorasb::train
