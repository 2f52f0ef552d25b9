#include "lorasb/privacy/discrete_gaussian.hpp"

#include <concepts>
#include <map>
#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

static_assert(std::same_as<decltype(std::declval<DiscreteGaussian&>()()), std::int64_t>);

TEST_CASE("Row 14: noise on the integers has exactly the distribution that is claimed") {
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

TEST_CASE("every number of a sum has noise of its own, and zero data is noise alone") {
  SystemNoise source;
  std::vector<std::int64_t> sum(2000);
  add_discrete_gaussian_noise(sum, 10000, 1, source);
  double squares = 0;
  for (const std::int64_t x : sum) squares += double(x) * double(x);
  CHECK(std::sqrt(squares / 2000) == Approx(100).epsilon(0.1));
}
