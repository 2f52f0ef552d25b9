// ε without a grid: δ(ε) as a contour integral of the moments of the privacy loss.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <span>
#include <vector>

#include "lorasb/privacy/loss_moments.hpp"
#include "lorasb/privacy/single_step.hpp"

namespace lorasb::privacy {
namespace detail {

struct GaussRule {
  std::array<double, 8> x{0.0950125098376374, 0.2816035507792589, 0.4580167776572274, 0.6178762444026438,
                          0.7554044083550030, 0.8656312023878318, 0.9445750230732326, 0.9894009349916499};
  std::array<double, 8> w{0.1894506104550685, 0.1826034150449236, 0.1691565193950025, 0.1495959888165767,
                          0.1246289712555339, 0.0951585116824928, 0.0622535239386479, 0.0271524594117541};
};

/// The integrand along Re z = θ, on panels of Gauss and Legendre that follow its phase.
class Contour {
 public:
  /// Nothing when it does not end before `work`, terms so far, is too much. Good for ε from 0.8 `guess`.
  static std::optional<Contour> along(std::span<const SubsampledGaussian> mechanisms, Relation relation, bool reversed,
                                      double theta, double guess, double steps, double& work) {
    Contour c(guess);
    std::vector<LossMoments> moments;
    bool cut = true;
    for (const SubsampledGaussian& m : mechanisms) {
      moments.emplace_back(m, relation, reversed, theta);
      cut = cut && m.rate < 1 && relation == Relation::add_remove;
    }
    // Sums of losses that are each below ε / steps are below ε: they add nothing to δ, but to the integrand its slowest part.
    // Their moment is taken out.
    if (cut)
      for (LossMoments& m : moments) m.set_cut(0.8 * guess / steps);
    struct Panel {
      std::vector<Node> nodes;
      Complex sum = 0;
      double largest = 0;
    };
    const GaussRule gauss;
    const auto panel = [&](double y, double width) {
      Panel p;
      for (std::size_t i = 0; i < 16; ++i) {
        const Complex z(theta, y + 0.5 * width * (1 + (i % 2 == 0 ? 1 : -1) * gauss.x[i / 2]));
        const Complex value = integrand(mechanisms, moments, z, guess, cut);
        p.largest = std::max(p.largest, std::abs(value));
        p.nodes.push_back({z, value * (0.5 * width * gauss.w[i / 2] / std::numbers::pi)});
        p.sum += p.nodes.back().value;
      }
      return p;
    };
    double total = 0, width = 0.25 * theta;
    int quiet = 0;
    for (double y = 0; quiet < 3;) {
      width = std::min(1.5 * width, 0.7 * std::abs(Complex(theta, y)));
      std::size_t points = 0;
      for (LossMoments& m : moments) points += m.prepare_for(y + width);
      Panel whole = panel(y, width);
      for (;;) {  // halves until both agree with the whole
        Panel left = panel(y, 0.5 * width), right = panel(y + 0.5 * width, 0.5 * width);
        work += 40 * double(points);
        if (!(work < 8e7)) return std::nullopt;
        if (std::abs(left.sum + right.sum - whole.sum) <= 1e-9 * std::max(std::abs(total), std::abs(whole.sum.real()))) {
          c.nodes_.insert(c.nodes_.end(), left.nodes.begin(), left.nodes.end());
          c.nodes_.insert(c.nodes_.end(), right.nodes.begin(), right.nodes.end());
          total += (left.sum + right.sum).real();
          break;
        }
        width *= 0.5;
        whole = std::move(left);
      }
      y += width;
      quiet = whole.largest * y < 1e-9 * std::abs(total) ? quiet + 1 : 0;
    }
    return c;
  }

  double delta(double epsilon) const {
    double sum = 0;
    for (const Node& n : nodes_) sum += (n.value * std::exp(-n.z * (epsilon - guess_))).real();
    return sum;
  }
  /// dδ / dε
  double slope(double epsilon) const {
    double sum = 0;
    for (const Node& n : nodes_) sum -= (n.z * n.value * std::exp(-n.z * (epsilon - guess_))).real();
    return sum;
  }

 private:
  struct Node {
    Complex z, value;  // value: of the integrand at ε = guess, times its weight
  };
  explicit Contour(double guess) : guess_(guess) {}

  static Complex integrand(std::span<const SubsampledGaussian> mechanisms, const std::vector<LossMoments>& moments, Complex z,
                           double guess, bool cut) {
    // logarithms: of the whole, and of what the losses below the cut give; `more` is their difference
    Complex all = -z * guess, low = all, more = 0;
    for (std::size_t j = 0; j < moments.size(); ++j) {
      const LossMoments::Value v = moments[j].at(z.imag());
      const double T = double(mechanisms[j].steps);
      if (v.moment == 0.0) return 0;
      all += T * std::log(v.moment);
      if (!cut) continue;
      low += v.low == 0.0 ? Complex(-1e300) : T * std::log(v.low);
      more += v.low == 0.0 ? Complex(1e300) : T * log1p(v.high / v.low);
    }
    const Complex value = !cut ? std::exp(all) : std::abs(more) < 1 ? std::exp(low) * expm1(more) : std::exp(all) - std::exp(low);
    return value / (z * (z + 1.0));
  }

  double guess_;
  std::vector<Node> nodes_;
};

/// The ε of one order of the two data sets; nothing where the integral does not converge with the work allowed.
inline std::optional<double> contour_epsilon(std::span<const SubsampledGaussian> mechanisms, double delta, Relation relation,
                                             bool reversed) {
  double steps = 0, highest = 0;  // Σ of suprema of the losses
  for (const SubsampledGaussian& m : mechanisms) {
    steps += double(m.steps);
    highest += reversed && relation == Relation::add_remove && m.rate < 1 ? -double(m.steps) * std::log1p(-m.rate)
                                                                          : std::numeric_limits<double>::infinity();
  }
  if (steps == 1) return one_step_epsilon(mechanisms[0], delta, relation, reversed);

  // K and its derivatives at a real θ
  struct Cumulants {
    double K = 0, mean = 0, variance = 0;
  };
  const auto cumulants = [&](double theta) {
    Cumulants c;
    for (const SubsampledGaussian& m : mechanisms) {
      const LossMoments::Value v = LossMoments(m, relation, reversed, theta).at(0);
      const double first = v.first.real() / v.moment.real(), T = double(m.steps);
      c.K += T * std::log(v.moment.real());
      c.mean += T * first;
      c.variance += T * std::max(v.second.real() / v.moment.real() - first * first, 0.0);
    }
    return c;
  };
  // The root of a function of θ that falls from above 0.
  const auto root = [](const auto& f) {
    double low = std::log(1e-3), high = low;
    do high += 1;
    while (high < std::log(1e6) && f(std::exp(high)) > 0);
    low = high - 1;
    for (int i = 0; i < 22; ++i) {
      const double t = 0.5 * (low + high);
      (f(std::exp(t)) > 0 ? low : high) = t;
    }
    return std::exp(0.5 * (low + high));
  };
  // A first guess by the saddle point's estimate of δ(K'(θ)).
  const double first = root([&](double theta) {
    const Cumulants c = cumulants(theta);
    return c.K - theta * c.mean - std::log(theta * (theta + 1)) -
           0.5 * std::log(2 * std::numbers::pi * (c.variance + 1 / (theta * theta))) - std::log(delta);
  });
  double guess = std::min(cumulants(first).mean, 0.999 * highest);
  if (!(guess > 0)) guess = 1e-3 * std::sqrt(cumulants(first).variance);
  double work = 0;
  for (int attempt = 0; attempt < 40; ++attempt) {
    // the saddle point of the integrand: K' - ε - 1/θ - 1/(θ + 1) = 0
    const double theta =
        root([&](double t) { return guess + 1 / t + 1 / (t + 1) - cumulants(t).mean; });
    const std::optional<Contour> contour = Contour::along(mechanisms, relation, reversed, theta, guess, steps, work);
    if (!contour) return std::nullopt;
    double e = guess;
    for (int i = 0; i < 60; ++i) {
      const double d = contour->delta(e), slope = contour->slope(e);
      if (!(d > 0) || !(slope < 0)) return std::nullopt;
      const double step = d * std::log(d / delta) / -slope;
      e = std::clamp(e + step, 0.3 * guess, 2 * guess);
      if (std::abs(step) < 1e-13 * e || e == 0.3 * guess || e == 2 * guess) break;
    }
    if (e > 0.8 * guess && e < 1.3 * guess) return e;
    if (e >= 0.999 * highest) return highest;
    guess = e;
    // below any ε that matters: is δ(0) within what is asked for?
    if (guess < 1e-12) return 0;
  }
  return std::nullopt;
}

}  // namespace detail

/// The true ε, not a bound: δ(ε) = 1 / (2 π i) ∫ exp(Σ_j T_j K_j(z) - z ε) / (z (z + 1)) dz along Re z = θ > 0, where K_j is the
/// cumulant function of the loss of mechanism j and θ the saddle point (after Zhu, Dong, Wang, arXiv 2106.08567). The larger of
/// both orders of the data sets, right to 1e-6 of its size. Nothing where the integral does not converge in about a second: at
/// rates near 1e-6 the loss is nearly an atom, and δ is lost in the rounding of its moment. Throws ErrorId::value for a mechanism
/// out of range.
inline std::optional<double> exact_epsilon(std::span<const SubsampledGaussian> mechanisms, double delta,
                                           Relation relation = Relation::add_remove) {
  double worst = 0, variance = 0;
  bool all = true;  // every step takes every example: together a Gaussian mechanism
  for (const SubsampledGaussian& m : mechanisms) {
    m.require_accountable();
    all = all && m.rate == 1;
    variance += double(m.steps) * (relation == Relation::replace_one ? 4 : 1) / (m.noise * m.noise);
  }
  if (all && !mechanisms.empty()) return gaussian_epsilon(std::sqrt(variance), delta);
  for (const bool reversed : {false, true}) {
    if (reversed && relation == Relation::replace_one) break;  // both orders are the same
    const std::optional<double> found = detail::contour_epsilon(mechanisms, delta, relation, reversed);
    if (!found) return std::nullopt;
    worst = std::max(worst, *found);
  }
  return worst;
}

}  // namespace lorasb::privacy
