// ε of mechanisms that have a closed form: the Gaussian mechanism, and one step without composition.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "lorasb/privacy/falling_root.hpp"
#include "lorasb/privacy/subsampled_gaussian.hpp"

namespace lorasb::privacy {
namespace detail {

/// e^{x²} erfc(x) for x >= 0, right to 1e-13: the continued fraction of Laplace where erfc itself grows too small.
inline double scaled_erfc(double x) {
  if (x < 5) return std::exp(x * x) * std::erfc(x);
  double tail = x;
  for (int k = 60; k >= 1; --k) tail = x + 0.5 * k / tail;
  return 1 / (tail * std::sqrt(std::numbers::pi));
}
/// log of the probability that a standard normal number is above x.
inline double log_upper_tail(double x) {
  const double y = x / std::numbers::sqrt2;
  return y < 5 ? std::log(0.5 * std::erfc(y)) : std::log(0.5 * scaled_erfc(y)) - y * y;
}

/// ε of one step: δ(ε) = P(L > ε) - e^ε Q(L > ε), which falls.
inline double one_step_epsilon(const SubsampledGaussian& mechanism, double delta, Relation relation, bool reversed) {
  const LossPair pair(mechanism, relation);
  return falling_root([&](double e) {
    const double x = pair.place(reversed ? -e : e);
    if (reversed) return is_finite(x) ? pair.head_Q(x) - std::exp(e + std::log(pair.head_P(x))) - delta : -delta;
    return pair.tail_P(x) - std::exp(std::min(e + std::log(pair.tail_Q(x)), 0.0)) - delta;
  });
}

}  // namespace detail

/// The least ε with which a Gaussian mechanism, whose means are μ standard deviations apart, is (ε, δ)-differentially private
/// (Balle, Wang, arXiv 1805.06530, theorem 8): δ(ε) = Φ(-ε/μ + μ/2) - e^ε Φ(-ε/μ - μ/2), right to 1e-12 of its size. Gaussian
/// mechanisms compose to one: μ² adds up.
inline double gaussian_epsilon(double mu, double delta) {
  const double epsilon = detail::falling_root([&](double e) {
    const double near = e / mu - 0.5 * mu, far = e / mu + 0.5 * mu;  // e = (far² - near²) / 2
    if (near < 0) return std::exp(detail::log_upper_tail(near)) - std::exp(e + detail::log_upper_tail(far)) - delta;
    const double lost = detail::scaled_erfc(near / std::numbers::sqrt2) - detail::scaled_erfc(far / std::numbers::sqrt2);
    return 0.5 * std::exp(-0.5 * near * near) * lost - delta;
  });
  return epsilon * (1 + 1e-12);
}

}  // namespace lorasb::privacy
