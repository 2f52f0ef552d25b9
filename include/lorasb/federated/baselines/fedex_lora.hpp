// What FedEx-LoRA adds to a module's frozen weight after a round, in factors of low rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "lorasb/federated/baselines/factors.hpp"

namespace lorasb::federated {
namespace detail {

/// Throws ErrorId::value unless mean = Σ p_k M_k up to what K additions in S may lose, with M_k = client.*factor.
template <Real S>
void require_mean(ConstWeightView<S> mean, std::span<const ClientFactors<S>> clients, double total_weight,
                  ConstWeightView<S> ClientFactors<S>::*factor, std::string_view where, std::string_view what) {
  Weight<double> missing = mean.template cast<double>();
  double size = 0;
  for (const ClientFactors<S>& client : clients) {
    const Weight<double> term = (client.weight / total_weight) * (client.*factor).template cast<double>();
    missing -= term;
    size += norm<double>(flat(term));
  }
  const double rounding = 2 * double(clients.size()) * std::numeric_limits<S>::epsilon();
  const double distance = norm<double>(flat(missing));
  require(distance <= rounding * size + std::numeric_limits<S>::min(), ErrorId::value, where, ": ", what, " is ", distance,
          " from the weighted mean of these clients, expected equal up to rounding");
}

}  // namespace detail

/// FedEx-LoRA: what the product of the means misses, for K clients of one rank r, in factors of rank (K - 1) r (Singhal et al.,
/// arXiv 2410.09432, there with equal weights and as a dense matrix). With p_k = w_k / Σ w, B̄ = Σ p_k B_k and Ā = Σ p_k A_k:
///
///     Σ p_k B_k A_k - B̄ Ā = Σ p_k (B_k - B̄) (A_k - A_j)      for any j, as Σ p_k (B_k - B̄) = 0
///
/// and the term of client j is 0. j is the client whose A is nearest to Ā: then ‖A_k - A_j‖ <= 2 ‖A_k - Ā‖, so the terms are
/// no larger than they have to be and lose nothing by cancelling each other. (Of two clients it is the heavier one.)
///
/// mean_B and mean_A are what the clients go on with, rounded from the exact means (ExactMean). That rounding is what is left
/// between B̄ Ā + residue and the mean of the B_k A_k, about one rounding of ‖B̄‖ ‖Ā‖; the factors are formed in double and
/// rounded once. Each client's part depends on the set of clients alone, its place on their order; among equally near clients
/// the first one is left out.
///
/// Throws ErrorId::shape for other shapes or ranks, not_finite, no_examples for a total weight of 0, and value when the means
/// are not those of these clients.
template <Real S>
LowRankDelta<S> fedex_residue(std::span<const ClientFactors<S>> clients, ConstWeightView<S> mean_B, ConstWeightView<S> mean_A) {
  constexpr std::string_view where = "federated::fedex_residue";
  const double total = detail::checked_total_weight(clients, where);
  for (std::size_t k = 0; k < clients.size(); ++k) {
    require_shape(clients[k].B, mean_B.rows(), mean_B.cols(), where, "B", "that of mean_B, client ", k);
    require_shape(clients[k].A, mean_A.rows(), mean_A.cols(), where, "A", "that of mean_A, client ", k);
  }
  detail::require_mean(mean_B, clients, total, &ClientFactors<S>::B, where, "mean_B");
  detail::require_mean(mean_A, clients, total, &ClientFactors<S>::A, where, "mean_A");

  std::size_t nearest = 0;  // j
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t k = 0; k < clients.size(); ++k) {
    const Weight<double> difference = clients[k].A.template cast<double>() - mean_A.template cast<double>();
    const double distance = norm<double>(flat(difference));
    if (distance < least) nearest = k, least = distance;
  }
  const Index r = mean_A.rows(), rank = (std::ssize(clients) - 1) * r;
  LowRankDelta<S> residue{.B = Weight<S>(mean_B.rows(), rank), .A = Weight<S>(rank, mean_A.cols())};
  Index place = 0;
  for (std::size_t k = 0; k < clients.size(); ++k) {
    if (k == nearest) continue;
    const auto& [B, A, weight] = clients[k];
    const ConstWeightView<S> A_j = clients[nearest].A;
    residue.B.middleCols(place, r) = B - mean_B;
    residue.A.middleRows(place, r) =
        ((weight / total) * (A.template cast<double>() - A_j.template cast<double>())).template cast<S>();
    place += r;
  }
  require_finite(residue.B, where, "B of the residue");
  require_finite(residue.A, where, "A of the residue");
  return residue;
}

}  // namespace lorasb::federated
