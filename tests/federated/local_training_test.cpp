#include "lorasb/federated/local_training.hpp"

#include <cmath>
#include <limits>
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

namespace {

/// 20 examples, of which each has the same gradient in all values.
struct PrivatePull {
  std::vector<float> values = std::vector<float>(26);
  RoundMechanism mechanism = accounts({}).mechanism();

  static PrivacyAccounts accounts(PrivacyAccountsOptions options) {
    options.delta = 0.01;
    options.noise = 0.05;
    return PrivacyAccounts({dp_sgd_round(20, 5, 6)}, options);
  }
  static auto pass() {
    return [](std::span<const Index> batch, Index, const privacy::ClippedSum<float>& sum) {
      sum.add(Matrix<float>::Constant(26, std::ssize(batch), -3).eval());
    };
  }
  static PrivateLocalTrainingOptions options() {
    return {.batch = 5, .learning_rate = 0.1, .clip = 0.5, .delta = 0.01, .origin = train::Origin::no_data, .seed = 3};
  }
  PrivateLocalTrainingResult run(const PrivateLocalTrainingOptions& options, Index rank = 0) {
    optim::Sgd<float> sgd(26, {.momentum = 0.5, .weight_decay = 0.1});
    LeadingMask<float> mask(small_session().layout, rank, values);
    return train_privately(std::span(values), sgd, mechanism, options, mask, pass());
  }
};

}  // namespace

TEST_CASE("a private client takes the steps of PrivateTraining that its account has of a round") {
  for (const train::NoiseKind kind : {train::NoiseKind::continuous, train::NoiseKind::discrete}) {
    PrivateLocalTrainingOptions o = PrivatePull::options();
    o.kind = kind;
    PrivatePull client, other;
    const PrivateLocalTrainingResult found = client.run(o);
    CHECK(found.steps == 6);
    CHECK(found.last.status == train::StepStatus::updated);

    std::vector<float> values(26);
    privacy::Ledger ledger({.population = 20, .delta = 0.01});
    train::PrivateTraining<float> training(
        26, 20,
        {.steps = 6, .batch = 5, .clip = 0.5, .noise = 0.05, .kind = kind, .origin = train::Origin::no_data, .seed = 3, .parts = 1}, ledger);
    optim::Sgd<float> sgd(26, {.momentum = 0.5, .weight_decay = 0.1});
    for (int t = 0; t < 6; ++t) training.step(std::span(values), sgd, 0.1, PrivatePull::pass());
    CHECK(client.values == values);
    o.seed = 4;
    other.run(o);
    CHECK(other.values != client.values);
  }
}

TEST_CASE("a private client of a lower rank moves its block alone, along the gradient of the block") {
  for (const train::NoiseKind kind : {train::NoiseKind::continuous, train::NoiseKind::discrete}) {
    PrivatePull client;
    const std::vector<float> start = client.values = numbers(3);
    PrivateLocalTrainingOptions o = PrivatePull::options();
    o.kind = kind;
    client.run(o, 2);
    for (std::size_t i = 0; i < 26; ++i) {
      const bool in_block = i >= 18 || (i % 9 / 3 < 2 && i % 3 < 2);  // cores of 3 x 3, then a head
      CHECK((client.values[i] != start[i]) == in_block);
    }
  }
  // with all examples in every batch the mean is the clipped gradient, 0.5 long, of which 16 of 26 numbers are trained
  PrivatePull whole, block;
  PrivateLocalTrainingOptions all = PrivatePull::options();
  all.batch = 20;
  whole.mechanism = block.mechanism = {.population = 20, .rate = 1, .noise = 0.02, .steps = 1};
  CHECK(whole.run(all).last.gradient_norm == Approx(0.5).epsilon(0.02));  // noise of 0.01 in each of 26 numbers, over 20
  CHECK(block.run(all, 2).last.gradient_norm == Approx(0.5 * std::sqrt(16.0 / 26)).epsilon(0.02));
}

TEST_CASE("private training of a client keeps to what its account is charged for") {
  PrivatePull client;
  PrivateLocalTrainingOptions o = PrivatePull::options();
  o.batch = 6;
  CHECK_ERROR(client.run(o), ErrorId::value, "batches of 6 of 20 examples have a rate of 0.3, expected 0.25");
  o = PrivatePull::options();
  o.origin = train::Origin::noised;
  CHECK_ERROR(client.run(o), ErrorId::value, "the ledger has no cost of it");
  CHECK(client.values == std::vector<float>(26));
  o.bases_noise = 10;
  client.mechanism = PrivatePull::accounts({.bases_noise = 10}).mechanism();
  CHECK(client.run(o).steps == 6);
  PrivatePull nobody;
  nobody.mechanism = dp_sgd_round(0, 5, 0);
  CHECK(nobody.run(PrivatePull::options()).steps == 0);
  CHECK(nobody.values == std::vector<float>(26));
  PrivatePull bad;
  bad.mechanism.noise = 10;
  o = PrivatePull::options();
  o.clip = 3e38;  // the noise is infinite
  const PrivateLocalTrainingResult found = bad.run(o);
  CHECK(found.steps == 1);
  CHECK(found.last.status == train::StepStatus::not_finite);
  CHECK(bad.values == std::vector<float>(26));
}
