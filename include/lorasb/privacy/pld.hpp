// Privacy loss distributions: ε from the distribution of the loss of all steps, by its characteristic function.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <vector>

#include "lorasb/privacy/loss_grid.hpp"
#include "lorasb/privacy/rdp.hpp"
#include "lorasb/privacy/single_step.hpp"

namespace lorasb::privacy {

struct PldOptions {
  double accuracy = 3e-6;              // share of ε by which the bound may lie above the true one, about
  std::int64_t max_frequencies = 1 << 17;  // with fewer the bound is looser, not wrong
};

namespace detail {

/// The loss of all steps together, S = Σ_j T_j losses of the grid j + a Gaussian mechanism of `variance` μ²: of unsampled
/// steps, and a little more that makes the integral below end. Another mechanism beside the others only raises δ.
///
///     δ(ε) = δ_∞ + 1 / (2 π i) ∫ e^{K(z) - z ε} / (z (z + 1)) dz along Re z = θ > 0,
///     K(z) = Σ_j T_j log Σ p e^{z l} + μ² z (z + 1) / 2
///
/// The trapezoid rule with the step 2 π / W gives Σ_m e^{θ m W} δ(ε + m W), all terms of which are positive: never less than
/// δ(ε). What is left out beyond the last frequency is below ∫ e^{K(θ) - θ ε - μ² t² / 2} / t² dt / π, and is added. So the sum
/// is an upper bound whatever W, θ and the number of frequencies; these decide how close it is.
class ComposedLoss {
 public:
  ComposedLoss(const std::vector<LossGrid>& grids, double variance) : grids_(&grids), variance_(variance) {
    double log_finite = 0;
    for (const LossGrid& g : grids) {
      log_finite += g.steps() * std::log1p(-g.infinite());
      steps_ += g.steps();
    }
    infinite_ = -std::expm1(log_finite);
    untilted_ = 1 / std::sqrt(std::max(moments(0).variance, 1e-30));  // with little noise doubles hold but one loss, the least
  }

  /// The least ε >= 0 with δ(ε) <= delta. Infinity when the grids cannot tell.
  double epsilon(double delta, const PldOptions& options) {
    const double wanted = delta - infinite_;
    if (!(wanted > 0)) return std::numeric_limits<double>::infinity();
    double guess = chernoff(wanted), best = guess;
    for (int attempt = 0; attempt < 12; ++attempt) {
      theta_ = saddle(guess);
      at_ = moments(theta_);
      added_ = 2 * std::max(0.3 * options.accuracy * guess, 1e-9) / (theta_ + 1);
      choose_window(wanted, guess);
      transform(wanted, guess, options.max_frequencies);
      const double found = falling_root([&](double e) { return log_delta(e) - std::log(wanted); }, 1e-10);
      best = std::min(best, found);
      if (found == 0 || found > 0.9 * guess) break;
      guess = found;  // nearer: less noise, and a better θ
    }
    return best;
  }

 private:
  LossGrid::Moments moments(double theta) const {
    LossGrid::Moments sum{.log_sum = 0.5 * variance_ * theta * (theta + 1),
                          .mean = variance_ * (theta + 0.5),
                          .variance = variance_};
    for (const LossGrid& g : *grids_) {
      const LossGrid::Moments m = g.moments(theta);
      sum.log_sum += g.steps() * m.log_sum;
      sum.mean += g.steps() * m.mean;
      sum.variance += g.steps() * m.variance;
    }
    return sum;
  }
  /// The least ε of e^{K(θ) - θ ε} θ^θ / (θ + 1)^{θ + 1} = δ over θ: a bound, if a loose one.
  double chernoff(double wanted) {
    double least = std::numeric_limits<double>::infinity();
    for (double t = 0.01 * untilted_; t < 1e6 * untilted_; t *= 1.3)
      least = std::min(least, (moments(t).log_sum - std::log(wanted) - t * std::log1p(1 / t) - std::log1p(t)) / t);
    return std::max(least, 0.0);
  }
  /// Where the integrand at `epsilon` is least: K'(θ) = ε + 1 / θ + 1 / (θ + 1).
  double saddle(double epsilon) const {
    double low = std::log(0.01 * untilted_), high = std::log(1e6 * untilted_);
    for (int i = 0; i < 40; ++i) {
      const double t = 0.5 * (low + high), theta = std::exp(t);
      (moments(theta).mean < epsilon + 1 / theta + 1 / (theta + 1) ? low : high) = t;
    }
    return std::exp(high);
  }
  /// W such that e^{±θ W} δ(ε ± W) is a share of 1e-7 of δ(ε), by Chernoff.
  void choose_window(double wanted, double guess) {
    const double needed = 16 - std::log(wanted) - theta_ * guess;
    const double deviation = std::sqrt(at_.variance);
    double above = std::numeric_limits<double>::infinity(), below = above;
    for (double shift = 0.05 / deviation; shift < 100 / deviation; shift *= 1.5) {
      above = std::min(above, (moments(theta_ + shift).log_sum - shift * guess + needed) / shift);
      if (shift < theta_) below = std::min(below, (moments(theta_ - shift).log_sum + shift * guess + needed) / shift);
    }
    below = std::min(below, (theta_ * guess + needed) / theta_);  // δ <= 1
    window_ = std::max({above, below, guess});
  }
  /// e^{K(z) - K(θ)} / (z (z + 1)) at the frequencies, and a bound of what lies beyond them.
  void transform(double wanted, double guess, std::int64_t most) {
    const double step = 2 * std::numbers::pi / window_;
    const auto beyond = [&](double t) {
      const double fall = (variance_ + added_) * t * t;
      return std::exp(-0.5 * fall) / (std::numbers::pi * t) * std::min(1.0, 1 / fall);
    };
    double end = 0;
    for (;; added_ *= 2) {  // more noise, and fewer frequencies
      log_scale_ = at_.log_sum + 0.5 * added_ * theta_ * (theta_ + 1);
      const double allowed = std::log(wanted) - log_scale_ + theta_ * guess - 16;
      if (!is_finite(allowed)) {  // moments that doubles cannot hold, or noise that never suffices: no bound
        frequency_.clear();
        value_.clear();
        remainder_ = std::numeric_limits<double>::infinity();
        return;
      }
      double low = -100, high = 1;
      while (!(std::log(beyond(std::exp(high))) < allowed)) high += 1;
      for (int i = 0; i < 40; ++i) {
        const double t = 0.5 * (low + high);
        (std::log(beyond(std::exp(t))) < allowed ? high : low) = t;
      }
      end = std::exp(high);
      if (end / step < double(most)) break;
    }
    const auto count = static_cast<Eigen::Index>(std::ceil(end / step)) + 1;
    Eigen::ArrayXcd log_value = Eigen::ArrayXcd::Zero(count);
    for (const LossGrid& g : *grids_) log_value += g.steps() * characteristic(g.tilted(theta_), step, count).log();
    frequency_.clear();
    value_.clear();
    double size = 0, dropped = 0;
    for (Eigen::Index j = 0; j < count; ++j) {
      const double t = double(j) * step, mu2 = variance_ + added_;
      const std::complex<double> z(theta_, t), gauss(-0.5 * mu2 * t * t, mu2 * t * (theta_ + 0.5));
      const double weight = (j == 0 ? 0.5 : 1) * step / std::numbers::pi;
      const std::complex<double> value = weight * std::exp(log_value[j] + gauss) / (z * (z + 1.0));
      if (j > 0 && !(std::abs(value) > 1e-18 * std::abs(value_[0]))) {
        dropped += 1e-18 * std::abs(value_[0]);
        continue;
      }
      size += std::abs(value);
      frequency_.push_back(t);
      value_.push_back(value);
    }
    // a factor of the product is right to 16 roundings
    remainder_ = beyond(double(count - 1) * step) + dropped + 16 * std::numeric_limits<double>::epsilon() * (steps_ + 8) * size;
  }
  /// Σ p e^{i t l} at t = 0, step, 2 step, ..: rotations, from new sines at every 64th frequency.
  static Eigen::ArrayXcd characteristic(const LossGrid::Tilted& points, double step, Eigen::Index count) {
    constexpr Eigen::Index tile = 256, run = 64;
    Eigen::ArrayXcd sums = Eigen::ArrayXcd::Zero(count);
    for (Eigen::Index first = 0; first < points.loss.size(); first += tile) {
      const Eigen::Index size = std::min(tile, points.loss.size() - first);
      const Eigen::ArrayXd loss = points.loss.segment(first, size), mass = points.mass.segment(first, size);
      const Eigen::ArrayXd turn_c = (step * loss).cos(), turn_s = (step * loss).sin();
      Eigen::ArrayXd c, s, next(size);
      for (Eigen::Index j = 0; j < count; ++j) {
        if (j % run == 0) {
          c = mass * (double(j) * step * loss).cos();
          s = mass * (double(j) * step * loss).sin();
        }
        sums[j] += std::complex<double>(c.sum(), s.sum());
        next = c * turn_c - s * turn_s;
        s = s * turn_c + c * turn_s;
        c.swap(next);
      }
    }
    return sums;
  }
  /// log of the bound of δ(ε) - δ_∞
  double log_delta(double epsilon) const {
    double sum = 0;
    for (std::size_t j = 0; j < value_.size(); ++j) sum += (value_[j] * std::polar(1.0, -frequency_[j] * epsilon)).real();
    return log_scale_ - theta_ * epsilon + std::log(std::max(sum + remainder_, 1e-300));
  }

  const std::vector<LossGrid>* grids_;
  double variance_, added_ = 0;  // of the unsampled steps, and what is added
  double steps_ = 0, infinite_ = 0, theta_ = 0, window_ = 0, untilted_ = 0, log_scale_ = 0, remainder_ = 0;
  LossGrid::Moments at_;  // at θ
  std::vector<double> frequency_;
  std::vector<std::complex<double>> value_;
};

}  // namespace detail

/// An upper bound of ε by construction, close to the true one. Throws ErrorId::value.
inline double pld_epsilon(std::span<const SubsampledGaussian> mechanisms, double delta, Relation relation = Relation::add_remove,
                          const PldOptions& options = {}) {
  double steps = 0, variance = 0;  // variance: Σ μ² of the steps that take every example, a Gaussian mechanism together
  std::vector<SubsampledGaussian> sampled;
  for (const SubsampledGaussian& m : mechanisms) {
    m.require_accountable();
    steps += double(m.steps);
    if (m.rate < 1)
      sampled.push_back(m);
    else
      variance += double(m.steps) * (relation == Relation::replace_one ? 4 : 1) / (m.noise * m.noise);
  }
  if (sampled.empty()) return gaussian_epsilon(std::sqrt(variance), delta);
  if (relation == Relation::add_remove && rdp_epsilon(mechanisms, delta) == 0) return 0;
  const double tail = std::max(2e-5 * delta / steps, 1e-300);
  const auto bound = [&](bool reversed, const PldOptions& o) {
    if (steps == 1) return detail::one_step_epsilon(sampled[0], delta, relation, reversed) * (1 + 1e-12);
    std::vector<detail::LossGrid> grids;
    for (const SubsampledGaussian& m : sampled) grids.emplace_back(m, relation, reversed, 0.4 / std::sqrt(o.accuracy), tail);
    return detail::ComposedLoss(grids, variance).epsilon(delta, o);
  };
  if (relation == Relation::replace_one) return bound(false, options);  // both orders are the same
  // Coarse or fine, a bound holds. The smaller order needs no fine one where its coarse one is below the other's fine one.
  const PldOptions coarse{.accuracy = 1e-4, .max_frequencies = options.max_frequencies};
  const std::array<double, 2> rough{bound(false, coarse), bound(true, coarse)};
  if (steps == 1 || options.accuracy >= coarse.accuracy) return std::max(rough[0], rough[1]);
  const bool first = rough[1] > rough[0];  // infinite where a grid cannot tell
  const double worst = bound(first, options);
  return rough[!first] <= worst ? worst : std::max(worst, bound(!first, options));
}

}  // namespace lorasb::privacy
