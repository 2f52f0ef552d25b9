#include "lorasb/train/sampler.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;

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
