#include "lorasb/train/training_checkpoint.hpp"

#include <cmath>

#include "io/files.hpp"
#include "lorasb/optim/adamw.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// Ten examples that pull three numbers towards them, with a score after each epoch of three steps.
struct Training {
  Parameters<double> values{layout()};
  optim::AdamW<double> optimizer{3, {}};
  ShuffledBatches batches{10, 4, 7};
  TrainingRun<double> run{values, optimizer, batches,
                          {.steps = 12, .schedule = {.decay = optim::Decay::linear, .learning_rate = 0.1}, .patience = 3, .parts = 2}};

  static ParameterLayout layout() {
    ParameterLayout layout;
    layout.add("w", Role::weight, 1, 3);
    return layout;
  }
  void train(Index last) {
    constexpr double scores[] = {std::numeric_limits<double>::quiet_NaN(), 0.5, 0.25, 0.125};
    while (!run.is_done() && run.steps_taken() < last) {
      run.step([&](std::span<const Index> examples, Index, std::span<double> gradient) {
        for (const Index i : examples)
          for (std::size_t k = 0; k < 3; ++k) gradient[k] += values.flat()[k] - double(i + 1) * double(k + 1);
        return PassResult{.loss = 1.0 / 3 * double(examples.size()), .correct = std::ssize(examples) / 2};
      });
      if (run.ends_epoch()) run.evaluate(scores[run.steps_taken() / 3 - 1]);
    }
  }
};

bool equal(std::span<const double> a, std::span<const double> b) { return std::ranges::equal(a, b); }

}  // namespace

TEST_CASE("a run goes on from its checkpoint to the same bits, with its record and its best values") {
  const TemporaryFolder folder;
  for (const Index at : {1, 3, 6, 8, 12}) {
    INFO("saved after step " << at);
    Training whole, before, after;
    whole.train(12);
    before.train(at);
    io::Checkpoint<double> saved;
    save_training(saved, before.run);
    io::save_checkpoint(folder / "checkpoint", saved);
    restore_training(io::load_checkpoint<double>(folder / "checkpoint"), after.run);
    CHECK(after.run.steps_taken() == at);
    CHECK(after.run.record().seconds == before.run.record().seconds);
    after.train(12);
    CHECK(equal(after.values.flat(), whole.values.flat()));
    CHECK(equal(after.run.best(), whole.run.best()));
    CHECK(after.run.best_step() == 6);
    CHECK(after.run.is_done());
    REQUIRE(after.run.record().steps.size() == 12);
    for (std::size_t t = 0; t < 12; ++t) {
      CHECK(after.run.record().steps[t].loss == whole.run.record().steps[t].loss);
      CHECK(after.run.record().steps[t].accuracy == whole.run.record().steps[t].accuracy);
      CHECK(after.run.record().steps[t].learning_rate == whole.run.record().steps[t].learning_rate);
    }
    REQUIRE(after.run.record().evaluations.size() == 4);
    CHECK(std::isnan(after.run.record().evaluations[0].score));
    CHECK(after.run.record().evaluations[1].score == 0.5);
    after.run.finish();
    whole.run.finish();
    CHECK(equal(after.values.flat(), whole.values.flat()));
  }
}

TEST_CASE("a checkpoint without a record, or with one of another form, is refused before anything is restored") {
  Training saved, run;
  saved.train(7);
  io::Checkpoint<double> whole;
  save_training(whole, saved.run);
  const auto refused = [&](const char* name, const char* text, const char* words) {
    io::Checkpoint<double> c = whole;
    c.state[name] = text;
    CHECK_ERROR(restore_training(c, run.run), ErrorId::checkpoint, words);
  };
  refused("history", "nothing", "\"history\" is no list of a step and 3 numbers each");
  refused("history", "[[1,2,3]]", "\"history\"");
  refused("history", "[[1,2,3,\"4\"]]", "\"history\"");
  refused("history", "[[1e300,2,3,4]]", "\"history\"");
  refused("evaluations", "[[null,2]]", "\"evaluations\"");
  refused("evaluations", "{}", "\"evaluations\"");
  io::Checkpoint<double> c = whole;
  c.state.erase("history");
  CHECK_ERROR(restore_training(c, run.run), ErrorId::checkpoint, "history");
  c = whole;
  c.tensors["best"].pop_back();
  CHECK_ERROR(restore_training(c, run.run), ErrorId::checkpoint, "\"best\" has 2 numbers, expected 3");
  CHECK(run.run.steps_taken() == 0);
  CHECK(equal(run.values.flat(), std::vector<double>(3)));
}
