#include "lorasb/train/training_run.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "lorasb/optim/sgd.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

/// Ten examples that pull three numbers towards them; what was passed is noted down.
struct Pull {
  Parameters<double> values{layout()};
  optim::Sgd<double> optimizer{3, {}};
  ShuffledBatches batches{10, 4, 7};  // three a epoch
  std::vector<std::vector<Index>> seen = {};

  static ParameterLayout layout() {
    ParameterLayout layout;
    layout.add("w", Role::weight, 1, 3);
    return layout;
  }
  auto pass() {
    return [this](std::span<const Index> examples, Index, std::span<double> gradient) {
      seen.emplace_back(examples.begin(), examples.end());
      PassResult found;
      for (const Index i : examples)
        for (std::size_t k = 0; k < 3; ++k) {
          const double d = std::as_const(values).flat()[k] - double(i + 1) * double(k + 1);
          gradient[k] += d;
          found.loss += d * d / 2;
        }
      return found;
    };
  }
  std::vector<double> now() const { return {values.flat().begin(), values.flat().end()}; }
};

TrainingRunOptions options(Index steps) { return {.steps = steps, .schedule = {.learning_rate = 0.1}, .parts = 1}; }

/// One step after another, with a score of the list after each.
void run_with_scores(TrainingRun<double>& run, Pull& pull, const std::vector<double>& scores) {
  for (const double score : scores) {
    if (run.is_done()) return;
    run.step(pull.pass());
    run.evaluate(score);
  }
}

}  // namespace

TEST_CASE("a run takes the steps of Step, by the schedule of its own steps, and records them") {
  Pull a, b;
  TrainingRunOptions o = options(6);
  o.schedule = {.decay = optim::Decay::linear, .learning_rate = 0.3, .warmup_steps = 2};
  o.max_norm = 1;
  TrainingRun<double> run(a.values, a.optimizer, a.batches, o);
  const optim::Schedule schedule({.decay = optim::Decay::linear, .learning_rate = 0.3, .warmup_steps = 2, .total_steps = 6});
  Step<double> step(3, 1, 1);
  for (Index t = 1; t <= 6; ++t) {
    CHECK_FALSE(run.is_done());
    CHECK(run.learning_rate() == schedule.rate(t));
    const StepResult found = run.step(a.pass());
    const std::span<const Index> batch = b.batches.next();
    const auto pass = [&](Index part, Index first, Index count, std::span<double> g) {
      return b.pass()(batch.subspan(std::size_t(first), std::size_t(count)), part, g);
    };
    const StepResult expected = step.run(std::ssize(batch), pass, b.values.flat(), b.optimizer, schedule.rate(t), {.max_norm = 1});
    CHECK(found.mean_loss == expected.mean_loss);
    CHECK(a.now() == b.now());
    CHECK(run.steps_taken() == t);
    CHECK(run.record().steps.back().step == t);
    CHECK(run.record().steps.back().loss == expected.mean_loss);
    CHECK(run.record().steps.back().learning_rate == schedule.rate(t));
    CHECK(run.ends_epoch() == (t % 3 == 0));
  }
  CHECK(run.is_done());
  CHECK(run.record().seconds >= 0);
  CHECK_ERROR(run.step(a.pass()), ErrorId::value, "step 6 was the last");
}

TEST_CASE("a batch that is cut into passes makes the step of the whole batch, and examples have names of the caller's") {
  Pull whole, cut;
  TrainingRunOptions o = options(3);
  TrainingRun<double> one(whole.values, whole.optimizer, whole.batches, o);
  o.pass_examples = 3;
  TrainingRun<double> two(cut.values, cut.optimizer, cut.batches, o);
  for (int t = 0; t < 3; ++t) {
    one.step(whole.pass());
    two.step(cut.pass());
  }
  CHECK(whole.seen.size() == 3);
  CHECK(cut.seen.size() == 2 + 2 + 1);  // 4, 4 and 2 examples
  for (std::size_t k = 0; k < 3; ++k)
    CHECK(cut.now()[k] == Approx(whole.now()[k]).epsilon(Tolerance<double>::sum));  // the sum of a batch has another order

  Pull named;
  o.pass_examples = 0;
  for (Index i = 0; i < 10; ++i) o.examples.push_back(100 + i);
  TrainingRun<double> run(named.values, named.optimizer, named.batches, o);
  run.step(named.pass());
  for (std::size_t i = 0; i < 4; ++i) CHECK(named.seen[0][i] == 100 + whole.seen[0][i]);
  o.examples.pop_back();
  CHECK_ERROR(TrainingRun<double>(named.values, named.optimizer, named.batches, o), ErrorId::shape, "9 examples");
}

TEST_CASE("the best values come back, the first of equals, and a score that is no number is below all others") {
  Pull pull;
  TrainingRunOptions o = options(4);
  o.keep_best = true;
  TrainingRun<double> run(pull.values, pull.optimizer, pull.batches, o);
  CHECK_FALSE(run.kept_evaluation());
  run.step(pull.pass());
  run.evaluate(no_number);
  CHECK(run.best_step() == 1);
  run.step(pull.pass());
  run.evaluate(0.5);
  const std::vector<double> best = pull.now();
  run_with_scores(run, pull, {0.5, no_number});
  CHECK(pull.now() != best);
  run.finish();
  CHECK(pull.now() == best);
  CHECK(run.best_step() == 2);
  CHECK(run.kept_evaluation()->step == 2);
  CHECK(run.kept_evaluation()->score == 0.5);

  Pull last;
  TrainingRun<double> other(last.values, last.optimizer, last.batches, options(2));
  run_with_scores(other, last, {0.9, 0.1});
  const std::vector<double> values = last.now();
  other.finish();  // without keep_best nothing comes back
  CHECK(last.now() == values);
  CHECK(other.kept_evaluation()->score == 0.1);
  CHECK(other.best_step() == 0);
}

TEST_CASE("patience ends a run after so many evaluations without a better one, and keeps the best") {
  Pull pull;
  TrainingRunOptions o = options(50);
  o.patience = 2;
  TrainingRun<double> run(pull.values, pull.optimizer, pull.batches, o);
  run_with_scores(run, pull, {0.1, 0.3, 0.2, 0.4, 0.4, 0.3, 0.9});
  CHECK(run.is_out_of_patience());
  CHECK(run.is_done());
  CHECK(run.steps_taken() == 6);
  CHECK(run.best_step() == 4);
}

TEST_CASE("a stage goes on with the record and the numbers of the one before, whose scores are no rivals of its own") {
  Pull pull;
  TrainingRun<double> scout(pull.values, pull.optimizer, pull.batches, options(4));
  run_with_scores(scout, pull, {0.9, 0.9, 0.9, 0.9});
  optim::Sgd<double> fresh(3, {});
  int moved = 0;
  TrainingRunOptions o = options(3);
  o.steps_before = 4;
  o.keep_best = true;
  o.after_step = [&] { ++moved; };
  TrainingRun<double> run(pull.values, fresh, pull.batches, o, scout.record());
  CHECK(run.steps_taken() == 4);
  CHECK(run.last_step() == 7);
  run_with_scores(run, pull, {0.2, 0.1});
  CHECK(moved == 2);
  CHECK(run.best_step() == 5);
  CHECK(run.record().steps.size() == 6);
  CHECK(run.record().steps.back().step == 6);
  CHECK(run.record().steps.back().learning_rate == 0.1);
  CHECK(run.ends_epoch());  // by the numbers of both
}

TEST_CASE("a step that is not finite moves nothing and is not recorded") {
  Pull pull;
  TrainingRun<double> run(pull.values, pull.optimizer, pull.batches, options(3));
  run.step(pull.pass());
  const std::vector<double> before = pull.now();
  const StepResult found = run.step([](std::span<const Index>, Index, std::span<double> gradient) {
    gradient[0] = 1;
    return PassResult{.loss = no_number, .correct = 0};
  });
  CHECK(found.status == StepStatus::not_finite);
  CHECK(pull.now() == before);
  CHECK(run.steps_taken() == 1);
  CHECK(run.record().steps.size() == 1);
}

TEST_CASE("options that no training can have are refused, and so is a tensor that does not learn") {
  Pull pull;
  const auto make = [&](const TrainingRunOptions& o) { TrainingRun<double>(pull.values, pull.optimizer, pull.batches, o); };
  CHECK_ERROR(make({}), ErrorId::value, "steps is 0");
  CHECK_ERROR(make({.steps = 1, .patience = -1}), ErrorId::value, "patience -1");
  CHECK_ERROR(make({.steps = 1, .schedule = {.learning_rate = 0}}), ErrorId::value, "learning_rate");
  ParameterLayout layout = Pull::layout();
  layout.add("dead", Role::weight, 1, 2);
  Parameters<double> values(layout);
  optim::Sgd<double> optimizer(5, {});
  TrainingRun<double> run(values, optimizer, pull.batches, options(3));
  const auto pass = [](std::span<const Index>, Index, std::span<double> gradient) {
    gradient[0] = 1;
    return PassResult{};
  };
  run.step(pass);
  CHECK_ERROR(run.step(pass), ErrorId::zero_update, "dead");
}
