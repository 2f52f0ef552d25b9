// Rényi differential privacy of steps on Poisson samples, at any order.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

#include "lorasb/privacy/subsampled_gaussian.hpp"

namespace lorasb::privacy {

/// log A_α of one step, A_α = E_{z ~ N(0, σ²)}[(1 + w)^α], w = q (e^{(2z - 1) / 2σ²} - 1) (Mironov, Talwar, Zhang, arXiv 1908.10530),
/// for add/remove. Since E[w] = 0, A - 1 = E[(1 + w)^α - 1 - α w], whose integrand is never negative: nothing cancels. The
/// trapezoid rule converges faster than any power of its step. Throws ErrorId::value for α <= 1, and
/// what require_accountable() does.
inline double rdp_log_moment(const SubsampledGaussian& mechanism, double alpha) {
  mechanism.require_accountable();
  require(is_finite(alpha) && alpha > 1, ErrorId::value, "rdp_log_moment: alpha is ", alpha, ", expected above 1");
  const double q = mechanism.rate, s = mechanism.noise;
  if (q == 1) return alpha * (alpha - 1) / (2 * s * s);
  const double step = std::min(s / 8, 2 * std::numbers::pi * std::numbers::pi * s * s / (17 * std::numbers::ln10));
  const double first = -10 * s - 1, last = alpha + 10 * s + 1;
  const double log_alpha = std::log(alpha);
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;  // Σ e^term = sum e^largest
  const auto add = [&](double term) {
    if (term <= largest) {
      sum += std::exp(term - largest);
    } else {
      sum = sum * std::exp(largest - term) + 1;
      largest = term;
    }
  };
  const auto points = static_cast<std::int64_t>(std::ceil((last - first) / step));
  for (std::int64_t i = 0; i <= points; ++i) {
    const double z = first + double(i) * step, u = (2 * z - 1) / (2 * s * s), gauss = -z * z / (2 * s * s);
    const bool far = u > 600;
    const double w = far ? 0 : q * std::expm1(u);
    const double log1w = far ? std::log(q) + u + std::log1p((1 - q) / q * std::exp(-u)) : std::log1p(w);
    const double x = alpha * log1w;
    double log_f;
    if (!far && std::abs(w) * alpha < 1e-2) {
      double term = alpha * w, series = 0;  // the binomial series from its second power on
      for (int k = 2; k <= 14; ++k) series += term *= w * (alpha - k + 1) / k;
      if (!(series > 0)) continue;
      log_f = std::log(series);
    } else if (x > 50) {
      const double log_line = far ? log_alpha + log1w : std::log1p(std::max(alpha * w, 0.0));
      log_f = x + std::log1p(-std::exp(log_line - x));
    } else {
      const double f = std::expm1(x) - alpha * w;
      if (!(f > 0)) continue;
      log_f = std::log(f);
    }
    add(log_f + gauss);
  }
  const double log_excess = largest + std::log(sum * step / (s * std::sqrt(2 * std::numbers::pi)));  // log(A - 1)
  return log_excess > 40 ? log_excess + std::log1p(std::exp(-log_excess)) : std::log1p(std::exp(log_excess));
}

/// ε at one order, from the Rényi divergence of all steps together (Canonne, Kamath, Steinke, arXiv 2004.00010, proposition 12),
/// at least 0.
inline double rdp_to_epsilon(double rdp, double alpha, double delta) {
  if (delta * delta + std::expm1(-rdp) > 0) return 0;  // Bretagnolle and Huber: the total variation is below δ
  const double epsilon = rdp + std::log1p(-1 / alpha) - (std::log(delta) + std::log(alpha)) / (alpha - 1);
  return epsilon < 0 ? 0 : epsilon;  // what is not a number stays none
}

inline double rdp_epsilon_at(std::span<const SubsampledGaussian> mechanisms, double delta, double alpha) {
  double moment = 0;
  for (const SubsampledGaussian& m : mechanisms) moment += double(m.steps) * rdp_log_moment(m, alpha);
  return rdp_to_epsilon(moment / (alpha - 1), alpha, delta);
}

/// The least ε over all orders from 1 + 1e-3 to 1e5, an upper bound of the true one, for add/remove.
inline double rdp_epsilon(std::span<const SubsampledGaussian> mechanisms, double delta) {
  const auto at = [&](double log_excess) { return rdp_epsilon_at(mechanisms, delta, 1 + std::exp(log_excess)); };
  const double lowest = std::log(1e-3), highest = std::log(1e5);
  double best = std::numeric_limits<double>::infinity(), best_place = 0;
  constexpr double coarse = 0.5;
  int rising = 0;
  for (double t = lowest; t <= highest && rising < 6; t += coarse) {
    const double e = at(t);
    rising = e < best ? 0 : rising + 1;
    if (e < best) {
      best = e;
      best_place = t;
    }
  }
  double low = best_place - coarse, high = best_place + coarse;  // golden section
  constexpr double part = 0.6180339887498949;
  double a = high - part * (high - low), b = low + part * (high - low), at_a = at(a), at_b = at(b);
  while (high - low > 1e-5) {
    if (at_a <= at_b) {
      high = b;
      b = a;
      at_b = at_a;
      at_a = at(a = high - part * (high - low));
    } else {
      low = a;
      a = b;
      at_a = at_b;
      at_b = at(b = low + part * (high - low));
    }
    best = std::min({best, at_a, at_b});
  }
  return best;
}

}  // namespace lorasb::privacy
