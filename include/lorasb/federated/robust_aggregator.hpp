// Robust means: what a round becomes when some of its clients may lie.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/federated/aggregator.hpp"

namespace lorasb::federated {

enum class RobustRule { median, trimmed, krum };
inline constexpr std::array<std::string_view, 3> robust_rule_names{"median", "trimmed", "krum"};

struct RobustOptions {
  RobustRule rule = RobustRule::median;
  double trimmed_share = 0.2;  // beta of trimmed: floor(beta n) values are left out at either end; below 1/2
  Index liars = 1;             // f of krum: clients that may lie; a round needs 2 f + 3 updates at least

  /// Throws ErrorId::value.
  void validate() const {
    require(is_finite(trimmed_share) && trimmed_share >= 0 && trimmed_share < 0.5, ErrorId::value, "RobustOptions: trimmed_share is ",
            trimmed_share, ", expected at least 0 and below 0.5");
    require(liars >= 0 && liars <= 1'000'000, ErrorId::value, "RobustOptions: liars is ", liars, ", expected 0 to 1000000");
  }
};

/// For n updates, of which f may be anything (Yin et al., arXiv 1803.01498; Blanchard et al., NeurIPS 2017), in each coordinate apart
///
///     median     the middle value, or the mean of the two middle ones: within the honest values for f < n/2
///     trimmed    the mean of the values without the floor(beta n) smallest and largest: within them for f <= beta n
///
/// and as a whole
///
///     krum       the update whose n - f - 2 nearest others are nearest, by the sum of squared distances; n >= 2 f + 3. Of equals the
///                one whose values come first in lexicographic order.
///
/// None is the exact weighted mean of Fed-SB. Every update counts once, whatever it says it weighs: weights are the clients' own words.
/// The result is the same in any order of arrival. All updates of a round are kept.
template <Real S>
class RobustAggregator final : public Aggregator<S> {
 public:
  /// `size` values an update. Throws ErrorId::value.
  RobustAggregator(Index size, const RobustOptions& options) : size_(size), options_(options) { options_.validate(); }

  std::unique_ptr<Aggregator<S>> empty() const override { return std::make_unique<RobustAggregator>(size_, options_); }
  std::unique_ptr<Aggregator<S>> clone() const override { return std::make_unique<RobustAggregator>(*this); }
  /// Throws ErrorId::shape for another size, ErrorId::not_finite for NaN and infinity.
  void add(const AdmittedUpdate<S>& update) override {
    require(std::ssize(update.values) == size_, ErrorId::shape, "RobustAggregator: an update has ", update.values.size(),
            " values, expected ", size_);
    require(all_finite(std::span<const S>(update.values)), ErrorId::not_finite, "RobustAggregator: an update holds NaN or infinity");
    updates_.push_back(update.values);
  }
  std::uint64_t total_weight() const override { return updates_.size(); }
  void require_server(const ServerOptions& options) const override {
    require(options.planned_clients == 0, ErrorId::value,
            "RobustAggregator: planned_clients is for means over a fixed number of clients, expected 0");
    require(options.min_clients >= fewest(), ErrorId::value, "RobustAggregator: min_clients is ", options.min_clients,
            ", but krum with ", options_.liars, " liars needs ", fewest(), " updates (2 f + 3)");
  }
  /// Throws ErrorId::value for fewer updates than the rule needs.
  void commit(std::span<const S>, std::uint32_t, std::span<S> next) const override {
    require(std::ssize(updates_) >= fewest(), ErrorId::value, "RobustAggregator: ", updates_.size(), " updates, expected at least ",
            fewest());
    if (options_.rule == RobustRule::krum) {
      std::ranges::copy(updates_[nearest_to_others()], next.begin());
      return;
    }
    std::vector<S> column(updates_.size());
    const std::size_t n = column.size();
    const std::size_t cut = options_.rule == RobustRule::median ? (n - 1) / 2 : static_cast<std::size_t>(options_.trimmed_share * double(n));
    for (std::size_t i = 0; i < next.size(); ++i) {
      for (std::size_t k = 0; k < n; ++k) column[k] = updates_[k][i];
      std::ranges::sort(column);
      next[i] = mean_of(std::span(column).subspan(cut, n - 2 * cut));
    }
  }

 private:
  Index fewest() const { return options_.rule == RobustRule::krum ? 2 * options_.liars + 3 : 1; }

  /// Of sorted values; between the first and the last of them whatever the rounding.
  static S mean_of(std::span<const S> sorted) {
    double mean = 0;
    for (const S value : sorted) mean += double(value) / double(sorted.size());
    return std::clamp(static_cast<S>(mean), sorted.front(), sorted.back());
  }

  /// The place of Krum's choice.
  std::size_t nearest_to_others() const {
    const std::size_t n = updates_.size();
    double largest = 0;  // distances are of values over it: their squares stay in the range of double
    for (const std::vector<S>& update : updates_)
      for (const S value : update) largest = std::max(largest, std::abs(double(value)));
    std::vector<double> scores(n);
    std::vector<double> distances;
    for (std::size_t k = 0; k < n && largest > 0; ++k) {
      distances.clear();
      for (std::size_t other = 0; other < n; ++other) {
        if (other == k) continue;
        double sum = 0;
        for (std::size_t i = 0; i < updates_[k].size(); ++i) {
          const double difference = double(updates_[k][i]) / largest - double(updates_[other][i]) / largest;
          sum += difference * difference;
        }
        distances.push_back(sum);
      }
      std::ranges::sort(distances);
      for (std::size_t i = 0; i < n - static_cast<std::size_t>(options_.liars) - 2; ++i) scores[k] += distances[i];
    }
    std::size_t best = 0;
    for (std::size_t k = 1; k < n; ++k)
      if (scores[k] < scores[best] || (scores[k] == scores[best] && updates_[k] < updates_[best])) best = k;
    return best;
  }

  Index size_;
  RobustOptions options_;
  std::vector<std::vector<S>> updates_;
};

}  // namespace lorasb::federated
