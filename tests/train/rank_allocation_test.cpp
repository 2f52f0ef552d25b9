#include "lorasb/train/rank_allocation.hpp"

#include <numeric>

#include "adapter/random_adapter.hpp"
#include "lorasb/train/scout.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

double energy(const std::vector<std::vector<double>>& values, const std::vector<Index>& ranks) {
  double sum = 0;
  for (std::size_t m = 0; m < ranks.size(); ++m)
    for (Index k = 0; k < ranks[m]; ++k) sum += std::pow(values[m][std::size_t(k)], 2);
  return sum;
}
Index numbers_of(const std::vector<Index>& ranks) {
  return std::accumulate(ranks.begin(), ranks.end(), Index{0}, [](Index sum, Index r) { return sum + r * r; });
}

}  // namespace

TEST_CASE("ranks go where the energy is, and stay within the numbers") {
  CHECK(allocate_ranks({{3, 2, 1}, {3, 2, 1}}, 8) == std::vector<Index>{2, 2});       // equal modules share equally
  CHECK(allocate_ranks({{9, 9, 9}, {1, 1e-9}}, 10) == std::vector<Index>{3, 1});      // one has it all
  CHECK(allocate_ranks({{9, 8}, {9, 8}, {1, 0.1}}, 6) == std::vector<Index>{2, 1, 1});  // ties at the first
  CHECK(allocate_ranks({{1, 1}, {1}}, 100) == std::vector<Index>{2, 1});              // no more than there are
  for (const double size : {1e-200, 1e160})                                           // squares leave the range of double
    CHECK(allocate_ranks({{9 * size, 9 * size, 9 * size}, {size, 1e-9 * size}}, 10) == std::vector<Index>{3, 1});
  CHECK_ERROR(allocate_ranks({{1}, {1}}, 1), ErrorId::rank, "1 numbers for 2 modules");
  CHECK_ERROR(allocate_ranks({{1}, {}}, 5), ErrorId::rank, "module 1");
}

TEST_CASE("the greedy ranks capture nearly what the best of all ranks do") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    std::vector<std::vector<double>> values(4);
    for (std::vector<double>& of_module : values) {
      const double size = 1 + random.uniform() * 5, fall = 0.5 + 0.4 * random.uniform();
      for (int k = 0; k < 12; ++k) of_module.push_back(size * std::pow(fall, k));
    }
    const Index rank = 2 + Index(random.below(4));
    const std::vector<Index> found = allocate_ranks(values, 4 * rank * rank);
    CHECK(numbers_of(found) <= 4 * rank * rank);
    double best = 0;  // of all allocations that fit
    std::vector<Index> ranks(4, 1);
    for (ranks[0] = 1; ranks[0] <= 12; ++ranks[0])
      for (ranks[1] = 1; ranks[1] <= 12; ++ranks[1])
        for (ranks[2] = 1; ranks[2] <= 12; ++ranks[2])
          for (ranks[3] = 1; ranks[3] <= 12; ++ranks[3])
            if (numbers_of(ranks) <= 4 * rank * rank) best = std::max(best, energy(values, ranks));
    CHECK(energy(values, found) >= 0.95 * best);
  }
}

TEST_CASE("adapters are cut to their ranks, with the energies that these capture") {
  Parameters<double> weights([] {
    ParameterLayout layout;
    layout.add("large", Role::weight, 12, 10);
    layout.add("small", Role::weight, 8, 9);
    return layout;
  }());
  const Weight<double> large = random_matrix<Weight<double>>(12, 10, 1), small = 0.1 * random_matrix<Weight<double>>(8, 9, 2);
  const std::vector<Module<double>> modules{{"large", std::as_const(weights).at("large", Role::weight)},
                                            {"small", std::as_const(weights).at("small", Role::weight)}};
  const auto update_of = [&](const std::string& name) { return name == "large" ? large : small; };
  InitializedModules<double> start = initialize_from_updates<double>(modules, update_of, {.rank = 8, .krylov_steps = 30});
  allocate_ranks(start, 2 * 4 * 4);
  CHECK(start.adapters.at("large").rank() == 5);
  CHECK(start.adapters.at("small").rank() == 2);
  const InitializedModules<double> alone = initialize_from_updates<double>(modules, update_of, {.rank = 5, .krylov_steps = 30});
  CHECK((delta(start.adapters.at("large")) - delta(alone.adapters.at("large"))).norm() < 1e-6 * large.norm());
  CHECK(start.reports[0].captured_energy == Approx(delta(start.adapters.at("large")).squaredNorm() / large.squaredNorm()));
  CHECK(start.reports[1].captured_energy == Approx(delta(start.adapters.at("small")).squaredNorm() / small.squaredNorm()));
}
