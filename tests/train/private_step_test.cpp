#include "lorasb/train/private_step.hpp"

#include <vector>

#include "lorasb/optim/sgd.hpp"
#include "lorasb/train/sampler.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using privacy::ClippedSum;
using privacy::Ledger;
using privacy::PoissonBatches;
using privacy::SamplingScheme;
using privacy::SeededNoise;
using privacy::SystemNoise;

namespace {

constexpr std::uint64_t people = 100;

/// A step over gradients that a test makes: the columns of G.
struct Trial {
  SeededNoise draws{5, 0}, source{5, 1};
  Ledger ledger{{.population = people, .delta = 1e-5}};
  PoissonBatches batches{Index(people), 0.05, draws};
  PrivateStep<double> step;
  Vector<double> values;

  Trial(Index size, double c, double sigma)
      : step(size, 1, 1, {.clip = c, .noise = sigma, .origin = Origin::no_data}, ledger, batches, source),
        values(Vector<double>::Zero(size)) {
    ledger.reserve(batches.scheme(), batches.rate(), sigma, 1000);
  }
  /// How far one step at rate 1 goes.
  Vector<double> move(const std::vector<Matrix<double>>& pieces) {
    optim::Sgd<double> sgd(values.size());
    const Vector<double> before = values;
    step.charge();
    for (const Matrix<double>& G : pieces)
      step.accumulate(G.cols(), [&](Index, Index first, Index count, const ClippedSum<double>& sum) {
        sum.add(G.middleCols(first, count));
      });
    CHECK(step.apply(flat(values), sgd, 1).status == StepStatus::updated);
    return before - values;
  }
};

constexpr double quiet = 1e-9;  // so little noise that sums are seen

}  // namespace

TEST_CASE("Mistake 1: the divisor is the expected size of a batch, not the one that was drawn") {
  for (const Index size : {3, 7}) {
    const Matrix<double> G = 0.01 * test::random_matrix<Matrix<double>>(4, size, 1);
    Matrix<double> more = Matrix<double>::Zero(4, size + 1);
    more.leftCols(size) = G;
    Trial trial(4, 1, quiet), with_zero(4, 1, quiet);
    const Vector<double> expected = G.rowwise().sum() / 5.0;
    CHECK((trial.move({G}) - expected).norm() < 1e-7);
    CHECK((with_zero.move({more}) - expected).norm() < 1e-7);
  }
}

TEST_CASE("Mistake 2: an empty batch is a step of noise alone, and is accounted") {
  Trial trial(100000, 0.5, 2);
  const Vector<double> found = trial.move({Matrix<double>(100000, 0)});
  CHECK(trial.ledger.steps() == 1);
  CHECK(std::sqrt(found.squaredNorm() / 1e5) == Approx(2 * 0.5 / 5).epsilon(0.01));
}

TEST_CASE("Mistake 5: each example is clipped, not the mean of a batch") {
  Matrix<double> G = Matrix<double>::Zero(3, 10);
  G(0, 0) = 1e6;
  for (Index i = 1; i < 10; ++i) G(1, i) = 0.01;
  Trial trial(3, 0.5, quiet);
  const Vector<double> sum = trial.move({G}) * 5;
  CHECK(sum(0) == Approx(0.5));
  CHECK(sum(1) == Approx(0.09));
}

TEST_CASE("Mistake 8: an example that is NaN, infinite or huge adds nothing or its clipped share") {
  Matrix<double> G = Matrix<double>::Constant(2, 5, 0.1);
  G(0, 1) = std::numeric_limits<double>::quiet_NaN();
  G(1, 2) = std::numeric_limits<double>::infinity();
  G.col(3).setConstant(1e200);
  G.col(4).setZero();
  Trial trial(2, 1, quiet);
  const Vector<double> sum = trial.move({G}) * 5;
  CHECK(sum(0) == Approx(0.1 + std::sqrt(0.5)).epsilon(1e-6));
  CHECK(sum(1) == Approx(0.1 + std::sqrt(0.5)).epsilon(1e-6));
}

TEST_CASE("Mistakes 9 and 10: a batch in pieces has one draw of noise with the deviation of the sum, and is one step in the ledger") {
  Trial trial(100000, 2, 3);
  const Matrix<double> none = Matrix<double>::Zero(100000, 2);
  const Vector<double> found = trial.move({none, none, none, none});
  CHECK(trial.ledger.steps() == 1);
  CHECK(std::sqrt(found.squaredNorm() / 1e5) == Approx(3 * 2 / 5.0).epsilon(0.01));
}

TEST_CASE("Mistake 11: loss and label of an example reach nothing but the noised sum") {
  const Matrix<double> G = Matrix<double>::Constant(2, 3, 10), other = -G;  // clipped to the opposite
  Trial one(2, 1, 1), two(2, 1, 1);
  const Vector<double> a = one.move({G}), b = two.move({other});
  const Vector<double> difference = a - b, expected = Vector<double>::Constant(2, 2 * 3 * std::sqrt(0.5) / 5);
  CHECK((difference - expected).norm() < 1e-12);  // the same noise: only the sum differs
  CHECK(one.ledger.text() == two.ledger.text());
}

TEST_CASE("Mistake 14: a discrete step moves on the grid alone, by the sum of the rounded gradients and noise of that size") {
  SeededNoise draws(5, 0), source(5, 1);
  Ledger ledger({.population = people, .delta = 1e-5});
  PoissonBatches batches(Index(people), 0.05, draws);
  constexpr Index size = 20000;
  for (const double noise : {1e-3, 2.0}) {
    PrivateStep<double> step(size, 2, 1, {.clip = 0.5, .noise = noise, .kind = NoiseKind::discrete, .origin = Origin::no_data}, ledger,
                             batches, source);
    const privacy::GridNoise& on = step.on_grid();
    CHECK(on.sensitivity >= 0.5 + 0.5 * on.grid * std::sqrt(double(size)));
    CHECK(on.sensitivity < 0.51);
    CHECK(std::sqrt(double(on.variance - privacy::GridNoise::smoothing)) * on.grid >= noise * on.sensitivity);
    CHECK(std::sqrt(double(on.variance)) * on.grid < noise * on.sensitivity * (1 + 1e-6));
    ledger.reserve(batches.scheme(), batches.rate(), noise, 1);
    step.charge();
    Matrix<double> G = test::random_matrix<Matrix<double>>(size, 3, 4);
    G(7, 2) = std::numeric_limits<double>::quiet_NaN();
    for (const Index i : {0, 1, 2})  // in pieces, one draw of noise
      step.accumulate(1, [&](Index, Index, Index, const ClippedSum<double>& sum) {
        CHECK(sum.numbers().empty());
        sum.add(G.middleCols(i, 1));
      });
    Vector<double> values = Vector<double>::Zero(size);
    optim::Sgd<double> sgd(size);
    CHECK(step.apply(flat(values), sgd, 5).status == StepStatus::updated);  // 5 is the divisor
    double squares = 0;
    for (Index i = 0; i < size; ++i) {
      const double found = -values(i), places = found / on.grid;
      CHECK(std::abs(places - std::round(places)) < 1e-6);
      const double sum = 0.5 * (G(i, 0) / G.col(0).norm() + G(i, 1) / G.col(1).norm());
      squares += std::pow(found - sum, 2);
    }
    CHECK(std::sqrt(squares / double(size)) == Approx(noise * on.sensitivity).epsilon(0.03));
    CHECK_ERROR(step.accumulate(1, [](Index, Index, Index, const ClippedSum<double>&) {}), ErrorId::value, "charge");
  }
}

TEST_CASE("Mistake 5: an example that is added again after a pass broke down counts once, on a grid too") {
  for (const NoiseKind kind : {NoiseKind::continuous, NoiseKind::discrete}) {
    SeededNoise draws(5, 0), source(5, 1);
    Ledger ledger({.population = people, .delta = 1e-5});
    PoissonBatches batches(Index(people), 0.05, draws);
    PrivateStep<double> step(1, 1, 1, {.clip = 1, .noise = 1e-6, .kind = kind, .origin = Origin::no_data}, ledger, batches, source);
    ledger.reserve(batches.scheme(), batches.rate(), 1e-6, 1);
    step.charge();
    const Matrix<double> G = Matrix<double>::Constant(1, 1, 10);
    const auto add = [&](bool breaks) {
      step.accumulate(1, [&](Index, Index, Index, const ClippedSum<double>& sum) {
        sum.add(G);
        if (breaks) throw Error(ErrorId::value, "the light went out");
      });
    };
    CHECK_ERROR(add(true), ErrorId::value, "light");
    add(false);
    Vector<double> value = Vector<double>::Zero(1);
    optim::Sgd<double> sgd(1);
    step.apply(flat(value), sgd, 5);  // 5 is the divisor
    CHECK(value(0) == Approx(-1).epsilon(1e-3));
  }
}

TEST_CASE("a step that was not charged touches no data, and one too many is refused before it does") {
  SystemNoise system;
  PoissonBatches batches(Index(people), 0.05, system);
  Ledger ledger({.population = people, .delta = 1e-5});
  PrivateStep<double> step(1, 1, 1, {.clip = 1, .noise = 1, .origin = Origin::no_data}, ledger, batches, system);
  bool touched = false;
  const auto pass = [&](Index, Index, Index, const ClippedSum<double>&) { touched = true; };
  CHECK_ERROR(step.accumulate(1, pass), ErrorId::value, "charge");
  CHECK_ERROR(step.charge(), ErrorId::value, "reserved");
  CHECK_FALSE(touched);
  ledger.reserve(batches.scheme(), batches.rate(), 1, 1);
  step.charge();
  step.accumulate(1, pass);
  Vector<double> value = Vector<double>::Zero(1);
  optim::Sgd<double> sgd(1);
  step.apply(flat(value), sgd, 1);
  CHECK(touched);
  CHECK(ledger.is_private());
  CHECK_ERROR(step.charge(), ErrorId::value, "reserved");
}

TEST_CASE("Mistakes 3 and 4: shuffled batches are not accounted as Poisson samples") {
  const ShuffledBatches shuffled(10, 2, 1);
  Ledger ledger({.population = people, .delta = 1e-5});
  CHECK_ERROR(ledger.reserve(shuffled.scheme(), 0.2, 1, 1), ErrorId::value, "shuffled");
  CHECK_ERROR(ledger.charge(shuffled.scheme(), 0.2, 1, true), ErrorId::value, "shuffled");
}

TEST_CASE("Mistake 22: what an audit finds stays below the claim, and exceeds it when half of the noise is missing") {
  // One step at q = 1: the canary adds C to the first number. The best test on it is a threshold; at the claimed (ε, δ) its power is
  // at most e^ε FPR + δ.
  constexpr double sigma = 1, delta = 0.1;
  constexpr int runs = 1000;
  const privacy::SubsampledGaussian one{.rate = 1, .noise = sigma, .steps = 1};
  const double claim = privacy::epsilon_of({&one, 1}, delta).epsilon;
  for (const double share : {1.0, 0.5}) {
    SeededNoise source(77);
    const auto output = [&](bool canary) {
      Vector<double> sum = Vector<double>::Zero(4);
      if (canary) sum(0) = 1;
      privacy::add_gaussian_noise<double>(flat(sum), share * sigma, source);
      return sum(0);
    };
    int caught = 0, false_alarms = 0;
    for (int i = 0; i < runs; ++i) {
      caught += output(true) > 0.75;
      false_alarms += output(false) > 0.75;
    }
    // Clopper and Pearson at 95 %, by bisection on the binomial tail
    const auto tail_at_least = [](int k, double p) {
      double log_term = runs * std::log1p(-p), sum = 0;
      for (int i = 0; i <= runs; ++i) {
        if (i >= k) sum += std::exp(log_term);
        log_term += std::log(double(runs - i)) - std::log(double(i + 1)) + std::log(p) - std::log1p(-p);
      }
      return sum;
    };
    double low = 0, high = 1;
    for (int i = 0; i < 50; ++i) {
      const double p = 0.5 * (low + high);
      (tail_at_least(caught, p) < 0.025 ? low : high) = p;
    }
    const double power = low;
    low = 0, high = 1;
    for (int i = 0; i < 50; ++i) {
      const double p = 0.5 * (low + high);
      (1 - tail_at_least(false_alarms + 1, p) > 0.025 ? low : high) = p;
    }
    const double bound = std::log(std::max(power - delta, 1e-9) / high);
    INFO("claim " << claim << " audit " << bound << " with " << share << " of the noise");
    CHECK((bound > claim) == (share < 1));
  }
}

TEST_CASE("Mistake 12: factors made from raw private examples are refused, and noised ones whose cost is in no ledger") {
  SeededNoise draws(5, 0), source(5, 1);
  Ledger ledger({.population = people, .delta = 1e-5});
  PoissonBatches batches(Index(people), 0.05, draws);
  const auto make = [&](Origin origin) {
    PrivateStep<double>(3, 1, 1, {.clip = 1, .noise = 1, .origin = origin}, ledger, batches, source);
  };
  CHECK_ERROR(make(Origin::unknown), ErrorId::value, "origin is unknown");
  CHECK_ERROR(PrivateStep<double>(3, 1, 1, {.clip = 1, .noise = 1}, ledger, batches, source), ErrorId::value, "origin is unknown");
  CHECK_ERROR(make(Origin::private_data), ErrorId::value, "raw private examples");
  CHECK_ERROR(make(Origin::noised), ErrorId::value, "no cost of it");
  make(Origin::no_data);
  make(Origin::public_data);
  ledger.reserve(SamplingScheme::poisson, 1, 10, 1);
  ledger.charge(SamplingScheme::poisson, 1, 10, true);
  make(Origin::noised);
}
