#include "lorasb/federated/partition.hpp"

#include <numeric>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;

namespace {

std::vector<std::int32_t> labels(std::size_t count) {
  std::vector<std::int32_t> labels(count);
  for (std::size_t i = 0; i < count; ++i) labels[i] = std::int32_t(i % 10);
  return labels;
}
PartitionOptions dirichlet(double alpha) { return {.kind = PartitionKind::dirichlet, .alpha = alpha}; }

/// Whether every text is somewhere, once.
bool whole(const Shares& shares, std::size_t texts) {
  std::vector<int> seen(texts);
  for (const std::vector<Index>& share : shares)
    for (const Index i : share) ++seen.at(std::size_t(i));
  return std::ranges::all_of(seen, [](int n) { return n == 1; });
}

/// Mean over clients with texts of the share of their commonest label.
double commonest(const Shares& shares, const std::vector<std::int32_t>& labels) {
  double sum = 0, clients = 0;
  for (const std::vector<Index>& share : shares) {
    if (share.empty()) continue;
    std::map<std::int32_t, double> counts;
    for (const Index i : share) ++counts[labels[std::size_t(i)]];
    double most = 0;
    for (const auto& [label, count] : counts) most = std::max(most, count);
    sum += most / double(share.size());
    ++clients;
  }
  return sum / clients;
}

}  // namespace

TEST_CASE("Every way to share texts out gives each to one client, the same for the same seed") {
  const std::vector<std::int32_t> y = labels(997);
  std::vector<std::string> origins;
  for (std::size_t i = 0; i < y.size(); ++i) origins.push_back("team " + std::to_string(i * i % 61));
  for (const PartitionOptions& options : {PartitionOptions{}, dirichlet(0.3), PartitionOptions{.kind = PartitionKind::natural}})
    for (const Index clients : {1, 3, 20}) {
      const Shares shares = share_out(y, origins, clients, options, 7);
      CHECK(std::ssize(shares) == clients);
      CHECK(whole(shares, y.size()));
      CHECK(shares == share_out(y, origins, clients, options, 7));
      if (options.kind != PartitionKind::natural && clients > 1) CHECK(shares != share_out(y, origins, clients, options, 8));
    }
}

TEST_CASE("Equal shares differ by one text at most") {
  for (const std::vector<Index>& share : share_out(labels(100), {}, 7, {}, 1))
    CHECK((share.size() == 14 || share.size() == 15));
}

TEST_CASE("The smaller alpha, the more labels gather at single clients") {
  const std::vector<std::int32_t> y = labels(5000);
  const double mixed = commonest(share_out(y, {}, 10, dirichlet(1000), 1), y);
  const double some = commonest(share_out(y, {}, 10, dirichlet(0.5), 1), y);
  const double alone = commonest(share_out(y, {}, 10, dirichlet(0.01), 1), y);
  CHECK(mixed < 0.13);  // ten labels
  CHECK(some > 0.2);
  CHECK(alone > some);
  CHECK(whole(share_out(y, {}, 10, dirichlet(1e-6), 1), y.size()));  // shares that would underflow
}

TEST_CASE("Shares of a Dirichlet distribution have its mean and variance") {
  for (const double alpha : {0.1, 0.3, 1.0, 5.0}) {
    INFO(alpha);
    Random random(11);
    double sum = 0, squares = 0;
    const int draws = 20000;
    for (int i = 0; i < draws; ++i) {
      const std::vector<double> shares = lorasb::federated::detail::dirichlet(alpha, 4, random);
      CHECK(std::accumulate(shares.begin(), shares.end(), 0.0) == Approx(1));
      sum += shares[0];
      squares += shares[0] * shares[0];
    }
    const double variance = 0.25 * 0.75 / (4 * alpha + 1);
    CHECK(sum / draws == Approx(0.25).margin(5 * std::sqrt(variance / draws)));
    CHECK(squares / draws - sum / draws * sum / draws == Approx(variance).epsilon(0.05));
  }
}

TEST_CASE("Natural shares keep teams whole and clients nearly equal") {
  const std::vector<std::int32_t> y = labels(600);
  std::vector<std::string> origins;
  for (std::size_t i = 0; i < y.size(); ++i) origins.push_back(std::to_string(i < 200 ? 0 : i % 50));
  const Shares shares = share_out(y, origins, 3, {.kind = PartitionKind::natural}, 1);
  std::map<std::string, std::size_t> client_of;
  for (std::size_t c = 0; c < shares.size(); ++c) {
    CHECK(shares[c].size() >= 190);
    for (const Index i : shares[c]) CHECK(client_of.try_emplace(origins[std::size_t(i)], c).first->second == c);
  }
}

TEST_CASE("What cannot be shared out is refused") {
  CHECK_THROWS_AS(share_out(labels(10), {}, 0, {}, 1), Error);
  CHECK_THROWS_AS(share_out(labels(10), {}, 2, {.kind = PartitionKind::natural}, 1), Error);
  const std::vector<std::string> one(10, "the same");
  CHECK_THROWS_AS(share_out(labels(10), one, 2, {.kind = PartitionKind::natural}, 1), Error);
  CHECK(share_out(labels(2), {}, 5, {}, 1).size() == 5);  // some have none
}

TEST_CASE("Partitions are named as on the command line") {
  for (const char* word : {"iid", "natural", "dirichlet:0.3", "dirichlet:10"})
    CHECK(name_of(partition_named(word).value()) == word);
  for (const char* word : {"", "IID", "dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:-1", "dirichlet:x", "dirichlet:1x",
                           "dirichlet:inf", "dirichlet:nan"})
    CHECK_FALSE(partition_named(word));
}
