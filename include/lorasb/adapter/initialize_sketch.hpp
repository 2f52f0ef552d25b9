// LoRA-SB's initialisation from a sketch of the gradient, for SGD's rule.
#pragma once

#include <cmath>

#include "lorasb/adapter/gradient_sketch.hpp"
#include "lorasb/adapter/initialize.hpp"
#include "lorasb/core/config.hpp"

namespace lorasb {

/// Whether one pass was enough to find the directions of the gradient.
enum class SketchStatus {
  captured,       // the adapter holds at least half of the update's energy
  flat_spectrum,  // it does not: the energy is spread over many directions, which one pass cannot rank. Use the dense
                  // GradientEstimate.
};

/// InitializeReport's figures are exact; these are estimates from test vectors t of random signs, which the sketch itself did
/// not use: E ‖G t‖² = ‖G‖² and E ‖(G - Ĝ) t‖² = ‖G - Ĝ‖², so norms and residual (squared) are unbiased.
struct SketchReport {
  double captured_energy = 0;                 // 1 - ‖ΔW - s B R A‖² / ‖ΔW‖², a ratio of the two unbiased estimates
  double captured_energy_standard_error = 0;  // by the delta method
  double update_norm = 0;                     // √ of the unbiased estimate of ‖ΔW‖²
  double residual_norm = 0;                   // √ of the unbiased estimate of ‖ΔW - s B R A‖²
  double largest_singular_value = 0;          // σ₁ of s B R A
  SketchStatus status = SketchStatus::captured;
};

template <Real S>
struct LORASB_OWNS_MEMORY SketchInitialized {
  LowRankAdapter<S> adapter;
  SketchReport report;
};

/// As initialize(GradientEstimate), from a sketch; options.rule must be FirstStep::sgd. The report says how far to trust it.
/// Throws ErrorId::value for another rule, no_examples, zero_update, rank.
template <Real S>
SketchInitialized<S> initialize(const GradientSketch<S>& sketch, InitializeOptions options = {.rule = FirstStep::sgd}) {
  options.validate();
  require(options.rule == FirstStep::sgd, ErrorId::value, "initialize: a sketch of \"", sketch.name(),
          "\" can only give SGD's first step; sign(G) is not linear in G. Use GradientEstimate for AdamW's");
  require(sketch.examples() > 0, ErrorId::no_examples, "initialize: the sketch of \"", sketch.name(), "\" saw no example");
  require(options.rank >= 1 && options.rank <= sketch.options().range_columns, ErrorId::rank, "initialize: rank is ",
          options.rank,
          ", expected 1 to the range_columns of the sketch of \"", sketch.name(), "\", ", sketch.options().range_columns);
  const typename GradientSketch<S>::Factors f = sketch.factors();
  const Weight<S> M = f.M;
  linalg::TruncatedSvd<S> svd = linalg::truncated_svd<S>(
      M, {.rank = options.rank, .steps = options.krylov_steps, .tolerance = options.svd_tolerance, .seed = options.seed});
  svd.U = linalg::product(f.Q, svd.U);

  Vector<double> energy;
  Vector<double> residual;
  const double unit = sketch.measure(svd.U, svd.singular_values, svd.V, energy, residual);
  require(energy.sum() > 0, ErrorId::zero_update, "initialize: every gradient of \"", sketch.name(), "\" over ",
          sketch.examples(), " examples is zero; does this module have a part in the loss?");
  const double rate = options.learning_rate / double(sketch.examples());
  const double missed = residual.sum() / energy.sum();
  const double q = double(energy.size());
  const double variance = (residual - missed * energy).squaredNorm() / (q - 1) / q;  // of the mean of residual - missed energy
  SketchReport report{.captured_energy = 1 - missed,
                      .captured_energy_standard_error = std::sqrt(variance) / (energy.sum() / q),
                      .update_norm = rate * unit * std::sqrt(energy.sum() / q),
                      .residual_norm = rate * unit * std::sqrt(residual.sum() / q),
                      .largest_singular_value = rate * double(svd.singular_values(0)),
                      .status = missed > 0.5 ? SketchStatus::flat_spectrum : SketchStatus::captured};
  return {.adapter = detail::adapter_from_svd(svd, -rate, options.scale), .report = report};
}

}  // namespace lorasb
