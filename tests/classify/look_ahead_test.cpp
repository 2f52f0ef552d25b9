#include "lorasb/classify/look_ahead.hpp"

#include "classify/tiny_model.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::classify;
using namespace lorasb::test;

namespace {

struct Task {
  TinyModels models;
  BaseModel base = open_base_model(models.add("tiny_bert", "model"));
  TokenizedTexts texts = encode();
  Parameters<float> head = start_head(base, 2);

  TokenizedTexts encode() const {
    TextCounts counts;
    return encode_examples(good_and_bad(8), base, counts);
  }
};

bool equal(std::span<const float> a, std::span<const float> b) { return std::ranges::equal(a, b); }

}  // namespace

TEST_CASE("a look-ahead is so many steps of a scout, its adapters and its head, and training goes on with the next texts") {
  const Task task;
  train::ShuffledBatches batches(task.texts.size(), 4, 3), other = batches;
  train::Scout<float> scout(task.base.modules, task.head);
  const LookAheadOptions options{
      .steps = 5, .adapter = {.rank = 2}, .learning_rate = 1e-2, .warmup_steps = 2, .head_learning_rate = 2e-2, .measured = {0, 1, 2, 3}, .parts = 2};
  Index seen = 0;
  LookAheadOptions watched = options;
  watched.after_step = [&](train::TrainingRun<float>& run, Classifier& classifier) {
    CHECK(run.steps_taken() == ++seen);
    CHECK(classifier.classes() == 2);
  };
  const LookAhead found = look_ahead(scout, task.base, task.texts, batches, watched);
  CHECK(seen == 5);
  CHECK(found.report.steps == 5);
  CHECK(found.report.bytes == scout.bytes(2));
  CHECK(found.report.loss_after_scout < found.report.loss_before);
  CHECK(found.report.loss_after_truncation < found.report.loss_before);
  CHECK(found.record.steps.size() == 5);
  CHECK(found.record.steps[0].learning_rate == 1e-2 / 2);
  CHECK(found.modules.adapters.size() == task.base.modules.size());
  CHECK(found.modules.reports.size() == task.base.modules.size());

  train::Scout<float> by_hand(task.base.modules, task.head);  // the same, written out
  const auto optimizer = by_hand.make_optimizer();
  train::set_head_rate(*optimizer, by_hand.values().layout(), 2.0);
  Classifier classifier = make_classifier(task.base, task.base.weights, by_hand.layers(), by_hand.values(), 2);
  train::Step<float> step(by_hand.values().layout().size(), 2, 1);
  for (Index t = 1; t <= 5; ++t) {
    const std::span<const Index> batch = other.next();
    const auto pass = [&](Index part, Index first, Index count, std::span<float> gradient) {
      return classifier.pass(task.texts, batch.subspan(std::size_t(first), std::size_t(count)), part, gradient);
    };
    step.run(std::ssize(batch), pass, by_hand.values().flat(), *optimizer, t == 1 ? 1e-2 / 2 : 1e-2, {.max_norm = 1});
    by_hand.after_step();
  }
  CHECK(equal(std::as_const(scout).values().flat(), std::as_const(by_hand).values().flat()));
  CHECK(equal(std::as_const(scout).head().flat(), std::as_const(by_hand).head().flat()));
  CHECK(batches.position() == other.position());
  CHECK(batches.epoch() == other.epoch());

  train::Scout<float> again(task.base.modules, task.head);
  train::ShuffledBatches from_start(task.texts.size(), 4, 3);
  LookAheadOptions unmeasured = options;
  unmeasured.measured.clear();
  unmeasured.threads = 2;
  const LookAhead same = look_ahead(again, task.base, task.texts, from_start, unmeasured);
  CHECK(std::isnan(same.report.loss_before));
  CHECK(std::isnan(same.report.loss_after_truncation));
  for (const auto& [name, adapter] : found.modules.adapters) CHECK(same.modules.adapters.at(name).R == adapter.R);
}

TEST_CASE("a look-ahead on some of the texts sees those alone") {
  const Task task;
  const std::vector<Index> share{1, 3, 5, 7, 9};  // all good
  TokenizedTexts own;
  for (const Index i : share) {
    own.ids.push_back(task.texts.ids[std::size_t(i)]);
    own.types.push_back(task.texts.types[std::size_t(i)]);
    own.labels.push_back(task.texts.labels[std::size_t(i)]);
  }
  const LookAheadOptions options{.steps = 4, .adapter = {.rank = 2}, .learning_rate = 1e-2};
  train::Scout<float> one(task.base.modules, task.head), two(task.base.modules, task.head);
  train::ShuffledBatches batches(5, 2, 1), other(5, 2, 1);
  take_scout_steps(one, task.base, task.texts, batches, options, share);
  take_scout_steps(two, task.base, own, other, options);
  CHECK(equal(std::as_const(one).values().flat(), std::as_const(two).values().flat()));
}

TEST_CASE("a rate that is too high is named as the caller calls it") {
  const Task task;
  train::Scout<float> scout(task.base.modules, task.head);
  train::ShuffledBatches batches(task.texts.size(), 4, 3);
  const LookAheadOptions high{.steps = 9, .adapter = {.rank = 2}, .learning_rate = 1e30, .rate_name = "--rate"};
  CHECK_ERROR(look_ahead(scout, task.base, task.texts, batches, high), ErrorId::not_finite, "a lower --rate (now 1e+30) may help");
  CHECK_ERROR(look_ahead(scout, task.base, task.texts, batches, {.adapter = {.rank = 2}}), ErrorId::value, "steps is 0");
}
