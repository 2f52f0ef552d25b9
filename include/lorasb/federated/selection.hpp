// Who takes part in a round, and who comes first when there are too many: chosen by seed, round and attempt, not by arrival.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "lorasb/core/random.hpp"

namespace lorasb::federated {

/// The priority of a client in a round: the lower number comes first. Equal ones (by a chance of 2^-64) go by index. A round
/// that was abandoned is drawn anew: `attempt` counts from 0.
inline std::uint64_t priority(std::uint64_t seed, std::uint64_t round, std::uint64_t attempt, std::uint64_t client) {
  return derive_seed(derive_seed(attempt == 0 ? seed : derive_seed(seed, ~attempt), round), client);
}

/// The share of `clients` clients with the first priorities, rounded up, at least one; indices ascending. Throws
/// ErrorId::value for no clients and for a share outside (0, 1].
inline std::vector<Index> select_clients(Index clients, double participation, std::uint64_t seed, std::uint64_t round,
                                         std::uint64_t attempt = 0) {
  require(clients >= 1, ErrorId::value, "federated::select_clients: there are ", clients, " clients, expected at least 1");
  require(participation > 0 && participation <= 1, ErrorId::value, "federated::select_clients: participation is ",
          participation, ", expected above 0, at most 1");
  std::vector<Index> chosen(static_cast<std::size_t>(clients));
  std::iota(chosen.begin(), chosen.end(), Index{0});
  // 0.3 of 10 is 3, although 0.3 * 10 may come out above 3
  const auto count = static_cast<Index>(std::ceil(participation * double(clients) * (1 - 1e-12)));
  const auto before = [&](Index a, Index b) {
    const std::uint64_t x = priority(seed, round, attempt, static_cast<std::uint64_t>(a));
    const std::uint64_t y = priority(seed, round, attempt, static_cast<std::uint64_t>(b));
    return x != y ? x < y : a < b;
  };
  std::sort(chosen.begin(), chosen.end(), before);
  chosen.resize(static_cast<std::size_t>(std::max<Index>(count, 1)));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace lorasb::federated
