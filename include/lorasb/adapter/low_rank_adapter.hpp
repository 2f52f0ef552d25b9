// An adapter as one value: what initialize() returns, and what a file holds.
#pragma once

#include <algorithm>
#include <string_view>

#include "lorasb/adapter/basis.hpp"

namespace lorasb {

/// s B R A, added to a frozen weight W0 (out x in). LoRA-SB (arXiv 2411.19557) has BᵀB = I, A Aᵀ = I and trains R alone;
/// LoRA-XS (arXiv 2405.17604) has the same shape with B = U Σ, A = Vᵀ of W0.
///
/// A layer made from an adapter reads the R in it, and so do merge() and fold(). To train the adapters of a whole model in one
/// flat buffer, move their cores there with take_cores() (adapter/cores.hpp), which leaves the bases.
template <Real S>
struct LORASB_OWNS_MEMORY LowRankAdapter {
  Weight<S> B;  // out x rank, frozen
  Weight<S> R;  // rank x rank, trained
  Weight<S> A;  // rank x in, frozen
  S scale = 1;  // s

  Index out_features() const { return B.rows(); }
  Index in_features() const { return A.cols(); }
  Index rank() const { return R.rows(); }
  /// How many values are trained: rank².
  Index trainable() const { return R.size(); }

  /// Throws when shapes disagree (ErrorId::shape), the rank is 0 or above min(out, in) (rank), or s is 0 or not finite (value).
  void validate_shapes(std::string_view name = "adapter") const {
    const Index r = R.rows();
    require(r >= 1 && r <= std::min(B.rows(), A.cols()), ErrorId::rank, name, ": rank is ", r,
            ", expected 1 to min(out, in) = ", std::min(B.rows(), A.cols()));
    require_shape(R, r, r, name, "R");
    require_shape(B, B.rows(), r, name, "B", "columns are the rank of R");
    require_shape(A, r, A.cols(), name, "A", "rows are the rank of R");
    require(is_finite(scale) && scale != 0, ErrorId::value, name, ": scale is ", double(scale), ", expected finite and not 0");
  }
  /// validate_shapes, and reads every number: throws ErrorId::not_finite for NaN and infinity.
  void validate(std::string_view name = "adapter") const {
    validate_shapes(name);
    require_finite(B, name, "B");
    require_finite(R, name, "R");
    require_finite(A, name, "A");
  }
};

/// Adapters by the names of their modules: the content of a file, or the start of a training run.
template <Real S>
using AdapterSet = NamedSet<LowRankAdapter<S>>;

}  // namespace lorasb
