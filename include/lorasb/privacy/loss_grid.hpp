// The privacy loss of one step on points: a loss of finitely many values that dominates the true one.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "lorasb/privacy/subsampled_gaussian.hpp"

namespace lorasb::privacy::detail {

/// ∫ f over [a, b] of a smooth f, by eight points of Gauss and Legendre.
template <class F>
double gauss8(double a, double b, const F& f) {
  constexpr std::array<double, 4> x{0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363};
  constexpr std::array<double, 4> w{0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763};
  const double middle = 0.5 * (a + b), half = 0.5 * (b - a);
  double sum = 0;
  for (std::size_t i = 0; i < 4; ++i) sum += w[i] * (f(middle - half * x[i]) + f(middle + half * x[i]));
  return sum * half;
}

/// The loss of one step at the outcomes x_0 < x_1 < ..: of the data with the example against the data without it (`reversed`
/// false), or the other way round. What lies between two points is shared between them so that its mass under both
/// distributions stays what it is (connect the dots, Doroshenko et al., arXiv 2207.04380): the discrete loss dominates the true
/// one, whatever the points. Losses below the first point are moved up to it, those above the last to infinity.
class LossGrid {
 public:
  /// `points` outcomes in a standard deviation; less than `tail` of the distribution is beyond the first and the last of them.
  LossGrid(const SubsampledGaussian& mechanism, Relation relation, bool reversed, double points, double tail)
      : steps_(double(mechanism.steps)) {
    const LossPair pair(mechanism, relation);
    const double s = pair.noise(), reach = s * (std::sqrt(2 * std::log(1 / tail)) + 1);
    const double x_low = -(pair.two_sided() ? 1 : 0) - reach;
    double x_high = 1 + reach, inside = 0;
    for (int i = 0; i < 60; ++i) {  // with a small q much nearer than the bound
      const double middle = 0.5 * (inside + x_high);
      ((reversed ? pair.tail_Q(middle) : pair.tail_P(middle)) < tail ? x_high : inside) = middle;
    }
    const auto cells = static_cast<Eigen::Index>(std::ceil((x_high - x_low) * points / s));
    const auto place = [&](Eigen::Index i) {
      return i == cells ? x_high : x_low + (x_high - x_low) * double(i) / double(cells);
    };
    loss_.resize(cells + 2);
    mass_.setZero(cells + 2);
    const double sign = reversed ? -1 : 1, unit = 1 / (s * std::sqrt(2 * std::numbers::pi));
    for (Eigen::Index i = 0; i <= cells; ++i) loss_[i] = sign * pair.loss(place(i));
    const auto density = [&](double x) { return reversed ? pair.density_Q(x) : pair.density_P(x); };
    for (Eigen::Index i = 0; i < cells; ++i) {
      const double a = place(i), b = place(i + 1);
      const Eigen::Index lower = reversed ? i + 1 : i, upper = reversed ? i : i + 1;  // the loss rises with x, or falls
      const double low = loss_[lower], width = loss_[upper] - low;
      const double mass = unit * gauss8(a, b, density);
      double above = mass;  // what of the cell goes to its upper end
      if (width > 0) {
        const auto shared = [&](double x) {
          return density(x) * -std::expm1(-std::clamp(sign * pair.loss(x) - low, 0.0, width));
        };
        above = std::clamp(unit * gauss8(a, b, shared) / -std::expm1(-width), 0.0, mass);
      }
      mass_[lower] += mass - above;
      mass_[upper] += above;
    }
    // the tails: of losses below the points, and of those above
    const double left = reversed ? pair.head_Q(x_low) : pair.head_P(x_low);
    const double right = reversed ? pair.tail_Q(x_high) : pair.tail_P(x_high);
    mass_[reversed ? cells : 0] += reversed ? right : left;
    loss_[cells + 1] = reversed ? -pair.lowest_loss() : 0;  // where the loss is bounded, it is below infinity
    if (reversed && is_finite(pair.lowest_loss()))
      mass_[cells + 1] = left;
    else
      infinite_ = reversed ? left : right;
    keep_positive();
    log_mass_ = mass_.log();
  }

  double steps() const { return steps_; }
  double infinite() const { return infinite_; }  // mass of an infinite loss

  /// log Σ p e^{θ l}, and mean and variance of l under the distribution p e^{θ l}.
  struct Moments {
    double log_sum = 0, mean = 0, variance = 0;
  };
  Moments moments(double theta) const {
    const Eigen::ArrayXd exponent = log_mass_ + theta * loss_;
    const double largest = exponent.maxCoeff();
    const Eigen::ArrayXd p = (exponent - largest).exp();
    const double sum = p.sum(), mean = (p * loss_).sum() / sum;
    return {largest + std::log(sum), mean, (p * (loss_ - mean).square()).sum() / sum};
  }

  /// Points and masses p e^{θ l} / Σ p e^{θ l}, without those that add nothing in double precision.
  struct Tilted {
    Eigen::ArrayXd loss, mass;
  };
  Tilted tilted(double theta) const {
    Eigen::ArrayXd mass = (log_mass_ + theta * loss_ - moments(theta).log_sum).exp();
    Tilted all{loss_, std::move(mass)};
    Eigen::Index kept = 0;
    for (Eigen::Index i = 0; i < all.mass.size(); ++i)
      if (all.mass[i] > 1e-26) {
        all.loss[kept] = all.loss[i];
        all.mass[kept++] = all.mass[i];
      }
    all.loss.conservativeResize(kept);
    all.mass.conservativeResize(kept);
    return all;
  }

 private:
  void keep_positive() {
    Eigen::Index kept = 0;
    for (Eigen::Index i = 0; i < mass_.size(); ++i)
      if (mass_[i] > 0) {
        loss_[kept] = loss_[i];
        mass_[kept++] = mass_[i];
      }
    require(kept > 0, ErrorId::value, "pld_epsilon: the loss of a step has no mass that doubles can hold; is the noise far too large?");
    loss_.conservativeResize(kept);
    mass_.conservativeResize(kept);
  }

  double steps_, infinite_ = 0;
  Eigen::ArrayXd loss_, mass_, log_mass_;
};

}  // namespace lorasb::privacy::detail
