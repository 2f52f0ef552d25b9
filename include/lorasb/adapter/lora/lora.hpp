// Plain LoRA, the baseline of LoRA-SB: the adapter as a value, and its start.
#pragma once

#include <algorithm>
#include <cmath>

#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// s B A, added to a frozen weight W0 (Hu et al., arXiv 2106.09685), with s = alpha / rank.
template <Real S>
struct LORASB_OWNS_MEMORY LoraAdapter {
  Weight<S> B;  // out x rank
  Weight<S> A;  // rank x in
  S scale = 1;  // s

  Index rank() const { return A.rows(); }
  Index trainable() const { return B.size() + A.size(); }
};

struct LoraOptions {
  Index rank = 16;
  double alpha = 16;  // s = alpha / rank
  std::uint64_t seed = 0;

  /// Throws ErrorId::value. The rank is checked against the weight by initialize_lora().
  void validate() const {
    require(is_finite(alpha) && alpha != 0, ErrorId::value, "LoraOptions: alpha is ", alpha, ", expected finite and not 0");
  }
};

/// B = 0 and A uniform on ±1/√in, as in PEFT (kaiming_uniform_ with a = √5), so that the model starts at W0.
/// Throws ErrorId::rank and ErrorId::value.
template <Real S>
LoraAdapter<S> initialize_lora(Index out_features, Index in_features, LoraOptions options) {
  options.validate();
  require(options.rank >= 1 && options.rank <= std::min(out_features, in_features), ErrorId::rank, "initialize_lora: rank is ",
          options.rank, ", expected 1 to min(out, in) = ", std::min(out_features, in_features));
  LoraAdapter<S> lora{.B = Weight<S>::Zero(out_features, options.rank),
                      .A = Weight<S>(options.rank, in_features),
                      .scale = S(options.alpha / double(options.rank))};
  Random random(options.seed);
  const double bound = 1 / std::sqrt(double(in_features));
  for (S& a : flat(lora.A)) a = S(bound * (2 * random.uniform() - 1));
  return lora;
}

}  // namespace lorasb
