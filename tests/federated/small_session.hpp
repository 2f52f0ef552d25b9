// A small session for the tests: two cores and a head, and updates of its clients.
#pragma once

#include <string>
#include <vector>

#include "lorasb/federated/update.hpp"
#include "support.hpp"

namespace lorasb::test {

inline AdapterSet<float> small_adapters(std::uint64_t seed = 1) {
  AdapterSet<float> adapters;
  for (const char* module : {"q", "v"})
    adapters.add(module, {.B = random_matrix<Weight<float>>(6, 3, seed++),
                          .R = Weight<float>::Zero(3, 3),
                          .A = random_matrix<Weight<float>>(3, 5, seed++)});
  return adapters;
}

inline federated::Session small_session() {
  ParameterLayout layout;
  layout.add("q.R", 3, 3);
  layout.add("v.R", 3, 3);
  layout.add("classifier.weight", 2, 4);
  return {.id = "session", .base = federated::base_digest(small_adapters()), .layout = layout};
}

/// Random numbers for all of the session's layout.
inline std::vector<float> numbers(std::uint64_t seed) {
  const Vector<float> x = random_matrix<Matrix<float>>(26, 1, seed);
  return {x.begin(), x.end()};
}

inline federated::Update<float> update_of(std::string client, std::uint64_t seed, std::uint64_t examples = 10,
                                          std::uint64_t round = 1) {
  return {.round = round, .client = std::move(client), .examples = examples, .rank = 0, .values = numbers(seed)};
}

inline std::vector<std::byte> message_of(const std::string& client, std::uint64_t seed, std::uint64_t examples = 10,
                                         std::uint64_t round = 1) {
  return federated::encode_update(small_session(), update_of(client, seed, examples, round));
}

}  // namespace lorasb::test
