#include "lorasb/train/noised_bases.hpp"

#include <cmath>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

/// Two modules, and examples of three tokens whose gradients lie along one direction of each, with very different sizes.
struct BasesTrial {
  Weight<float> W[2] = {random_matrix<Weight<float>>(6, 5, 1), random_matrix<Weight<float>>(4, 6, 2)};
  std::vector<Module<float>> modules{{"first", FrozenWeight<float>(W[0])}, {"second", FrozenWeight<float>(W[1])}};
  Index examples = 40;

  /// One example at a time; example `without` is left out.
  train::PartedPass<float> pass(Index without = -1, Index parts = 3) const {
    return {.run = [this, without, parts](const Layers<float>& layers, Index part) {
              Index seen = 0;
              for (Index i = part; i < examples; i += parts) {
                if (i == without) continue;
                ++seen;
                for (std::size_t m = 0; m < 2; ++m) {
                  const LinearLayer<float>& layer = *layers[m];
                  const Matrix<float> X = random_matrix<Matrix<float>>(layer.in_features(), 3, 50 + std::uint64_t(i));
                  const Matrix<float> dY = random_matrix<Matrix<float>>(layer.out_features(), 3, 90 + std::uint64_t(i)) *
                                           std::pow(10.f, float(i % 5));
                  Matrix<float> Y(layer.out_features(), 3);
                  LinearCache<float> cache;
                  layer.backward(layer.forward(X, Y, cache), dY, cache, not_wanted, not_wanted);
                }
              }
              return train::EstimationResult(seen);
            },
            .parts = parts,
            .threads = 2};
  }
};

}  // namespace

TEST_CASE("Mistake 6: clipped by module, one example moves all modules together by at most the clip") {
  const BasesTrial trial;
  const double clip = 0.7;
  const auto all = train::clipped_sums<float>(trial.modules, trial.pass(), clip);
  for (Index out = 0; out < trial.examples; ++out) {
    const auto rest = train::clipped_sums<float>(trial.modules, trial.pass(out), clip);
    double squares = 0;
    for (std::size_t m = 0; m < 2; ++m) squares += (all[m].sum() - rest[m].sum()).squaredNorm();
    CHECK(std::sqrt(squares) <= clip * (1 + 1e-4));
    CHECK(std::sqrt(squares) >= 0.9 * clip);  // every gradient here is long
  }
}

TEST_CASE("bases of noised sums are orthonormal, start at R = 0, and do not depend on threads") {
  const BasesTrial trial;
  const auto make = [&](Index parts) {
    auto sums = train::clipped_sums<float>(trial.modules, trial.pass(-1, parts), 1);
    privacy::SeededNoise noise(5);
    for (auto& sum : sums) sum.add_noise(0.5, noise);
    return train::bases_of_sums(sums, {.rank = 2, .seed = 3});
  };
  const AdapterSet<float> adapters = make(3);
  for (const char* name : {"first", "second"}) {
    const LowRankAdapter<float>& a = adapters.at(name);
    CHECK(a.R.norm() == 0);
    CHECK((a.B.transpose() * a.B - Matrix<float>::Identity(2, 2)).norm() < 1e-6);
    CHECK((a.A * a.A.transpose() - Matrix<float>::Identity(2, 2)).norm() < 1e-6);
    CHECK(a.B == make(3).at(name).B);
  }
  CHECK_ERROR(train::clipped_sums<float>({}, trial.pass(), 1), ErrorId::value, "no module");
}

TEST_CASE("Mistake 12: noised bases are charged before the first example is read, and not made without room in the budget") {
  const BasesTrial trial;
  bool touched = false;
  privacy::Ledger ledger({.population = 40, .delta = 1e-3, .budget = 1});
  train::PartedPass<float> pass = trial.pass(-1, 1);
  pass.run = [&, run = pass.run](const Layers<float>& layers, Index part) {
    CHECK(ledger.steps(1, 10) == 1);
    touched = true;
    return run(layers, part);
  };
  privacy::SeededNoise noise(5), same(5);
  CHECK_ERROR(train::noised_bases(trial.modules, pass, {.noise = 1, .adapter = {.rank = 2}}, ledger, noise), ErrorId::value, "budget");
  CHECK_FALSE(touched);
  const AdapterSet<float> made = train::noised_bases(trial.modules, pass, {.clip = 2, .adapter = {.rank = 2, .seed = 3}}, ledger, noise);
  CHECK(touched);
  CHECK_FALSE(ledger.is_private());  // the noise was seeded
  // the noise is 10 clips on every number
  auto sums = train::clipped_sums<float>(trial.modules, trial.pass(-1, 1), 2);
  for (auto& sum : sums) sum.add_noise(20, same);
  CHECK(made.at("second").B == train::bases_of_sums(sums, {.rank = 2, .seed = 3}).at("second").B);
}
