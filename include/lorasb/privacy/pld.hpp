// Privacy loss distributions: ε from the distribution of the loss itself, on a grid that is fitted to the answer.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <span>
#include <unsupported/Eigen/FFT>
#include <utility>
#include <vector>

#include "lorasb/privacy/rdp.hpp"

namespace lorasb::privacy {
namespace detail {

/// The loss of one step on points k h of a grid: of the data with the example against the data without it (`reversed` false), or
/// the other way round. What lies between two points is shared between them so that its mass under both distributions stays what
/// it is (connect the dots, Doroshenko et al., arXiv 2207.04380): the discrete loss dominates the true one, whatever the points.
/// Losses below the first point are moved up to it, those above the last to infinity.
struct LossGrid {
  double width = 0;                 // h
  std::vector<std::int64_t> place;  // k of each point, rising
  std::vector<double> mass;
  double infinite = 0;  // mass of an infinite loss
  std::uint64_t steps = 1;

  double at(std::size_t i) const { return double(place[i]) * width; }
  /// log Σ p e^{θ l}, about its largest term.
  double log_moment(double theta) const {
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::size_t i = 0; i < mass.size(); ++i) {
      if (!(mass[i] > 0)) continue;
      const double term = std::log(mass[i]) + theta * at(i);
      if (term > largest) {
        sum = sum * std::exp(largest - term) + 1;
        largest = term;
      } else {
        sum += std::exp(term - largest);
      }
    }
    return largest + std::log(sum);
  }
};

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

/// Points of the grid from below `lowest` to above `highest`. With q < 1 the loss of most outcomes is close to its infimum
/// ± log(1 - q), and that of the others spans many powers of ten: points are as far apart as a small share of the distance to it.
inline std::vector<std::int64_t> grid_points(double lowest, double highest, double h, double infimum, double noise) {
  const auto last = static_cast<std::int64_t>(std::ceil(highest / h));
  const double share = is_finite(infimum) ? 1 / (64 * std::clamp(noise, 8.0, 1000.0)) : 0;
  std::vector<std::int64_t> points{static_cast<std::int64_t>(std::floor(lowest / h))};
  while (points.back() < last) {
    const double at = double(points.back()), from = is_finite(infimum) ? infimum / h : 0;
    // away from the infimum a step is a share of the distance; towards it, one that does not jump over it
    const double step = at >= from ? (at - from) * share : std::min((from - at) * share / (1 + share), from - at);
    points.push_back(std::min(last, points.back() + std::max<std::int64_t>(1, static_cast<std::int64_t>(step))));
  }
  return points;
}

inline LossGrid loss_grid(const SubsampledGaussian& mechanism, Relation relation, bool reversed, double h, double tail) {
  const LossPair pair(mechanism, relation);
  const double s = pair.noise();
  // Beyond x_low and x_high there is less than `tail` of the distribution that the loss is drawn from.
  const double reach = s * (std::sqrt(2 * std::log(1 / tail)) + 1);
  const double x_low = -(pair.two_sided() ? 1 : 0) - reach;
  double x_high = 1 + reach, inside = 0;
  for (int i = 0; i < 60; ++i) {  // with a small q much nearer than the bound
    const double middle = 0.5 * (inside + x_high);
    ((reversed ? pair.tail_Q(middle) : pair.tail_P(middle)) < tail ? x_high : inside) = middle;
  }
  const double sign = reversed ? -1 : 1;
  double lowest = pair.loss(x_low), highest = pair.loss(x_high);
  if (reversed) {
    std::swap(lowest, highest);
    lowest = -lowest;
    highest = -highest;
  }
  LossGrid grid{.width = h,
                .place = grid_points(lowest, highest, h, sign * pair.lowest_loss(), s),
                .mass = {},
                .infinite = 0,
                .steps = mechanism.steps};
  grid.mass.assign(grid.place.size(), 0.0);
  const double unit = 1 / (s * std::sqrt(2 * std::numbers::pi));
  // x at a grid point, within the reach; beyond it the loss is at the grid's ends
  const auto place = [&](std::size_t i) { return std::clamp(pair.place(sign * grid.at(i)), x_low, x_high); };
  double before = place(0);
  for (std::size_t i = 0; i + 1 < grid.place.size(); ++i) {
    const double after = place(i + 1), a = std::min(before, after), b = std::max(before, after);
    const double low = grid.at(i), width = grid.at(i + 1) - low;
    before = after;
    if (!(b > a)) continue;
    double mass = 0, above = 0;  // of the cell, and what of it goes to its upper end
    const auto numerator = [&](double x) { return reversed ? pair.density_Q(x) : pair.density_P(x); };
    const int pieces = std::max(1, static_cast<int>(std::ceil((b - a) / (0.5 * std::min(s, 1.0)))));
    for (int piece = 0; piece < pieces; ++piece) {
      const double from = a + (b - a) * piece / pieces, to = a + (b - a) * (piece + 1) / pieces;
      mass += gauss8(from, to, numerator);
      above += gauss8(from, to, [&](double x) {
        return numerator(x) * -std::expm1(-std::clamp(sign * pair.loss(x) - low, 0.0, width));
      });
    }
    mass *= unit;
    above = std::clamp(above * unit / -std::expm1(-width), 0.0, mass);
    grid.mass[i] += mass - above;
    grid.mass[i + 1] += above;
  }
  // the tails: losses below the grid move up to it, losses above it are infinite
  const double left = reversed ? pair.head_Q(x_low) : pair.head_P(x_low);
  const double right = reversed ? pair.tail_Q(x_high) : pair.tail_P(x_high);
  grid.mass.front() += reversed ? right : left;
  if (reversed && is_finite(pair.lowest_loss()))
    grid.mass.back() += left;  // the loss is at most -log(1 - q); the last point is not below the loss at x_low
  else
    grid.infinite = reversed ? left : right;
  return grid;
}

/// The least ε >= 0 with δ(ε) <= delta of grids of one width composed. Infinity when the grid cannot tell.
inline double composed_epsilon(const std::vector<LossGrid>& grids, double delta, std::size_t max_bins) {
  const double h = grids[0].width;
  double log_finite = 0;
  for (const LossGrid& g : grids) log_finite += double(g.steps) * std::log1p(-g.infinite);
  const double infinite = -std::expm1(log_finite), wanted = delta - infinite;
  if (!(wanted > 0)) return std::numeric_limits<double>::infinity();
  const auto K = [&](double theta) {
    double sum = 0;
    for (const LossGrid& g : grids) sum += double(g.steps) * g.log_moment(theta);
    return sum;
  };
  // The tilt: the θ at which the saddle point's estimate of δ(K'(θ)) is delta.
  struct Saddle {
    double theta, mean, deviation, log_moment, log_delta;
  };
  const auto saddle = [&](double theta) {
    const double d = 1e-3 * theta, low = K(theta - d), middle = K(theta), high = K(theta + d);
    const double mean = (high - low) / (2 * d), variance = std::max((high - 2 * middle + low) / (d * d), 1e-300);
    const double spread = std::sqrt(variance);
    const double log_delta = middle - theta * mean - std::log(theta * (theta + 1)) -
                             0.5 * std::log(2 * std::numbers::pi * (variance + 1 / ((theta + 1) * (theta + 1))));
    return Saddle{theta, mean, spread, middle, log_delta};
  };
  double low = std::log(1e-4), high = std::log(1e6);
  for (int i = 0; i < 40; ++i) {
    const double t = 0.5 * (low + high);
    (saddle(std::exp(t)).log_delta > std::log(wanted) ? low : high) = t;
  }
  const Saddle at = saddle(std::exp(0.5 * (low + high)));
  // The window: all but 1e-14 of the tilted sum, by Chernoff.
  const auto reach = [&](double direction) {
    double best = 40 * at.deviation;
    for (double lambda = 0.05 / at.deviation; lambda < 60 / at.deviation; lambda *= 1.5) {
      const double shifted = at.theta + direction * lambda;
      const double bound = (33 + K(shifted) - at.log_moment - direction * lambda * at.mean) / lambda;
      if (is_finite(bound)) best = lambda == 0.05 / at.deviation ? bound : std::min(best, bound);
    }
    return std::max(best, 4 * h);
  };
  const double below = reach(-1), beyond = reach(1);
  const auto bins_needed = (below + beyond) / h + 8;
  if (!(bins_needed < double(max_bins))) return std::numeric_limits<double>::infinity();
  std::size_t n = 16;
  while (double(n) < bins_needed) n *= 2;
  const auto window = static_cast<std::int64_t>(std::floor((at.mean - below) / h));
  // Each tilted step on a ring of n points, composed in the frequency domain.
  Eigen::FFT<double> fft;
  std::vector<std::complex<double>> product(n, 1), spectrum;
  std::vector<double> ring(n);
  for (const LossGrid& g : grids) {
    std::ranges::fill(ring, 0.0);
    const double norm = g.log_moment(at.theta);
    const auto size = static_cast<std::int64_t>(n);
    for (std::size_t i = 0; i < g.mass.size(); ++i)
      if (g.mass[i] > 0) {
        const std::int64_t place = (g.place[i] % size + size) % size;
        ring[static_cast<std::size_t>(place)] += std::exp(std::log(g.mass[i]) + at.theta * g.at(i) - norm);
      }
    std::vector<std::complex<double>> input(ring.begin(), ring.end());
    fft.fwd(spectrum, input);
    for (std::size_t i = 0; i < n; ++i)
      product[i] *= spectrum[i] == 0.0 ? 0.0 : std::exp(double(g.steps) * std::log(spectrum[i]));
  }
  fft.inv(spectrum, product);
  // δ(ε) = infinite + e^{K - θ c} Σ_{l > ε} p(l) e^{-θ (l - c)} (1 - e^{ε - l}), about the middle c of the window
  const double c = at.mean, log_scale = at.log_moment - at.theta * c;
  double S0 = 0, S1 = 0;  // of the points above: Σ p e^{-θ (l - c)}, and with e^{-(l - c)} as well
  double log_wanted = std::log(wanted) - log_scale;
  for (std::size_t j = n; j-- > 0;) {
    const std::int64_t k = window + static_cast<std::int64_t>(j);
    const auto size = static_cast<std::int64_t>(n);
    const double l = double(k) * h;
    const double p = std::max(spectrum[static_cast<std::size_t>((k % size + size) % size)].real(), 0.0);
    // between this point and the one above δ falls from S0 - e^{l - c} S1: is it above what is wanted here?
    const double here = S0 - std::exp(l - c) * S1;
    if (here > 0 && std::log(here) >= log_wanted) {  // the root lies between l and l + h: S0 - e^{ε - c} S1 = wanted
      const double e = (S0 - std::exp(log_wanted)) / S1;
      return std::max(0.0, e > 0 ? c + std::log(e) : l);
    }
    if (l <= 0) return 0;
    const double tilt = std::exp(-at.theta * (l - c));
    S0 += p * tilt;
    S1 += p * tilt * std::exp(-(l - c));
  }
  return std::max(0.0, double(window) * h);
}

}  // namespace detail

struct PldOptions {
  std::size_t max_bins = std::size_t{1} << 22;  // of a grid
  double accuracy = 5e-5;                       // grids are refined until ε changes by less than this share
};

/// An upper bound of ε by construction, close to the true one. Throws ErrorId::value.
inline double pld_epsilon(std::span<const SubsampledGaussian> mechanisms, double delta, Relation relation = Relation::add_remove,
                          const PldOptions& options = {}) {
  double steps = 0;
  for (const SubsampledGaussian& m : mechanisms) {
    m.validate();
    steps += double(m.steps);
  }
  if (relation == Relation::add_remove && rdp_epsilon(mechanisms, delta) == 0) return 0;
  const double tail = 2e-5 * delta / steps;
  double worst = 0;
  for (const bool reversed : {false, true}) {
    if (reversed && relation == Relation::replace_one) break;  // both orders are the same
    double best = std::numeric_limits<double>::infinity(), last = best;
    double spread = 0;  // of all losses together
    for (const SubsampledGaussian& m : mechanisms) {
      const double q = m.rate, by_noise = std::min(std::expm1(std::min(1 / (m.noise * m.noise), 600.0)), 1e12);
      spread += double(m.steps) * std::min(q * q * by_noise, 1 / (m.noise * m.noise) + 1);
    }
    double h = std::sqrt(spread) / 50;
    for (int refined = 0; refined < 24; ++refined, h /= 2) {
      std::vector<detail::LossGrid> grids;
      for (const SubsampledGaussian& m : mechanisms) {
        const LossPair pair(m, relation);
        const double reach = m.noise * (std::sqrt(2 * std::log(1 / tail)) + 1);
        if (!is_finite(pair.lowest_loss()) && (pair.loss(1 + reach) - pair.loss(-1 - reach)) / h > double(options.max_bins)) break;
        grids.push_back(detail::loss_grid(m, relation, reversed, h, tail));
      }
      if (grids.size() < mechanisms.size()) break;
      const double found = detail::composed_epsilon(grids, delta, options.max_bins);
      best = std::min(best, found);
      if (best <= worst) break;  // a bound below what the other order has: this one decides nothing
      if (is_finite(found) && is_finite(last) && std::abs(found - last) <= options.accuracy * found + 1e-9) break;
      last = found;
    }
    worst = std::max(worst, best);
  }
  return worst;
}

}  // namespace lorasb::privacy
