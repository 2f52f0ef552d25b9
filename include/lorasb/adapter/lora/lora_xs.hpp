// LoRA-XS, beside which LoRA-SB is measured: the same adapter with factors from W0 itself.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/linalg/truncated_svd.hpp"

namespace lorasb {

struct LoraXsOptions {
  Index rank = 16;
  double scale = 1;                 // s
  double initial_deviation = 1e-5;  // of the normal numbers that R starts with
  std::uint64_t seed = 0;

  /// Throws ErrorId::value. The rank is checked against the weight by initialize_lora_xs().
  void validate() const {
    require(is_finite(scale) && scale != 0, ErrorId::value, "LoraXsOptions: scale is ", scale,
            ", expected finite and not 0");
    require(is_finite(initial_deviation) && initial_deviation >= 0, ErrorId::value, "LoraXsOptions: initial_deviation is ",
            initial_deviation, ", expected finite and at least 0");
  }
};

/// W0 ≈ U Σ Vᵀ truncated at r; B = U Σ, A = Vᵀ, R normal with a small deviation (Bałazy et al., arXiv 2405.17604, section 3).
/// B is not orthonormal here. Throws ErrorId::rank, value, not_finite.
template <Real S>
LowRankAdapter<S> initialize_lora_xs(ConstWeightView<std::type_identity_t<S>> W0, LoraXsOptions options) {
  options.validate();
  const linalg::TruncatedSvd<S> svd = linalg::truncated_svd<S>(W0, {.rank = options.rank, .seed = options.seed});
  LowRankAdapter<S> adapter{.B = svd.U * svd.singular_values.asDiagonal(),
                            .R = Weight<S>(options.rank, options.rank),
                            .A = svd.V.transpose(),
                            .scale = S(options.scale)};
  Random random(options.seed, 1);
  for (S& entry : flat(adapter.R)) entry = S(options.initial_deviation * random.normal());
  return adapter;
}

}  // namespace lorasb
