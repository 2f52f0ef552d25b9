// What FLoRA adds to a module's frozen weight after a round, in factors of low rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "lorasb/federated/baselines/factors.hpp"

namespace lorasb::federated {

/// FLoRA: Σ p_k B_k A_k with p_k = w_k / Σ w, as one product of rank Σ r_k; ranks may differ (Wang et al., arXiv 2409.05976):
///
///     B = [B_1 ... B_K],    A = [p_1 A_1; ...; p_K A_K]
///
/// B is copied, p_k A_k rounded once. With p_k in B_k instead the error would be the same in the mean: for independent
/// roundings of relative size ε it is ε² Σ_i ‖column i of B‖² ‖row i of A‖² both ways. Throws ErrorId::shape, not_finite, and
/// no_examples for a total weight of 0.
template <Real S>
LowRankDelta<S> flora_stack(std::span<const ClientFactors<S>> clients) {
  const double total = detail::checked_total_weight(clients, "federated::flora_stack");
  Index rank = 0;
  for (const ClientFactors<S>& client : clients) rank += client.A.rows();
  LowRankDelta<S> stack{.B = Weight<S>(clients[0].B.rows(), rank), .A = Weight<S>(rank, clients[0].A.cols())};
  Index place = 0;
  for (const auto& [B, A, weight] : clients) {
    stack.B.middleCols(place, A.rows()) = B;
    stack.A.middleRows(place, A.rows()) = ((weight / total) * A.template cast<double>()).template cast<S>();
    place += A.rows();
  }
  return stack;
}

}  // namespace lorasb::federated
