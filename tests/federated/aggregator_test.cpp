#include "lorasb/federated/aggregator.hpp"

#include <algorithm>

#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

/// The median of each value over the clients, whatever their weights; of an even number the lower one.
class Median final : public Aggregator<float> {
 public:
  std::unique_ptr<Aggregator<float>> empty() const override { return std::make_unique<Median>(); }
  std::unique_ptr<Aggregator<float>> clone() const override { return std::make_unique<Median>(*this); }
  void add(const AdmittedUpdate<float>& update) override { updates_.push_back(update); }
  std::uint64_t total_weight() const override { return updates_.size(); }
  void commit(std::span<const float>, std::uint32_t, std::span<float> next) const override {
    for (std::size_t i = 0; i < next.size(); ++i) {
      std::vector<float> column;
      for (const AdmittedUpdate<float>& update : updates_) column.push_back(update.values[i]);
      std::ranges::sort(column);
      next[i] = column[(column.size() - 1) / 2];
    }
  }

 private:
  std::vector<AdmittedUpdate<float>> updates_;
};

/// A mean for each module by itself, over the clients that changed it; a module that nobody changed stays as it was.
class PerModule final : public Aggregator<float> {
 public:
  PerModule(const ParameterLayout& layout, std::vector<float> start) : layout_(layout), start_(std::move(start)) {}
  std::unique_ptr<Aggregator<float>> empty() const override { return std::make_unique<PerModule>(layout_, start_); }
  std::unique_ptr<Aggregator<float>> clone() const override { return std::make_unique<PerModule>(*this); }
  void add(const AdmittedUpdate<float>& update) override { updates_.push_back(update); }
  std::uint64_t total_weight() const override { return updates_.size(); }
  void commit(std::span<const float> global, std::uint32_t, std::span<float> next) const override {
    std::ranges::copy(global, next.begin());
    for (const ParameterLayout::Tensor& t : layout_.tensors()) {
      ExactMean<float> mean(t.size());
      for (const AdmittedUpdate<float>& update : updates_) {
        const std::span<const float> values = t.range().of(std::span<const float>(update.values));
        if (!std::ranges::equal(values, t.range().of(std::span<const float>(start_)))) mean.add(values, update.weight);
      }
      if (mean.total_weight() > 0) mean.mean(t.range().of(next));
    }
  }

 private:
  ParameterLayout layout_;
  std::vector<float> start_;
  std::vector<AdmittedUpdate<float>> updates_;
};

const std::vector<std::string> abc{"a", "b", "c"};

}  // namespace

TEST_CASE("the default aggregator is exact, an own one takes its place, and both leave the rest of the server as it is") {
  CHECK(ExactAggregator<float>(3).exact());
  CHECK_FALSE(Median().exact());
  Server<float> server(small_session(), numbers(9), abc, {}, std::make_unique<Median>());
  server.open(0, 1);
  for (const std::size_t c : {2u, 0u, 1u}) CHECK(server.receive(message_of(abc[c], c + 1), abc[c], 0).accepted);
  CHECK(server.close().committed);
  std::vector<float> one = numbers(1), two = numbers(2), three = numbers(3);
  for (std::size_t i = 0; i < one.size(); ++i)
    CHECK(server.global()[i] == std::max(std::min(one[i], two[i]), std::min(std::max(one[i], two[i]), three[i])));
  server.open(2, 3);  // a round begins with an empty aggregator
  CHECK(server.receive(message_of("b", 7, 10, 2), "b", 2).accepted);
  server.close();
  CHECK(std::ranges::equal(server.global(), numbers(7)));
}

TEST_CASE("Row 40: a module that no client trained stays as it was, and each mean is over those that did") {
  const std::vector<float> start = numbers(9);
  const ParameterLayout layout = small_session().layout;
  Server<float> server(small_session(), start, abc, {}, std::make_unique<PerModule>(layout, start));
  std::vector<float> q_only = start, both = start;
  for (Index i = 0; i < 9; ++i) q_only[std::size_t(i)] = 1;
  for (Index i = 0; i < 18; ++i) both[std::size_t(i)] = 4;
  server.open(0, 1);
  const auto send = [&](const std::string& client, const std::vector<float>& values, std::uint64_t examples) {
    const Bytes bytes = encode_update(small_session(), Update<float>{.round = 1, .client = client, .examples = examples, .rank = 0,
                                                                     .values = values});
    CHECK(server.receive(bytes, client, 0).accepted);
  };
  send("a", q_only, 2);
  send("b", both, 1);
  server.close();
  CHECK(server.global()[0] == 2);  // (2 · 1 + 4) / 3
  CHECK(server.global()[9] == 4);  // of b alone
  CHECK(server.global()[18] == start[18]);
}

TEST_CASE("an aggregator that gives NaN or throws leaves the round open and the values as they were") {
  struct Bad final : Aggregator<float> {
    std::unique_ptr<Aggregator<float>> empty() const override { return std::make_unique<Bad>(); }
    std::unique_ptr<Aggregator<float>> clone() const override { return std::make_unique<Bad>(*this); }
    void add(const AdmittedUpdate<float>&) override {}
    std::uint64_t total_weight() const override { return 1; }
    void commit(std::span<const float>, std::uint32_t, std::span<float> next) const override {
      std::ranges::fill(next, std::numeric_limits<float>::quiet_NaN());
    }
  };
  Server<float> server(small_session(), numbers(9), abc, {}, std::make_unique<Bad>());
  server.open(0, 1);
  server.receive(message_of("a", 1), "a", 0);
  CHECK_ERROR(server.close(), ErrorId::not_finite, "the aggregator gave NaN or infinity");
  CHECK(server.is_open());
  CHECK(server.accepted() == 1);
  CHECK(std::ranges::equal(server.global(), numbers(9)));
}
