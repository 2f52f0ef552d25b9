#include "lorasb/privacy/discrete_gaussian.hpp"

#include <array>
#include <concepts>
#include <map>
#include <numbers>
#include <vector>

#include "lorasb/privacy/accountant.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

static_assert(std::same_as<decltype(std::declval<DiscreteGaussian&>()()), std::int64_t>);

TEST_CASE("Mistake 14: noise on the integers has exactly the distribution that is claimed") {
  constexpr int draws = 40000;
  for (const auto& [a, b] : {std::pair<std::uint64_t, std::uint64_t>{1, 10}, {1, 1}, {100, 1}, {1000000, 1}}) {
    const double variance = double(a) / double(b), deviation = std::sqrt(variance);
    INFO("variance " << variance);
    SeededNoise source(8, a);
    DiscreteGaussian gaussian(a, b, source);
    std::map<std::int64_t, int> counts;
    double squares = 0, sum = 0;
    const auto width = std::max<std::int64_t>(1, std::int64_t(deviation / 4));  // of a bin
    const auto bin = [&](std::int64_t z) { return z >= 0 ? z / width : -((-z + width - 1) / width); };
    for (int i = 0; i < draws; ++i) {
      const std::int64_t z = gaussian();
      ++counts[bin(z)];
      squares += double(z) * double(z);
      sum += double(z);
    }
    // χ² against the exact probabilities of bins that expect at least ten
    double total = 0;
    std::map<std::int64_t, double> mass;
    for (auto z = std::int64_t(-12 * deviation - 10); z <= std::int64_t(12 * deviation + 10); ++z) {
      const double p = std::exp(-double(z) * double(z) / (2 * variance));
      mass[bin(z)] += p;
      total += p;
    }
    double chi2 = 0;
    int cells = 0;
    for (const auto& [place, p] : mass) {
      const double expected = draws * p / total;
      if (expected < 10) continue;
      const double gap = counts[place] - expected;
      chi2 += gap * gap / expected;
      ++cells;
    }
    CHECK(chi2 < cells + 5 * std::sqrt(2.0 * cells) + 3);
    CHECK(squares / draws < variance * (1 + 5 * std::sqrt(2.0 / draws)) + 1e-9);
    CHECK(std::abs(sum / draws) < 5 * deviation / std::sqrt(double(draws)));
  }
  SeededNoise source(1);
  CHECK_ERROR(DiscreteGaussian(0, 1, source), ErrorId::value, "numerator");
  CHECK_ERROR(DiscreteGaussian(1, 0, source), ErrorId::value, "denominator");
  CHECK_ERROR(DiscreteGaussian((std::uint64_t{1} << 40) + 1, 1, source), ErrorId::value, "numerator");
}

TEST_CASE("a clipped sum on the grid is integers in any order, and an example moves it by no more than its sensitivity") {
  constexpr double clip = 0.5, grid = 0x1p-10;
  Matrix<float> G = test::random_matrix<Matrix<float>>(50, 6, 3);
  G(3, 5) = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::int64_t> all(50), parts(50), none(50);
  add_clipped_columns_to_grid<float>(G, clip, grid, all);
  for (const Index i : {4, 5, 0, 3, 2, 1}) {
    const std::vector<std::int64_t> before = parts;
    add_clipped_columns_to_grid<float>(G.middleCols(i, 1), clip, grid, parts);
    double moved = 0;
    for (std::size_t k = 0; k < parts.size(); ++k) moved += std::pow(grid * double(parts[k] - before[k]), 2);
    CHECK(std::sqrt(moved) <= grid_sensitivity(clip, grid, 50));
    if (i == 5) CHECK(parts == before);  // not a number: nothing
  }
  CHECK(parts == all);
  CHECK_ERROR(add_clipped_columns_to_grid<float>(G, 0, grid, none), ErrorId::value, "max_norm is 0");
}

namespace {

constexpr std::int64_t far = 60;  // beyond it no integer has any probability below

double discrete_mass(std::int64_t z, std::int64_t center, double variance) {
  double total = 0;
  for (std::int64_t k = -far; k <= far; ++k) total += std::exp(-double(k * k) / (2 * variance));
  return std::exp(-double((z - center) * (z - center)) / (2 * variance)) / total;
}

/// δ at ε, added up over pairs of integers: of one step with an example that moves two numbers, or of two steps with one that moves
/// one. P is the distribution with the example, Q without; the larger of both orders.
double discrete_delta(double epsilon, double q, double variance, std::array<std::int64_t, 2> moved, bool two_steps) {
  double of_P = 0, of_Q = 0;
  for (std::int64_t a = -far; a <= far; ++a)
    for (std::int64_t b = -far; b <= far; ++b) {
      const double Qa = discrete_mass(a, 0, variance), Qb = discrete_mass(b, 0, variance), Q = Qa * Qb;
      const double Pa = discrete_mass(a, moved[0], variance), Pb = discrete_mass(b, moved[1], variance);
      const double P = two_steps ? ((1 - q) * Qa + q * Pa) * ((1 - q) * Qb + q * Pb) : (1 - q) * Q + q * Pa * Pb;
      of_P += std::max(0.0, P - std::exp(epsilon) * Q);
      of_Q += std::max(0.0, Q - std::exp(epsilon) * P);
    }
  return std::max(of_P, of_Q);
}

}  // namespace

TEST_CASE("Mistake 14: integers tell no more than the ledger claims of continuous noise, in several numbers and steps") {
  constexpr double variance = 9;  // of the continuous noise that is accounted
  struct Case {
    std::array<std::int64_t, 2> moved;
    bool two_steps;
  };
  for (const double q : {1.0, 0.3})
    for (const auto& [moved, two_steps] : {Case{{1, 0}, false}, Case{{2, 0}, false}, Case{{1, 1}, false}, Case{{3, 4}, false}, Case{{2, 2}, true}}) {
      const double norm = two_steps ? double(moved[0]) : std::hypot(double(moved[0]), double(moved[1]));
      const SubsampledGaussian m{.rate = q, .noise = std::sqrt(variance) / norm, .steps = two_steps ? 2u : 1u};
      bool below_without = true;
      for (const double delta : {0.1, 0.01, 1e-3, 1e-5}) {
        const double epsilon = epsilon_of({&m, 1}, delta).epsilon;
        INFO("q " << q << " moved " << moved[0] << " " << moved[1] << " delta " << delta << " epsilon " << epsilon);
        CHECK(discrete_delta(epsilon, q, variance + double(GridNoise::smoothing), moved, two_steps) <= delta);
        below_without = below_without && discrete_delta(epsilon, q, variance, moved, two_steps) <= delta;
      }
      CHECK((!below_without || q < 1));  // noise of the same variance on the integers is not enough
    }
}

TEST_CASE("Mistake 14: continuous noise, rounded at random, is discrete noise of the larger variance") {
  constexpr double variance = 4;
  for (const double s2 : {0.2, 0.35, 0.5}) {
    const double kappa = 2 * (std::exp(-2 * std::pow(std::numbers::pi, 2) * s2) + std::exp(-8 * std::pow(std::numbers::pi, 2) * s2));
    const double eta = std::log((1 + kappa) / (1 - kappa));
    double largest = 0;
    for (std::int64_t z = -8; z <= 8; ++z) {
      double mass = 0;  // ∫ N(x; 1, variance) e^{-(z - x)² / 2 s²} / Σ_k e^{-(k - x)² / 2 s²} dx
      constexpr double step = 1e-3;
      for (double x = 1 - 20.0; x <= 1 + 20.0; x += step) {
        double total = 0;
        for (auto k = std::int64_t(x) - 8; k <= std::int64_t(x) + 8; ++k) total += std::exp(-std::pow(double(k) - x, 2) / (2 * s2));
        mass += step * std::exp(-std::pow(x - 1, 2) / (2 * variance) - std::pow(double(z) - x, 2) / (2 * s2)) / total;
      }
      mass /= std::sqrt(2 * std::numbers::pi * variance);
      largest = std::max(largest, std::abs(std::log(mass / discrete_mass(z, 1, variance + s2))));
    }
    INFO("s² " << s2 << " eta " << eta << " found " << largest);
    CHECK(largest <= eta + 1e-9);
  }
  CHECK(4 * std::exp(-2 * std::pow(std::numbers::pi, 2) * double(GridNoise::smoothing)) < 1e-76);
}

TEST_CASE("every number of a sum has noise of its own, and zero data is noise alone") {
  SystemNoise source;
  std::vector<std::int64_t> sum(2000);
  add_discrete_gaussian_noise(sum, 10000, 1, source);
  double squares = 0;
  for (const std::int64_t x : sum) squares += double(x) * double(x);
  CHECK(std::sqrt(squares / 2000) == Approx(100).epsilon(0.1));
}
