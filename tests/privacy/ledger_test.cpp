#include "lorasb/privacy/ledger.hpp"

#include <vector>

#include "lorasb/privacy/poisson_batches.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

namespace {

constexpr SamplingScheme poisson = SamplingScheme::poisson;

Ledger spent(std::uint64_t steps, double budget = 1e9) {
  Ledger ledger({.population = 1000, .delta = 1e-5, .budget = budget});
  ledger.reserve(poisson, 0.1, 1, steps);
  for (std::uint64_t i = 0; i < steps; ++i) ledger.charge(poisson, 0.1, 1, true);
  return ledger;
}

}  // namespace

TEST_CASE("Mistake 16: delta must be below one example of the data, and the unit is named") {
  CHECK_ERROR(Ledger({.population = 1000, .delta = 1e-3}), ErrorId::value, "1 / 1000");
  CHECK_ERROR(Ledger({.population = 1000}), ErrorId::value, "delta is 0");
  CHECK_ERROR(Ledger({.unit = PrivacyUnit::client, .delta = 1e-3}), ErrorId::value, "number of clients");
  Ledger({.population = 1000, .delta = 9.9e-4});
}

TEST_CASE("the budget refuses steps before they are taken, together with all that came before") {
  Ledger ledger = spent(100, 7.1);  // ε 7.05
  CHECK(ledger.epsilon()->epsilon == Approx(7.0466).epsilon(1e-3));
  CHECK_ERROR(ledger.reserve(poisson, 0.1, 1, 100), ErrorId::value, "above the budget of 7.1");
  CHECK_ERROR(ledger.charge(poisson, 0.1, 1, true), ErrorId::value, "no step");
  ledger.reserve(poisson, 0.1, 1, 1);
  CHECK_ERROR(ledger.charge(poisson, 0.1, 2, true), ErrorId::value, "noise 2");
  ledger.charge(poisson, 0.1, 1, true);
  CHECK(ledger.steps() == 101);
}

TEST_CASE("Mistake 13: a seeded source leaves no epsilon, two system sources differ, and a seed repeats by step") {
  Ledger ledger({.population = 1000, .delta = 1e-5});
  ledger.reserve(poisson, 0.1, 1, 2);
  ledger.charge(poisson, 0.1, 1, true);
  CHECK(ledger.epsilon().has_value());
  ledger.charge(poisson, 0.1, 1, false);
  CHECK_FALSE(ledger.epsilon().has_value());
  CHECK(ledger.claimed_epsilon().epsilon > 0);
  SystemNoise system, other;
  SeededNoise seeded(1), same(1), stream(1, 1);
  const auto draw = [](NoiseSource& source) {
    std::vector<std::uint64_t> words(4);
    source.start_step(3);
    source.fill(words);
    return words;
  };
  CHECK(draw(system) != draw(other));
  CHECK(draw(seeded) == draw(same));
  CHECK(draw(seeded) == draw(seeded));  // the step decides
  CHECK(draw(seeded) != draw(stream));
  CHECK(system.is_private());
  CHECK_FALSE(seeded.is_private());
}

TEST_CASE("Mistake 19: a ledger comes back whole, and one of other data is refused") {
  Ledger ledger = spent(3);
  ledger.reserve(poisson, 1e-3, 0.7, 5);
  Ledger back({.population = 1000, .delta = 1e-5});
  back.restore(ledger.text());
  CHECK(back.text() == ledger.text());
  CHECK(back.epsilon()->epsilon == ledger.epsilon()->epsilon);
  back.charge(poisson, 1e-3, 0.7, true);  // what was reserved is there, too
  Ledger larger({.population = 2000, .delta = 1e-5});
  CHECK_ERROR(larger.restore(ledger.text()), ErrorId::checkpoint, "of 1000 examples");
  Ledger clients({.unit = PrivacyUnit::client, .population = 1000, .delta = 1e-5});
  CHECK_ERROR(clients.restore(ledger.text()), ErrorId::checkpoint, "1000 clients");
  for (std::string text : {std::string(), std::string("nothing"), ledger.text().substr(0, ledger.text().size() - 4)})
    CHECK_ERROR(Ledger({.population = 1000, .delta = 1e-5}).restore(text), ErrorId::checkpoint, "Ledger::restore");
}

TEST_CASE("Mistakes 3 and 17: examples are drawn one by one at exactly the rate that is accounted") {
  SeededNoise source(11);
  constexpr Index people = 2000;
  constexpr int steps = 400;
  PoissonBatches batches(people, 0.03, source);
  CHECK(batches.rate() <= 0.03);
  CHECK(batches.rate() == Approx(0.03).epsilon(1e-15));
  std::vector<int> taken(people);
  double sum = 0, squares = 0;
  int together = 0;  // the first two examples
  for (int t = 0; t < steps; ++t) {
    const std::span<const Index> batch = batches.next();
    for (const Index i : batch) ++taken[std::size_t(i)];
    sum += double(batch.size());
    squares += double(batch.size()) * double(batch.size());
    together += batch.size() >= 2 && batch[0] == 0 && batch[1] == 1;
  }
  const double mean = sum / steps, variance = squares / steps - mean * mean;
  CHECK(mean == Approx(60).epsilon(0.03));
  CHECK(variance == Approx(people * 0.03 * 0.97).epsilon(0.25));  // a fixed size would have none
  double chi2 = 0;  // of counts against Binomial(steps, q)
  for (const int n : taken) chi2 += (n - steps * 0.03) * (n - steps * 0.03) / (steps * 0.03 * 0.97);
  CHECK(chi2 == Approx(people).margin(5 * std::sqrt(2.0 * people)));
  CHECK(together <= 5);  // 0.36 are expected
  // the same step has the same batch, a system's never
  const std::vector<Index> first = [&] { batches.seek(0, 0); const auto b = batches.next(); return std::vector<Index>(b.begin(), b.end()); }();
  batches.seek(0, 0);
  CHECK(std::ranges::equal(first, batches.next()));
  CHECK(PoissonBatches(5, 1, source).next().size() == 5);
  CHECK_ERROR(PoissonBatches(0, 0.1, source), ErrorId::value, "examples");
  for (const double rate : {0.25, 0.1, 1.0 / 3, 1e-17, 1.0}) {
    CHECK(PoissonBatches::drawn_rate(rate) == PoissonBatches(5, rate, source).rate());
    CHECK(PoissonBatches::drawn_rate(rate) <= rate);
    CHECK(PoissonBatches::drawn_rate(rate) >= rate - 0x1p-64);
  }
  CHECK_ERROR(PoissonBatches::drawn_rate(0), ErrorId::value, "rate");
  CHECK_ERROR(PoissonBatches(5, 1.5, source), ErrorId::value, "rate");
}

TEST_CASE("each charge is handed over to be written down before the step may be taken") {
  Ledger ledger({.population = 1000, .delta = 1e-5, .budget = 1});
  std::vector<std::string> written;
  ledger.on_charge([&](const std::string& text) { written.push_back(text); });
  ledger.reserve(poisson, 0.1, 5, 2);
  CHECK(written.empty());
  ledger.charge(poisson, 0.1, 5, true);
  REQUIRE(written.size() == 1);
  CHECK(written[0] == ledger.text());
  ledger.on_charge([](const std::string&) { throw Error(ErrorId::file_write, "the disk is full"); });
  CHECK_ERROR(ledger.charge(poisson, 0.1, 5, true), ErrorId::file_write, "full");
  CHECK(ledger.steps() == 2);  // charged all the same
}

TEST_CASE("a mechanism over all units is one charge with q = 1, which the budget may refuse, and steps are counted by mechanism") {
  Ledger ledger({.population = 1000, .delta = 1e-5, .budget = 1});
  CHECK_ERROR(ledger.charge_all(1, true), ErrorId::value, "above the budget");
  CHECK(ledger.steps() == 0);
  ledger.charge_all(10, true);
  CHECK(ledger.spent().front().rate == 1);
  CHECK(ledger.reserved().empty());
  const double noise = noise_for(ledger, 0.1, 20);
  ledger.reserve(poisson, 0.1, noise, 20);
  CHECK_ERROR(ledger.reserve(poisson, 0.1, noise, 1), ErrorId::value, "above the budget");
  ledger.charge(poisson, 0.1, noise, true);
  CHECK(ledger.steps(1, 10) == 1);
  CHECK(ledger.steps(0.1, noise) == 1);
  CHECK(ledger.steps(0.1, 10) == 0);
}
