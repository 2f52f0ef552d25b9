// The Gaussian mechanism on a Poisson sample: what a step of DP-SGD is to an accountant.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>

#include "lorasb/core/check.hpp"

namespace lorasb::privacy {

/// Which data sets are neighbours.
enum class Relation {
  add_remove,   // one has an example more
  replace_one,  // they differ in one example: about twice the noise for the same ε
};

/// `steps` steps that each take every example with probability `rate` (q, independent draws), add up what was clipped to norm C,
/// and add Gaussian noise of standard deviation `noise` C (σ C) to every number of the sum.
struct SubsampledGaussian {
  double rate = 1;   // q, above 0, at most 1
  double noise = 1;  // σ, above 0
  std::uint64_t steps = 1;

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(rate) && rate > 0 && rate <= 1, ErrorId::value, "SubsampledGaussian: rate is ", rate,
            ", expected above 0, at most 1");
    require(is_finite(noise) && noise > 0, ErrorId::value, "SubsampledGaussian: noise is ", noise, ", expected above 0");
    require(steps >= 1, ErrorId::value, "SubsampledGaussian: steps is 0, expected at least 1");
  }
  /// The least σ that is accounted at rates below 1. With less, ε is above 1,000 unless is_never_seen() says that it is 0.
  static constexpr double least_noise = 0.015;
  /// What validate() throws, and for a σ below that.
  void require_accountable() const {
    validate();
    require(rate == 1 || noise >= least_noise, ErrorId::value, "SubsampledGaussian: noise is ", noise, ", expected at least ",
            least_noise, ": with less, epsilon is above 1,000");
  }
};

/// Whether ε is 0 by total variation alone: an example that is hardly ever drawn, or noise that is huge. In a step it is v_i at most
/// q min(1, Δ / σ √(2 π)), Δ = 1 for add/remove and 2 for replace-one; over steps it is at most 1 - Π (1 - v_i), by a coupling of
/// each step after equal ones.
inline bool is_never_seen(std::span<const SubsampledGaussian> mechanisms, double delta, Relation relation) {
  double log_equal = 0;
  for (const SubsampledGaussian& m : mechanisms) {
    const double seen = std::min(1.0, (relation == Relation::replace_one ? 2 : 1) / (m.noise * std::sqrt(2 * std::numbers::pi)));
    log_equal += double(m.steps) * std::log1p(-m.rate * seen);  // minus infinity where a step shows it for sure
  }
  return -std::expm1(log_equal) <= delta * (1 - 1e-12);
}

/// The two distributions of one number that bound what a step tells: Q = (1 - a) N(0, σ²) + a N(-1, σ²) without the example and
/// P = (1 - q) N(0, σ²) + q N(1, σ²) with it, a = 0 for add/remove and a = q for replace-one. The privacy loss
/// L(x) = log P(x) / Q(x) rises with x.
class LossPair {
 public:
  LossPair(const SubsampledGaussian& mechanism, Relation relation)
      : q_(mechanism.rate), s_(mechanism.noise), two_sided_(relation == Relation::replace_one) {}

  double noise() const { return s_; }
  bool two_sided() const { return two_sided_; }
  double loss(double x) const { return above(x) - (two_sided_ ? above(-x) : 0); }
  /// The infimum of the loss; minus infinity where there is none.
  double lowest_loss() const { return two_sided_ || q_ == 1 ? -std::numeric_limits<double>::infinity() : std::log1p(-q_); }
  /// Where the loss is l, or minus infinity for l at or below the infimum.
  double place(double l) const {
    if (l <= lowest_loss()) return -std::numeric_limits<double>::infinity();
    if (!two_sided_) return s_ * s_ * log_odds(l) + 0.5;
    double low = -1, high = 1;
    while (loss(low) > l) low *= 2;
    while (loss(high) < l) high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-15 * (1 + std::abs(low)); ++i) {
      const double middle = 0.5 * (low + high);
      (loss(middle) < l ? low : high) = middle;
    }
    return 0.5 * (low + high);
  }
  /// Densities of P and Q times σ √(2 π).
  double density_P(double x) const { return mixture(x); }
  double density_Q(double x) const { return two_sided_ ? mixture(-x) : std::exp(-x * x / (2 * s_ * s_)); }
  /// P and Q of x' > x.
  double tail_P(double x) const { return (1 - q_) * upper(x) + q_ * upper(x - 1); }
  double tail_Q(double x) const { return two_sided_ ? (1 - q_) * upper(x) + q_ * upper(x + 1) : upper(x); }
  /// P and Q of x' < x.
  double head_P(double x) const { return (1 - q_) * upper(-x) + q_ * upper(1 - x); }
  double head_Q(double x) const { return two_sided_ ? (1 - q_) * upper(-x) + q_ * upper(-1 - x) : upper(-x); }

 private:
  double upper(double x) const { return 0.5 * std::erfc(x / (s_ * std::numbers::sqrt2)); }
  double mixture(double x) const {
    return (1 - q_) * std::exp(-x * x / (2 * s_ * s_)) + q_ * std::exp(-(x - 1) * (x - 1) / (2 * s_ * s_));
  }
  /// log((1 - q) + q e^u), u = (2 x - 1) / (2 σ²)
  double above(double x) const {
    const double u = (2 * x - 1) / (2 * s_ * s_);
    if (q_ == 1) return u;
    if (u < 30) return std::log1p(q_ * std::expm1(u));
    return std::log(q_) + u + std::log1p((1 - q_) / q_ * std::exp(-u));
  }
  /// log((e^l - (1 - q)) / q)
  double log_odds(double l) const {
    if (q_ == 1) return l;
    if (l > 30) return l + std::log1p(-(1 - q_) * std::exp(-l)) - std::log(q_);
    return std::log1p(std::expm1(l) / q_);
  }

  double q_, s_;
  bool two_sided_;
};

}  // namespace lorasb::privacy
