#include "lorasb/train/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "lorasb/optim/sgd.hpp"
#include "lorasb/train/step.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;

namespace {

/// Every example is in a batch with the same probability, independent of all others: the batches of private steps.
class BernoulliBatches {
 public:
  BernoulliBatches(Index examples, double probability, std::uint64_t seed)
      : examples_(examples), probability_(probability), seed_(seed) {}

  std::span<const Index> next() {
    Random random(seed_, position_++);
    batch_.clear();
    for (Index i = 0; i < examples_; ++i)
      if (random.uniform() < probability_) batch_.push_back(i);
    return batch_;
  }
  void seek(std::uint64_t /*epoch*/, std::uint64_t position) { position_ = position; }
  std::uint64_t epoch() const { return 0; }
  std::uint64_t position() const { return position_; }  // batches so far
  double expected_batch_size() const { return probability_ * double(examples_); }
  static privacy::SamplingScheme scheme() { return privacy::SamplingScheme::poisson; }

 private:
  Index examples_;
  double probability_;
  std::uint64_t seed_, position_ = 0;
  std::vector<Index> batch_;
};
static_assert(Sampler<BernoulliBatches>);
static_assert(!Sampler<std::vector<Index>>);

/// Sum of the sizes of n batches, and how many were empty.
template <Sampler Batches>
std::pair<Index, int> drawn(Batches& batches, int n) {
  Index total = 0;
  int empty = 0;
  for (int i = 0; i < n; ++i) {
    const auto size = std::ssize(batches.next());
    total += size;
    empty += size == 0;
  }
  return {total, empty};
}

}  // namespace

TEST_CASE("every epoch visits every example once, in an order of its own") {
  ShuffledBatches batches(10, 4, 1);
  CHECK(batches.batches_per_epoch() == 3);
  std::vector<std::vector<Index>> epochs;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<Index> seen;
    for (const std::size_t size : {4u, 4u, 2u}) {
      const std::span<const Index> batch = batches.next();
      CHECK(batch.size() == size);
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    CHECK(std::set<Index>(seen.begin(), seen.end()).size() == 10);
    epochs.push_back(seen);
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
  CHECK(ShuffledBatches(10, 4, 2).next()[0] != ShuffledBatches(10, 4, 3).next()[0]);
}

TEST_CASE("a run that is entered in the middle of an epoch sees the same batches") {
  ShuffledBatches whole(10, 3, 7);
  for (int i = 0; i < 6; ++i) whole.next();
  ShuffledBatches entered(10, 3, 7);
  entered.seek(whole.epoch(), whole.position());
  for (int i = 0; i < 5; ++i) {
    const std::span<const Index> a = whole.next();
    const std::span<const Index> b = entered.next();
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
}

TEST_CASE("every order is equally likely") {
  std::map<std::vector<Index>, int> counts;
  ShuffledBatches batches(3, 3, 5);
  for (int i = 0; i < 6000; ++i) {
    const std::span<const Index> batch = batches.next();
    ++counts[{batch.begin(), batch.end()}];
  }
  CHECK(counts.size() == 6);
  for (const auto& [order, count] : counts) CHECK(std::abs(count - 1000) < 5 * 29);  // five standard deviations
}

TEST_CASE("no examples and no batch are refused") {
  CHECK_ERROR(ShuffledBatches(0, 4, 1), ErrorId::value, "there are 0 examples");
  CHECK_ERROR(ShuffledBatches(4, 0, 1), ErrorId::value, "batch_size is 0");
  ShuffledBatches batches(4, 2, 1);
  CHECK_ERROR(batches.seek(0, 5), ErrorId::value, "position is 5, expected at most 4");
}

TEST_CASE("a sampler that draws examples one by one is a sampler: batches of any size, none among them, at the expected rate") {
  BernoulliBatches batches(6, 0.25, 3);
  const auto [total, empty] = drawn(batches, 4000);
  CHECK(std::abs(double(total) - 4000 * batches.expected_batch_size()) < 5 * std::sqrt(4000 * 6 * 0.25 * 0.75));
  const double none = std::pow(0.75, 6);
  CHECK(std::abs(empty - 4000 * none) < 5 * std::sqrt(4000 * none * (1 - none)));
  BernoulliBatches entered(6, 0.25, 3);
  entered.seek(batches.epoch(), batches.position());
  for (int i = 0; i < 20; ++i) {
    const std::span<const Index> a = batches.next(), b = entered.next();
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
  CHECK(ShuffledBatches(10, 4, 1).expected_batch_size() == 4);
}

TEST_CASE("a step over batches of any size divides by the expected one, also where a batch is empty") {
  // the loss of an example is w itself: its gradient is 1, and the mean move is the rate, whatever the sizes came out to be
  BernoulliBatches batches(6, 0.25, 5);
  optim::Sgd<double> sgd(1, {});
  Step<double> step(1, 2, 1);
  std::vector<double> w{0};
  Index total = 0;
  int empty = 0;
  for (int t = 0; t < 50; ++t) {
    const Index size = std::ssize(batches.next());
    total += size;
    empty += size == 0;
    step.accumulate(size, [&](Index, Index, Index count, std::span<double> g) {
      g[0] += double(count);
      return PassResult{.loss = w[0] * double(count)};
    });
    CHECK(step.apply(w, sgd, 0.1, {.divisor = batches.expected_batch_size()}).status == StepStatus::updated);
  }
  CHECK(empty > 0);
  CHECK(w[0] == Approx(-0.1 * double(total) / 1.5));
}
