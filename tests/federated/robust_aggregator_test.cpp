#include "lorasb/federated/robust_aggregator.hpp"

#include <limits>

#include "lorasb/core/random.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;

namespace {

std::vector<float> result(const RobustOptions& options, const std::vector<std::vector<float>>& updates) {
  RobustAggregator<float> aggregator(std::ssize(updates.front()), options);
  for (const std::vector<float>& values : updates) aggregator.add({.client = 0, .weight = 7, .values = values});
  CHECK(aggregator.total_weight() == updates.size());
  CHECK_FALSE(aggregator.exact());
  std::vector<float> next(updates.front().size());
  aggregator.commit(std::vector<float>(next.size()), 0, next);
  return next;
}

std::vector<std::vector<float>> honest_updates(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<float>> updates(count, std::vector<float>(20));
  for (std::vector<float>& update : updates)
    for (float& value : update) value = 1 + float(random.normal()) / 4;
  return updates;
}

/// Sign flip, scale 1e6, a constant, the largest number, a copy of an honest client, collusion.
std::vector<std::vector<float>> lies(const std::vector<std::vector<float>>& honest, std::size_t count, int kind) {
  std::vector<std::vector<float>> updates;
  for (std::size_t k = 0; k < count; ++k) {
    std::vector<float> update = honest[kind == 5 ? 0 : k % honest.size()];
    for (float& value : update)
      value = kind == 0 ? -value : kind == 1 ? value * 1e6f : kind == 2 ? 3 : kind == 3 ? std::numeric_limits<float>::max() : kind == 4 ? value : -100;
    updates.push_back(update);
  }
  return updates;
}

}  // namespace

TEST_CASE("Row 18: with fewer liars than the rule bears, median and trimmed mean stay within the honest values and Krum picks an honest client") {
  const std::size_t n = 11;
  for (int kind = 0; kind < 6; ++kind)
    for (std::size_t f = 0; f <= 5; ++f) {
      INFO("kind " << kind << ", " << f << " liars");
      const std::vector<std::vector<float>> honest = honest_updates(n - f, 10 * f + std::size_t(kind));
      std::vector<std::vector<float>> all = lies(honest, f, kind);
      all.insert(all.end(), honest.begin(), honest.end());
      const auto within = [&](const std::vector<float>& found) {
        for (std::size_t i = 0; i < found.size(); ++i) {
          float least = honest[0][i], most = least;
          for (const std::vector<float>& update : honest) least = std::min(least, update[i]), most = std::max(most, update[i]);
          CHECK(found[i] >= least);
          CHECK(found[i] <= most);
        }
      };
      within(result({.rule = RobustRule::median}, all));
      within(result({.rule = RobustRule::trimmed, .trimmed_share = double(f) / double(n) + (f < 5 ? 1e-9 : 1e-9)}, all));
      if (n < 2 * f + 3) continue;
      const std::vector<float> chosen = result({.rule = RobustRule::krum, .liars = Index(f)}, all);
      CHECK(std::ranges::count(honest, chosen) == 1);
    }
}

TEST_CASE("Row 19: ties, even counts, one update and two are settled in any order of arrival") {
  CHECK(result({.rule = RobustRule::median}, {{3}}) == std::vector<float>{3});
  CHECK(result({.rule = RobustRule::median}, {{3}, {1}}) == std::vector<float>{2});
  CHECK(result({.rule = RobustRule::median}, {{1}, {9}, {2}, {4}}) == std::vector<float>{3});
  CHECK(result({.rule = RobustRule::trimmed, .trimmed_share = 0.25}, {{1}, {9}, {2}, {4}}) == std::vector<float>{3});
  CHECK(result({.rule = RobustRule::trimmed, .trimmed_share = 0.49}, {{1}, {4}}) == std::vector<float>{2.5f});
  const float huge = std::numeric_limits<float>::max();
  CHECK(result({.rule = RobustRule::median}, {{huge}, {huge}}) == std::vector<float>{huge});
  CHECK(result({.rule = RobustRule::krum, .liars = 0}, {{2}, {1}, {3}, {1}}) == std::vector<float>{1});
  CHECK(result({.rule = RobustRule::krum, .liars = 0}, {{2}, {0}, {4}}) == std::vector<float>{0});  // all as near: the first by value
  std::vector<std::vector<float>> updates = honest_updates(6, 1);
  for (const RobustRule rule : {RobustRule::median, RobustRule::trimmed, RobustRule::krum}) {
    const std::vector<float> first = result({.rule = rule}, updates);
    std::ranges::reverse(updates);
    CHECK(result({.rule = rule}, updates) == first);
  }
}

TEST_CASE("a robust mean refuses too few updates, bad options, and a server that divides by planned clients") {
  CHECK_ERROR(result({.rule = RobustRule::krum, .liars = 1}, honest_updates(4, 1)), ErrorId::value, "4 updates, expected at least 5");
  CHECK_ERROR(RobustAggregator<float>(1, {.trimmed_share = 0.5}), ErrorId::value, "trimmed_share is 0.5");
  CHECK_ERROR(RobustAggregator<float>(1, {.liars = -1}), ErrorId::value, "liars is -1");
  RobustAggregator<float> krum(2, {.rule = RobustRule::krum});
  CHECK_ERROR(krum.require_server({.min_clients = 4}), ErrorId::value, "min_clients is 4");
  krum.require_server({.min_clients = 5});
  CHECK_ERROR(krum.require_server({.min_clients = 5, .weighting = Weighting::equal, .planned_clients = 5}), ErrorId::value, "planned_clients");
  CHECK_ERROR(krum.add({.client = 0, .weight = 1, .values = {1}}), ErrorId::shape, "1 values");
  CHECK_ERROR(krum.add({.client = 0, .weight = 1, .values = {1, std::numeric_limits<float>::quiet_NaN()}}), ErrorId::not_finite, "NaN");
  CHECK(krum.total_weight() == 0);
}
