// What all members of a federated session agree on before its first round.
#pragma once

#include <string>

#include "lorasb/core/digest.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb::federated {

/// The numbers that are trained and averaged, by name and shape, and the digest of all that is frozen and must be equal
/// everywhere, or else averages of cores mean nothing: Σ w_k B R_k A = B (Σ w_k R_k) A holds for one pair B, A only.
struct Session {
  std::string id = {};          // UTF-8; a new one for every session
  Digest base{};           // base_digest() of all that is frozen
  ParameterLayout layout = {};  // cores (Role::core), and what is trained in full beside them, such as a head
  Index experts = 0;            // of a mixture, whose weights every update says (ExpertAggregator); 0: none
};

}  // namespace lorasb::federated
