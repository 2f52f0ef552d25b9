// LoRA-SB's initialisation: B, R, A from the truncated SVD of a step of the full weight, estimated or taken.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/adapter/gradient_estimate.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/linalg/truncated_svd.hpp"

namespace lorasb {

/// The step of the full weight that an adapter starts with. G_b is the summed gradient of minibatch b, G = Σ_b G_b / N the mean
/// over N examples.
enum class FirstStep {
  adamw,     // ΔW = -η sign(G): AdamW's first step is bias-corrected to that; its ε and weight decay are left out
  sgd,       // ΔW = -η G
  gradient,  // ΔW = -η G / rms(G), with rms the root of the mean square of the entries: sgd's direction at the size of adamw's
  moments,   // ΔW = -η Σ_b G_b / √(b Σ_b G_b²), entry by entry, over b minibatches: Adam's direction at rest. One minibatch is
             // adamw's; entries on which minibatches disagree count less. Needs GradientMoments::first_and_second
};

/// η is a rate for the *full* weight: what full fine-tuning would use at its first step, 1e-5 to 1e-4 with AdamW, or after a
/// warm-up the first rate that is not zero. It is not the rate of R, which is 30 to 100 times as large: AdamW's rule moves every
/// entry of the weight by η, and a start at the rate of R can raise the loss thirty-fold. A fiftieth of the rate of R is a good
/// guess. InitializeReport::largest_singular_value shows how far the start goes; compare the loss before and after it
/// (train::initialize_modules does). The default suits AdamW; SGD's rates depend on the loss, so give one.
struct InitializeOptions {
  Index rank = 16;  // r, 1 to min(out, in)
  FirstStep rule = FirstStep::adamw;
  double learning_rate = 1e-4;  // η, a rate for the *full* weight: see above
  double scale = 1;             // s
  int krylov_steps = 8;         // of the SVD, at most
  double svd_tolerance = 1e-4;  // the SVD stops when a step adds less than this share of the captured energy
  std::uint64_t seed = 0;       // of the SVD's random start

  /// Throws ErrorId::value. The rank is checked against the weight by initialize().
  void validate() const {
    require(is_finite(learning_rate) && learning_rate > 0, ErrorId::value, "InitializeOptions: learning_rate is ",
            learning_rate, ", expected above 0: the rate of the first step that is not zero, schedule.first_nonzero_rate()");
    require(is_finite(scale) && scale != 0, ErrorId::value, "InitializeOptions: scale is ", scale,
            ", expected finite and not 0");
    require(krylov_steps >= 0 && svd_tolerance >= 0, ErrorId::value, "InitializeOptions: krylov_steps is ", krylov_steps,
            " and svd_tolerance is ", svd_tolerance, ", expected at least 0");
  }
};

/// How much of ΔW the adapter starts with.
struct InitializeReport {
  double captured_energy = 0;  // ‖s B R A‖² / ‖ΔW‖², Frobenius, 0 to 1
  double update_norm = 0;      // ‖ΔW‖
  double residual_norm = 0;    // ‖ΔW - s B R A‖, from the energies: an error of about √ε ‖ΔW‖ (3e-4 ‖ΔW‖ in float); where the
                               // energies agree up to rounding, 0
  double largest_singular_value = 0;  // σ₁ of s B R A: how far the start moves the weight in one direction
  Index numerical_rank = 0;           // how many of the r singular values are above rounding, ε max(out, in) σ₁; where it is
                                      // below r, the other directions are noise: use a lower rank or more examples
  Index svd_products = 0;             // products of ΔW with a block of columns that the SVD took
  linalg::SvdStatus svd_status = linalg::SvdStatus::approximate;
};

template <Real S>
struct LORASB_OWNS_MEMORY Initialized {
  LowRankAdapter<S> adapter;
  InitializeReport report;
};

namespace detail {

/// rate ΔW ≈ U (rate Σ) Vᵀ: B = ± U, R = |rate| Σ / s, A = Vᵀ. R has no negative entry on its diagonal unless s is negative.
template <Real S>
LowRankAdapter<S> adapter_from_svd(const linalg::TruncatedSvd<S>& svd, double rate, double scale) {
  const Index r = svd.U.cols();
  const S sign = rate < 0 ? S(-1) : S(1);
  LowRankAdapter<S> adapter{
      .B = Weight<S>(svd.U.rows(), r), .R = Weight<S>::Zero(r, r), .A = Weight<S>(r, svd.V.rows()), .scale = S(scale)};
  for (Index k = 0; k < r; ++k) {
    for (Index i = 0; i < svd.U.rows(); ++i) adapter.B(i, k) = sign * svd.U(i, k);
    adapter.R(k, k) = static_cast<S>(double(svd.singular_values(k)) * (std::abs(rate) / scale));
    std::copy_n(&svd.V(0, k), svd.V.rows(), &adapter.A(k, 0));
  }
  require(is_finite(adapter.scale) && all_finite(adapter.R.data(), adapter.R.size()), ErrorId::not_finite,
          "initialize: with a rate of ", std::abs(rate), " and s = ", scale, " the numbers of R or s leave their range");
  adapter.validate("initialize");
  return adapter;
}

/// √(1 - captured), and 0 where the difference is no more than rounding of two sums of squares in S.
template <Real S>
double residual_share(double captured) {
  const double missed = 1 - captured;
  return missed > 4 * double(std::numeric_limits<S>::epsilon()) ? std::sqrt(missed) : 0;
}
/// Of the singular values that were found.
template <Real S>
Index numerical_rank(const linalg::TruncatedSvd<S>& svd) {
  const double size = double(std::max(svd.U.rows(), svd.V.rows()));
  const double smallest = double(std::numeric_limits<S>::epsilon()) * size * double(svd.singular_values(0));
  Index rank = 0;
  while (rank < svd.singular_values.size() && double(svd.singular_values(rank)) > smallest) ++rank;
  return rank;
}

inline void require_rank(Index rank, Index rows, Index cols, std::string_view name) {
  require(rank >= 1 && rank <= std::min(rows, cols), ErrorId::rank, "initialize: rank is ", rank,
          ", expected 1 to min(out, in) = ", std::min(rows, cols), " of \"", name, "\"");
}

/// The adapter closest to rate D. `size` is ‖D‖, above 0.
template <Real S>
[[gnu::cold]] Initialized<S> closest_adapter(ConstWeightView<S> D, double rate, double size, const InitializeOptions& options) {
  const linalg::TruncatedSvd<S> svd = linalg::truncated_svd<S>(
      D, {.rank = options.rank, .steps = options.krylov_steps, .tolerance = options.svd_tolerance, .seed = options.seed});
  const double captured = svd.captured_share(size), norm = std::abs(rate) * size;
  return {.adapter = adapter_from_svd(svd, rate, options.scale),
          .report = {.captured_energy = std::min(captured, 1.0),
                     .update_norm = norm,
                     .residual_norm = norm * residual_share<S>(captured),
                     .largest_singular_value = std::abs(rate) * double(svd.singular_values(0)),
                     .numerical_rank = numerical_rank<S>(svd),
                     .svd_products = svd.products,
                     .svd_status = svd.status}};
}

/// Σ_b G_b / √(b Σ_b G_b²); 0 where every G_b is 0 or its square is below the scalar's range.
template <Real S>
Weight<S> moments_direction(const GradientEstimate<S>& estimate) {
  require(estimate.has_second_moments(), ErrorId::value, "initialize: FirstStep::moments needs an estimate of \"", estimate.name(),
          "\" with GradientMoments::first_and_second");
  require_finite(estimate.sum_of_squares(), "initialize", "the sum of squared gradients of \"", estimate.name(), "\"");
  const S batches = static_cast<S>(estimate.batches());
  return estimate.sum().binaryExpr(estimate.sum_of_squares(),
                                   [&](S sum, S squares) { return squares > S(0) ? sum / std::sqrt(batches * squares) : S(0); });
}

}  // namespace detail

/// ΔW = the first step of the rule on the full weight, ΔW ≈ U Σ Vᵀ truncated at r; B = U, R = Σ / s, A = Vᵀ (arXiv 2411.19557,
/// section 3.2). By Eckart and Young no other rank-r adapter starts closer to ΔW, up to what the randomized SVD misses. On a
/// 2048 x 2048 matrix of random signs (the flattest spectrum) the defaults miss 0.1 % of the best energy at r = 16 and 1.4 % at
/// r = 64. More `krylov_steps` miss less. B and A are orthonormal to rounding. Memory: one more out x in matrix while it runs
/// (adamw and moments). Throws ErrorId::no_examples, zero_update, rank, value, not_finite.
template <Real S>
[[gnu::cold]] Initialized<S> initialize(const GradientEstimate<S>& estimate, InitializeOptions options = {}) {
  options.validate();
  require(estimate.examples() > 0, ErrorId::no_examples, "initialize: the estimate of \"", estimate.name(),
          "\" saw no example");
  detail::require_rank(options.rank, estimate.out_features(), estimate.in_features(), estimate.name());
  const Weight<S>& G = estimate.sum();  // N times the mean: signs and directions are the same, SGD's rate is divided by N
  require_finite(G, "initialize", "the sum of gradients of \"", estimate.name(), "\"");  // finite batches may overflow
  Weight<S> direction;  // of the rules that are not linear in G
  if (options.rule == FirstStep::adamw)
    direction = G.unaryExpr([](S g) { return S(g > S(0)) - S(g < S(0)); });
  else if (options.rule == FirstStep::moments)
    direction = detail::moments_direction(estimate);
  const Weight<S>& D = direction.size() > 0 ? direction : G;
  const double size = norm(flat(D));
  require(size > 0, ErrorId::zero_update, "initialize: every gradient of \"", estimate.name(), "\" over ", estimate.examples(),
          " examples is zero; does this module have a part in the loss?");
  double rate = options.learning_rate;
  if (options.rule == FirstStep::sgd) rate /= double(estimate.examples());
  if (options.rule == FirstStep::gradient) rate *= std::sqrt(double(G.size())) / size;
  return detail::closest_adapter<S>(D, -rate, size, options);
}

/// The adapter closest to an update of the full weight that has been made already, ΔW = W_K - W0 after K steps (out x in);
/// `learning_rate` and `rule` are not read. Throws ErrorId::zero_update for ΔW = 0, rank, value, not_finite.
template <Real S>
[[gnu::cold]] Initialized<S> initialize_from_update(ConstWeightView<S> update, const InitializeOptions& options,
                                                    std::string_view name = "layer") {
  options.validate();
  detail::require_rank(options.rank, update.rows(), update.cols(), name);
  require_finite(update, "initialize_from_update", "the update of \"", name, "\"");
  std::vector<std::span<const S>> rows;
  for (Index i = 0; i < update.rows(); ++i)
    rows.emplace_back(update.data() + i * update.outerStride(), static_cast<std::size_t>(update.cols()));
  const double size = norm<S>(std::span<const std::span<const S>>(rows));
  require(size > 0, ErrorId::zero_update, "initialize_from_update: the update of \"", name,
          "\" is zero; does this module have a part in the loss?");
  return detail::closest_adapter<S>(update, 1, size, options);
}

}  // namespace lorasb
