// Bases that no data is needed for: they give nothing away.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/linalg/orthonormalize.hpp"
#include "lorasb/linalg/truncated_svd.hpp"

namespace lorasb {

/// W0 ≈ U Σ Vᵀ truncated at r; B = U, A = Vᵀ, R = 0: LoRA-XS's subspaces, orthonormal. Throws ErrorId::rank and not_finite.
template <Real S>
LowRankAdapter<S> bases_of_weight(ConstWeightView<std::type_identity_t<S>> W0, Index rank, std::uint64_t seed = 0) {
  const linalg::TruncatedSvd<S> svd = linalg::truncated_svd<S>(W0, {.rank = rank, .seed = seed});
  return {.B = svd.U, .R = Weight<S>::Zero(rank, rank), .A = svd.V.transpose(), .scale = 1};
}

/// B and A uniformly random among matrices with orthonormal columns and rows, R = 0. Throws ErrorId::rank.
template <Real S>
LowRankAdapter<S> random_bases(Index out_features, Index in_features, Index rank, std::uint64_t seed) {
  require(rank >= 1 && rank <= std::min(out_features, in_features), ErrorId::rank, "random_bases: rank is ", rank,
          ", expected 1 to ", std::min(out_features, in_features));
  // columns of zero are replaced by random directions
  Matrix<S> B = Matrix<S>::Zero(out_features, rank), A = Matrix<S>::Zero(in_features, rank);
  linalg::orthonormalize<S>(B, derive_seed(seed, 0));
  linalg::orthonormalize<S>(A, derive_seed(seed, 1));
  return {.B = B, .R = Weight<S>::Zero(rank, rank), .A = A.transpose(), .scale = 1};
}

/// The same for every module of a model; module m has the seed derive_seed(seed, m).
template <Real S>
AdapterSet<S> bases_of_weights(const std::vector<Module<S>>& modules, Index rank, std::uint64_t seed = 0) {
  AdapterSet<S> adapters;
  std::uint64_t position = 0;
  for (const Module<S>& m : modules)
    adapters.add(m.name, bases_of_weight<S>(m.W0.widened(), rank, derive_seed(seed, position++)));
  return adapters;
}
template <Real S>
AdapterSet<S> random_bases(const std::vector<Module<S>>& modules, Index rank, std::uint64_t seed) {
  AdapterSet<S> adapters;
  std::uint64_t position = 0;
  for (const Module<S>& m : modules)
    adapters.add(m.name, random_bases<S>(m.W0.rows(), m.W0.cols(), rank, derive_seed(seed, position++)));
  return adapters;
}

}  // namespace lorasb
