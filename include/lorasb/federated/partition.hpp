// Shares the training texts out to clients.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"

namespace lorasb::federated {

enum class PartitionKind {
  iid,        // equal shares in random order
  dirichlet,  // of each label, shares drawn from a Dirichlet distribution: the smaller alpha, the more clients differ
  natural,    // by who the texts come from, whole teams to a client
};

struct PartitionOptions {
  PartitionKind kind = PartitionKind::iid;
  double alpha = 0;  // of dirichlet
};

/// As on the command line; nothing for another word.
inline std::optional<PartitionOptions> partition_named(std::string_view word) {
  constexpr std::string_view dirichlet = "dirichlet:";
  if (word == "iid") return PartitionOptions{};
  if (word == "natural") return PartitionOptions{.kind = PartitionKind::natural};
  if (!word.starts_with(dirichlet)) return std::nullopt;
  word.remove_prefix(dirichlet.size());
  double alpha = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), alpha);
  if (error != std::errc() || end != word.data() + word.size() || !(alpha > 0) || !is_finite(alpha)) return std::nullopt;
  return PartitionOptions{.kind = PartitionKind::dirichlet, .alpha = alpha};
}
inline std::string name_of(PartitionOptions p) {
  if (p.kind == PartitionKind::dirichlet) return concat("dirichlet:", p.alpha);
  return p.kind == PartitionKind::natural ? "natural" : "iid";
}

/// The texts of each client, by number.
using Shares = std::vector<std::vector<Index>>;

namespace detail {

/// Gamma distributed with this shape and scale 1, as a logarithm, which does not underflow where the shape is small.
/// Marsaglia and Tsang: A simple method for generating gamma variables, ACM TOMS 26 (2000) 363-372; for a shape below 1 by
/// their Section 6: Gamma(a) = Gamma(a + 1) U^(1/a).
inline double log_gamma_variate(double shape, Random& random) {
  double log_boost = 0;
  if (shape < 1) {
    log_boost = std::log(1 - random.uniform()) / shape;
    shape += 1;
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal();
    const double v = std::pow(1 + c * x, 3);
    if (v <= 0) continue;
    if (std::log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v) + log_boost;
  }
}

/// Positive shares that add up to 1.
inline std::vector<double> dirichlet(double alpha, Index parts, Random& random) {
  std::vector<double> shares(static_cast<std::size_t>(parts));
  for (double& share : shares) share = log_gamma_variate(alpha, random);
  const double largest = *std::ranges::max_element(shares);
  double sum = 0;
  for (double& share : shares) sum += share = std::exp(share - largest);
  for (double& share : shares) share /= sum;
  return shares;
}

inline void shuffle(std::vector<Index>& order, Random& random) {
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
}

}  // namespace detail

/// Every text of `labels` goes to one client; a client may get none. `origins` names who each text comes from, for natural
/// shares: teams go whole, the largest first, each to the client that has fewest texts so far. Throws ErrorId::value for no
/// clients, and ErrorId::data for natural shares of texts whose origin is not known or of fewer teams than clients.
inline Shares share_out(std::span<const std::int32_t> labels, std::span<const std::string> origins, Index clients,
                        PartitionOptions options, std::uint64_t seed) {
  require(clients >= 1, ErrorId::value, "share_out: there are ", clients, " clients, expected at least 1");
  Shares shares(static_cast<std::size_t>(clients));
  Random random(seed, 1);
  if (options.kind == PartitionKind::iid) {
    std::vector<Index> order(labels.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Index>(i);
    detail::shuffle(order, random);
    for (std::size_t i = 0; i < order.size(); ++i) shares[i % shares.size()].push_back(order[i]);
  } else if (options.kind == PartitionKind::dirichlet) {
    std::map<std::int32_t, std::vector<Index>> by_label;
    for (std::size_t i = 0; i < labels.size(); ++i) by_label[labels[i]].push_back(static_cast<Index>(i));
    for (auto& [label, texts] : by_label) {
      detail::shuffle(texts, random);
      const std::vector<double> parts = detail::dirichlet(options.alpha, clients, random);
      double sum = 0;
      std::size_t first = 0;
      for (std::size_t c = 0; c < shares.size(); ++c) {
        sum += parts[c];
        const std::size_t end =
            c + 1 == shares.size() ? texts.size() : std::min(texts.size(), std::size_t(std::round(sum * double(texts.size()))));
        for (; first < end; ++first) shares[c].push_back(texts[first]);
      }
    }
  } else {
    std::map<std::string_view, std::vector<Index>> by_origin;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      require(i < origins.size() && !origins[i].empty(), ErrorId::data,
              "share_out: natural shares need texts whose origin is known, as --data debian has them");
      by_origin[origins[i]].push_back(static_cast<Index>(i));
    }
    require(std::ssize(by_origin) >= clients, ErrorId::data, "share_out: the texts come from ", by_origin.size(),
            " teams, fewer than the ", clients, " clients");
    std::vector<std::vector<Index>> teams;
    for (auto& [origin, texts] : by_origin) teams.push_back(std::move(texts));
    std::ranges::stable_sort(teams, std::greater<>(), [](const std::vector<Index>& team) { return team.size(); });
    for (const std::vector<Index>& team : teams) {
      std::vector<Index>& least = *std::ranges::min_element(shares, {}, [](const std::vector<Index>& s) { return s.size(); });
      least.insert(least.end(), team.begin(), team.end());
    }
  }
  for (std::vector<Index>& share : shares) std::ranges::sort(share);
  return shares;
}

}  // namespace lorasb::federated
