// The learning rate of each optimizer step: warm-up, then constant, linear or cosine decay.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "lorasb/core/check.hpp"

namespace lorasb::optim {

enum class Decay { constant, linear, cosine };

struct ScheduleOptions {
  Decay decay = Decay::constant;
  double learning_rate = 1e-3;    // the highest rate
  std::int64_t warmup_steps = 0;  // steps with a rising rate
  std::int64_t total_steps = 0;   // of the whole run, warm-up included; constant decay does not read it
  double minimum_rate = 0;        // where linear and cosine decay end

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(learning_rate) && learning_rate > 0, ErrorId::value, "ScheduleOptions: learning_rate is ",
            learning_rate, ", expected a finite number above 0");
    require(minimum_rate >= 0 && minimum_rate <= learning_rate, ErrorId::value, "ScheduleOptions: minimum_rate is ",
            minimum_rate, ", expected 0 to learning_rate, ", learning_rate);
    require(warmup_steps >= 0, ErrorId::value, "ScheduleOptions: warmup_steps is ", warmup_steps, ", expected at least 0");
    require(decay == Decay::constant || total_steps >= std::max<std::int64_t>(warmup_steps, 1), ErrorId::value,
            "ScheduleOptions: total_steps is ", total_steps, ", expected at least 1 and at least warmup_steps, ", warmup_steps);
  }
};

/// With highest rate η, lowest rate μ, W warm-up steps and N steps in all, step t = 1, 2, ... uses
///
///     t <= W:      η t / W
///     W < t <= N:  η                                constant
///                  μ + (η - μ) (1 - p)              linear      p = (t - 1 - W) / (N - W)
///                  μ + (η - μ) (1 + cos π p) / 2    cosine
///     t > N:       η for constant, else μ
///
/// so no step within the run has rate 0, and the first one after the warm-up has the full rate.
///
/// PyTorch and Transformers count c = t - 1 = 0, 1, ... With that offset step t here is step c there, and these are equal:
/// - without warm-up: torch's LinearLR(1, μ/η, total_iters=N) and CosineAnnealingLR(T_max=N, eta_min=μ), and Transformers'
///   get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup (μ = 0);
/// - with W >= 2: torch's SequentialLR of LinearLR(1/W, 1, total_iters=W-1) and one of torch's two above over N - W steps, or a
///   constant, with W as the milestone;
/// - Transformers' schedules with warm-up from c = W on. Their warm-up is η c / W, one step later than ours: 0 at their first.
class Schedule {
 public:
  explicit Schedule(ScheduleOptions options) : options_(options) { options_.validate(); }

  /// The rate that step `step` uses; the first is step 1. Throws ErrorId::value for a step below 1.
  double rate(std::int64_t step) const {
    const auto [decay, highest, warmup, total, lowest] = options_;
    require(step >= 1, ErrorId::value, "Schedule::rate: step is ", step, ", expected at least 1 (steps count from 1)");
    if (step <= warmup) return highest * static_cast<double>(step) / static_cast<double>(warmup);
    if (decay == Decay::constant) return highest;
    if (step > total) return lowest;
    const double p = static_cast<double>(step - 1 - warmup) / static_cast<double>(total - warmup);
    if (decay == Decay::linear) return lowest + (highest - lowest) * (1 - p);
    return lowest + (highest - lowest) * (1 + std::cos(std::numbers::pi * p)) / 2;
  }

  /// The rate of the first step that moves anything, for LoRA-SB's initial update: always that of step 1, η / W with warm-up.
  double first_nonzero_rate() const { return rate(1); }

  const ScheduleOptions& options() const { return options_; }

 private:
  ScheduleOptions options_;
};

}  // namespace lorasb::optim
