// Moments of the privacy loss of one step at complex orders.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <limits>
#include <numbers>
#include <optional>
#include <vector>

#include "lorasb/privacy/single_step.hpp"

namespace lorasb::privacy::detail {

using Complex = std::complex<double>;

inline Complex log1p(Complex z) {
  return {0.5 * std::log1p(z.real() * (2 + z.real()) + z.imag() * z.imag()), std::atan2(z.imag(), 1 + z.real())};
}
inline Complex expm1(Complex z) {
  const double half = std::sin(0.5 * z.imag());
  return {std::expm1(z.real()) * std::cos(z.imag()) - 2 * half * half, std::exp(z.real()) * std::sin(z.imag())};
}

/// E[e^{z L}] of the loss of one step, drawn from the data with the example (or, `reversed`, from those without it), with its
/// first two derivatives, along z = θ + i y: the trapezoid rule in x. Where y L'(x) is so large that e^{i y L} averages to nothing,
/// a smooth step ends the sum, so that the number of points does not grow with y.
class LossMoments {
 public:
  struct Value {
    Complex moment = 0, first = 0, second = 0;
    Complex low = 0, high = 0;  // the share of the moment that may come from losses above the cut
  };

  LossMoments(const SubsampledGaussian& mechanism, Relation relation, bool reversed, double theta)
      : pair_(mechanism, relation), q_(mechanism.rate), sign_(reversed ? -1 : 1), theta_(theta) {
    const double s = pair_.noise(), reach = 10 * s + 2 + theta;
    const double coarse = std::max(s / 4, reach / 20000);
    double largest = -std::numeric_limits<double>::infinity();
    for (double x = -reach; x <= reach; x += coarse) largest = std::max(largest, exponent(x));
    first_ = reach;
    last_ = -reach;
    for (double x = -reach; x <= reach; x += coarse)
      if (exponent(x) > largest - 46) {
        first_ = std::min(first_, x - coarse);
        last_ = std::max(last_, x + coarse);
      }
    taper_ = std::min(s / 2, s * s / 3);
    prepare(0);
  }

  /// All of the losses above `cut` is in `high`, and little of the others.
  void set_cut(double cut) {
    cut_ = cut;
    prepare(covered_);
  }
  /// Makes the rule fine enough for values up to y. Returns its points.
  std::size_t prepare_for(double y) {
    if (y > covered_) prepare(2 * y);
    return loss_.size();
  }

  Value at(double y) const {
    Value v;
    const double s = pair_.noise(), share = turns / taper_ * s * s / y;  // of the largest L', 1 / s²
    double end = std::numeric_limits<double>::infinity();
    if (y > 0 && share < 1) end = q_ == 1 ? -end : s * s * std::log(share / (1 - share) * (1 - q_) / q_) + 0.5;
    if (pair_.two_sided() && end <= 0) return v;
    for (std::size_t k = 0; k < loss_.size(); ++k) {
      const double x = first_ + double(k) * step_, beyond = ((pair_.two_sided() ? std::abs(x) : x) - end) / taper_;
      if (beyond > 5) {
        if (x > 0 || !pair_.two_sided()) break;
        continue;
      }
      const double phase = y * loss_[k], weight = beyond > -5 ? 0.5 * std::erfc(beyond) * weight_[k] : weight_[k];
      const Complex term(weight * std::cos(phase), weight * std::sin(phase));
      v.moment += term;
      v.first += loss_[k] * term;
      v.second += loss_[k] * loss_[k] * term;
      if (cut_) {
        v.high += high_[k] * term;
        v.low += (1 - high_[k]) * term;
      }
    }
    return v;
  }

 private:
  static constexpr double turns = 14;  // phase over the width of the taper at its middle

  /// log of density times e^{θ L}, up to a constant
  double exponent(double x) const {
    const double s = pair_.noise(), l = pair_.loss(x);
    // the density of Q, or that of P = Q e^L
    const double log_Q = pair_.two_sided() ? std::log(std::max(pair_.density_Q(x), 1e-320)) : -x * x / (2 * s * s);
    return sign_ > 0 ? log_Q + (theta_ + 1) * l : log_Q - theta_ * l;
  }
  void prepare(double y) {
    covered_ = y;
    const double s = pair_.noise(), pi = std::numbers::pi;
    const double fastest = std::min(y / (s * s), turns / taper_ * std::exp(5 * taper_ / (s * s)));
    const double wanted =
        std::min({s / 8, 2 * pi * pi * s * s / (17 * std::numbers::ln10), 2 * pi / (fastest + 8 / s + 12 / (s * s))});
    const auto points = static_cast<std::size_t>(std::ceil((last_ - first_) / wanted)) + 1;
    step_ = (last_ - first_) / double(points - 1);
    const double unit = step_ / (s * std::sqrt(2 * pi));
    loss_.resize(points);
    weight_.resize(points);
    high_.assign(points, 1.0);
    for (std::size_t k = 0; k < points; ++k) {
      const double x = first_ + double(k) * step_;
      loss_[k] = sign_ * pair_.loss(x);
      weight_[k] = unit * std::exp(exponent(x));
    }
    if (!cut_) return;
    const double edge = pair_.place(sign_ * *cut_);
    for (std::size_t k = 0; k < points; ++k) {
      const double x = first_ + double(k) * step_;
      high_[k] = loss_[k] > *cut_ ? 1 : 0.5 * std::erfc(-sign_ * (x - edge) / taper_ - 6);
    }
  }

  LossPair pair_;
  double q_, sign_, theta_, first_ = 0, last_ = 0, step_ = 0, covered_ = 0, taper_ = 0;
  std::optional<double> cut_;
  std::vector<double> loss_, weight_, high_;
};

}  // namespace lorasb::privacy::detail
