#include "lorasb/train/private_training.hpp"

#include <numeric>
#include <string>
#include <vector>

#include "lorasb/optim/sgd.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using privacy::ClippedSum;
using privacy::Ledger;

namespace {

constexpr Index examples = 200;

Ledger budget_of(double epsilon) { return Ledger({.population = std::uint64_t(examples), .delta = 1e-3, .budget = epsilon}); }
Ledger unlimited() { return Ledger({.population = std::uint64_t(examples), .delta = 1e-3}); }

PrivateTrainingOptions options(double noise = 0) {
  return {.steps = 20, .batch = 10, .noise = noise, .origin = Origin::no_data, .seed = 4, .parts = 1};
}

/// Each example pulls its number of three towards 1; what was drawn is noted down.
struct Pull {
  std::vector<std::vector<Index>> batches = {};
  std::vector<std::size_t> pieces = {};

  auto pass() {
    return [this](std::span<const Index> drawn, Index, const ClippedSum<double>& sum) {
      Matrix<double> G = Matrix<double>::Zero(3, std::ssize(drawn));
      for (Index i = 0; i < G.cols(); ++i) G(drawn[std::size_t(i)] % 3, i) = -1;
      sum.add(G);
      batches.emplace_back(drawn.begin(), drawn.end());
      pieces.push_back(drawn.size());
    };
  }
};

std::vector<double> run(PrivateTraining<double>& training, std::vector<double> values = std::vector<double>(3)) {
  optim::Sgd<double> sgd(3);
  Pull pull;
  while (training.steps_done() < training.last_step()) training.step(std::span(values), sgd, 0.1, pull.pass());
  return values;
}

}  // namespace

TEST_CASE("a budget becomes noise with which all steps keep within it, and one step more is refused before a batch is drawn") {
  Ledger ledger = budget_of(2);
  PrivateTrainingOptions o = options();
  o.seed.reset();  // the operating system's noise
  PrivateTraining<double> training(3, examples, o, ledger);
  CHECK(training.rate() == Approx(0.05));
  CHECK(training.last_step() == 20);
  CHECK(training.noise() == privacy::noise_for(2, 1e-3, training.rate(), 20));
  run(training);
  const privacy::PrivacyReport report = training.report();
  REQUIRE(report.epsilon);
  CHECK(*report.epsilon <= 2);
  CHECK(*report.epsilon > 1.99);
  CHECK(report.steps == 20);
  CHECK(report.steps_lost == 0);
  CHECK(report.noise == training.noise());
  CHECK(report.rate == training.rate());
  Pull pull;
  std::vector<double> values(3);
  optim::Sgd<double> sgd(3);
  CHECK_ERROR(training.step(std::span(values), sgd, 0.1, pull.pass()), ErrorId::value, "budget");
  CHECK(pull.batches.empty());
  CHECK(values == std::vector<double>(3));
  CHECK(training.steps_done() == 20);
}

TEST_CASE("a step of a private training is PrivateStep's, bit by bit, in pieces of twice the expected size") {
  Ledger ledger = unlimited(), other = unlimited();
  PrivateTrainingOptions o = options(0.5);
  o.batch = 100;
  o.clip = 0.25;
  PrivateTraining<double> training(3, examples, o, ledger);
  const std::vector<double> found = run(training);

  privacy::SeededNoise draws(4, 0), source(4, 1);
  privacy::PoissonBatches batches(examples, 0.5, draws);
  other.reserve(batches.scheme(), batches.rate(), 0.5, 20);
  PrivateStep<double> step(3, 1, 1, {.clip = 0.25, .noise = 0.5, .origin = Origin::no_data}, other, batches, source);
  std::vector<double> values(3);
  optim::Sgd<double> sgd(3);
  Pull pull;
  for (int t = 0; t < 20; ++t) {
    step.charge();
    const std::span<const Index> batch = batches.next();
    step.accumulate(std::ssize(batch), [&](Index part, Index, Index, const ClippedSum<double>& sum) { pull.pass()(batch, part, sum); });
    step.apply(std::span(values), sgd, 0.1);
  }
  CHECK(values == found);
  CHECK(ledger.text() == other.text());
  CHECK_FALSE(training.report().epsilon);  // the noise is seeded

  Ledger of_one = unlimited();  // one example expected, and more than two drawn
  o.batch = 1;
  PrivateTraining<double> single(3, examples, o, of_one);
  privacy::SeededNoise again(4, 0);
  privacy::PoissonBatches rare(examples, 1 / double(examples), again);
  Pull pulled;
  std::size_t largest = 0, drawn = 0;
  for (int t = 0; t < 20; ++t) {
    single.step(std::span(values), sgd, 0.1, pulled.pass());
    const std::size_t size = rare.next().size();
    largest = std::max(largest, size);
    drawn += size;
  }
  CHECK(largest > 2);
  CHECK(std::ranges::max(pulled.pieces) == 2);
  CHECK(std::accumulate(pulled.pieces.begin(), pulled.pieces.end(), std::size_t{0}) == drawn);
}

TEST_CASE("steps that were lost are paid for, and a budget ends a run that goes on sooner") {
  for (const bool has_budget : {true, false}) {
    Ledger ledger = has_budget ? budget_of(2) : unlimited();
    std::string text;
    double noise = 0;
    {
      PrivateTraining<double> training(3, examples, options(has_budget ? 0 : 1), ledger);
      noise = training.noise();
      std::vector<double> values(3);
      optim::Sgd<double> sgd(3);
      Pull pull;
      for (int t = 0; t < 8; ++t) training.step(std::span(values), sgd, 0.1, pull.pass());
      text = ledger.text();
    }
    Ledger restored = has_budget ? budget_of(2) : unlimited();
    restored.restore(text);
    PrivateTrainingOptions o = options(has_budget ? 0 : 1);
    o.steps_done = 5;  // of the checkpoint: three are lost
    PrivateTraining<double> training(3, examples, o, restored);
    CHECK(training.noise() == noise);
    CHECK(training.steps_done() == 5);
    CHECK(training.last_step() == (has_budget ? 17 : 20));
    run(training);
    CHECK(training.report().steps == (has_budget ? 20 : 23));
    CHECK(training.report().steps_lost == 3);
    CHECK(restored.claimed_epsilon().epsilon <= (has_budget ? 2 : 1e9));
    // a run that is done goes on to nothing, and keeps its noise
    Ledger finished = has_budget ? budget_of(2) : unlimited();
    finished.restore(restored.text());
    o.steps_done = training.last_step();
    PrivateTraining<double> again(3, examples, o, finished);
    CHECK(again.last_step() == training.last_step());
    CHECK(again.noise() == noise);
    CHECK(again.report().steps == training.report().steps);
  }
}

TEST_CASE("a seeded run that goes on from a checkpoint draws the same bits") {
  Ledger ledger = unlimited(), cut = unlimited();
  PrivateTraining<double> whole(3, examples, options(1), ledger);
  const std::vector<double> expected = run(whole);
  std::vector<double> values(3);
  {
    PrivateTraining<double> first(3, examples, options(1), cut);
    optim::Sgd<double> sgd(3);
    Pull pull;
    for (int t = 0; t < 7; ++t) first.step(std::span(values), sgd, 0.1, pull.pass());
  }
  PrivateTrainingOptions o = options(1);
  o.steps_done = 7;
  PrivateTraining<double> second(3, examples, o, cut);
  CHECK(run(second, values) == expected);
  CHECK(cut.text() == ledger.text());
}

TEST_CASE("what a ledger holds beside the steps counts for the noise and for epsilon, not for the steps") {
  Ledger ledger = budget_of(2), plain = budget_of(2);
  ledger.charge_all(10, true);
  PrivateTrainingOptions o = options();
  o.origin = Origin::noised;
  o.other_charges = 1;
  PrivateTraining<double> training(3, examples, o, ledger);
  const PrivateTraining<double> without(3, examples, options(), plain);
  CHECK(training.noise() > without.noise());
  run(training);
  CHECK(training.report().steps == 20);
  CHECK(ledger.claimed_epsilon().epsilon <= 2);
  // also where the training has the mechanism of the bases
  Ledger joined = unlimited();
  joined.charge_all(10, true);
  o.noise = 10;
  o.batch = examples;
  PrivateTraining<double> full(3, examples, o, joined);
  CHECK(full.rate() == 1);
  run(full);
  CHECK(joined.spent().size() == 1);
  CHECK(full.report().steps == 20);
  CHECK(full.report().steps_lost == 0);
}

TEST_CASE("discrete noise reports its grid and what the rounding costs") {
  Ledger ledger = unlimited();
  ledger.charge_all(10, true);
  PrivateTrainingOptions o = options(1);
  o.kind = NoiseKind::discrete;
  o.other_charges = 1;
  PrivateTraining<double> training(3, examples, o, ledger);
  run(training);
  const privacy::PrivacyReport report = training.report();
  REQUIRE(report.grid);
  CHECK(report.grid->sensitivity > 1);
  const double claimed = ledger.claimed_epsilon().epsilon;
  CHECK(report.epsilon_continuous < claimed);
  CHECK(report.epsilon_continuous > 0.999 * claimed);  // three numbers are rounded: a share of 1e-6 of the clip
  CHECK(report.steps == 20);
}

TEST_CASE("options that cannot be accounted are refused by name") {
  Ledger ledger = unlimited();
  const auto make = [&](const PrivateTrainingOptions& o, Index of = examples) { PrivateTraining<double>(3, of, o, ledger); };
  CHECK_ERROR(make(options()), ErrorId::value, "no budget");
  CHECK_ERROR(make(options(1), 100), ErrorId::value, "over 200 examples, expected 100");
  PrivateTrainingOptions o = options(1);
  o.origin = Origin::unknown;
  CHECK_ERROR(make(o), ErrorId::value, "origin is unknown");
  o = options(1);
  o.steps = 0;
  CHECK_ERROR(make(o), ErrorId::value, "steps is 0");
  o = options(1);
  o.batch = 0;
  CHECK_ERROR(make(o), ErrorId::value, "batch is 0");
  o = options(std::numeric_limits<double>::quiet_NaN());
  CHECK_ERROR(make(o), ErrorId::value, "noise is nan");
  o = options(1);
  o.steps_done = 21;
  CHECK_ERROR(make(o), ErrorId::value, "steps_done is 21 of 20");
  o = options(1);
  o.other_charges = 1;
  CHECK_ERROR(make(o), ErrorId::value, "has 0 charges");
}
