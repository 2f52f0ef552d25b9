// The factors of plain LoRA as clients trained them, for the methods that Fed-SB is compared with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::federated {

/// Plain LoRA of one module as a client trained it. Clients have one s, which is left out here.
template <Real S>
struct ClientFactors {
  ConstWeightView<S> B;      // out x rank
  ConstWeightView<S> A;      // rank x in
  std::uint32_t weight = 1;  // w_k, as ExactMean takes it
};

/// B A, to be added to a weight:  linalg::multiply(delta.B, delta.A, W, s, 1).
template <Real S>
struct LORASB_OWNS_MEMORY LowRankDelta {
  Weight<S> B;  // out x rank
  Weight<S> A;  // rank x in
  Index rank() const { return A.rows(); }
};

namespace detail {

/// Σ w_k, when there is something to add up.
template <Real S>
double checked_total_weight(std::span<const ClientFactors<S>> clients, std::string_view where) {
  std::uint64_t total = 0;
  for (std::size_t k = 0; k < clients.size(); ++k) {
    const auto& [B, A, weight] = clients[k];
    require_shape(B, clients[0].B.rows(), A.rows(), where, "B", "out x rows of A, client ", k);
    require_shape(A, A.rows(), clients[0].A.cols(), where, "A", "rank x in, client ", k);
    require_finite(B, where, "B of client ", k);
    require_finite(A, where, "A of client ", k);
    total += weight;
  }
  require(total > 0, ErrorId::no_examples, where, ": the total weight of ", clients.size(),
          " clients is 0, expected a client with a weight above 0");
  return double(total);
}

}  // namespace detail

}  // namespace lorasb::federated
