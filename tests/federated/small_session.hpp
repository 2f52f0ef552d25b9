// A small session for the tests: two cores and a head, and updates of its clients.
#pragma once

#include <string>
#include <vector>

#include "lorasb/federated/base_digest.hpp"
#include "lorasb/federated/update.hpp"
#include "support.hpp"

namespace lorasb::test {

inline AdapterBases<float> small_bases(std::uint64_t seed = 1) {
  AdapterBases<float> bases;
  for (const char* module : {"q", "v"}) {
    Weight<float> B = random_matrix<Weight<float>>(6, 3, seed++);
    bases.add(module, {.B = std::move(B), .A = random_matrix<Weight<float>>(3, 5, seed++)});
  }
  return bases;
}

inline federated::Session small_session() {
  ParameterLayout layout;
  layout.add("q", Role::core, 3, 3);
  layout.add("v", Role::core, 3, 3);
  layout.add("classifier", Role::head_weight, 2, 4);
  return {.id = "session", .base = federated::base_digest(small_bases()), .layout = layout};
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
