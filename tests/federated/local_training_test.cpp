#include "lorasb/federated/local_training.hpp"

#include <vector>

#include "lorasb/optim/sgd.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

/// Each example pulls all values towards its own number.
struct Pull {
  std::vector<float> values = std::vector<float>(26);
  train::Step<float> step{26, 1, 1};
  std::vector<Index> seen = {};

  LocalTrainingResult run(const LocalTrainingOptions& options, Index rank = 0, Index examples = 5) {
    optim::Sgd<float> sgd(26, {.momentum = 0.5, .weight_decay = 0.1});
    LeadingMask<float> mask(small_session().layout, rank, values);
    return train_locally(step, std::span(values), sgd, examples, options, mask, [&](std::span<const Index> batch) {
      seen.insert(seen.end(), batch.begin(), batch.end());
      return [this, batch](Index, Index first, Index count, std::span<float> gradient) {
        for (Index i = first; i < first + count; ++i)
          for (std::size_t k = 0; k < gradient.size(); ++k) gradient[k] += values[k] - float(batch[std::size_t(i)] + 1);
        return train::PassResult{};
      };
    });
  }
};

}  // namespace

TEST_CASE("a client passes over its examples in an order of its own, or takes so many steps") {
  Pull epochs, steps, other, none;
  CHECK(epochs.run({.batch = 2, .epochs = 3, .learning_rate = 0.1, .seed = 1}).steps == 9);
  for (Index i = 0; i < 5; ++i) CHECK(std::ranges::count(epochs.seen, i) == 3);
  CHECK(steps.run({.batch = 2, .epochs = 3, .steps = 4, .learning_rate = 0.1, .seed = 1}).steps == 4);
  CHECK(std::vector<Index>(epochs.seen.begin(), epochs.seen.begin() + 7) == std::vector<Index>(steps.seen.begin(), steps.seen.begin() + 7));
  other.run({.batch = 2, .epochs = 3, .learning_rate = 0.1, .seed = 2});
  CHECK(other.seen != epochs.seen);
  CHECK(none.run({.learning_rate = 0.1}, 0, 0).steps == 0);
  CHECK(none.values == std::vector<float>(26));
}

TEST_CASE("Row 36: a client of a lower rank moves its block alone, with momentum and decay too") {
  Pull client;
  const std::vector<float> start = client.values = numbers(3);
  client.run({.batch = 2, .learning_rate = 0.1}, 2);
  for (std::size_t i = 0; i < 26; ++i) {
    const bool in_block = i >= 18 || (i % 9 / 3 < 2 && i % 3 < 2);  // cores of 3 x 3, then a head
    CHECK((client.values[i] != start[i]) == in_block);
  }
}

TEST_CASE("a proximal client stays nearer to the values that it started with, and a step that is not finite ends the training") {
  Pull free, near;
  free.run({.batch = 5, .steps = 20, .learning_rate = 0.1});
  near.run({.batch = 5, .steps = 20, .learning_rate = 0.1, .proximal = 1});
  CHECK(near.values[0] > 0.5f);
  CHECK(near.values[0] < 0.7f * free.values[0]);  // half of the way with equal weights

  Pull bad;
  bad.values[3] = std::numeric_limits<float>::quiet_NaN();
  const LocalTrainingResult found = bad.run({.batch = 1, .learning_rate = 0.1});
  CHECK(found.steps == 1);
  CHECK(found.last.status == train::StepStatus::not_finite);
  CHECK(bad.values[0] == 0);
}
