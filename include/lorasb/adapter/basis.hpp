// The frozen part of an adapter: two orthonormal factors and the scale. The trained core lives elsewhere.
#pragma once

#include <algorithm>
#include <string_view>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/named_set.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// B and A of s B R A, which is added to a frozen weight W0 (out x in). R, rank x rank, is trained: it lives in one place only,
/// the trainer's Parameters, and every function that needs it takes it beside the basis. Clients, or the experts of a mixture,
/// share one basis and have an R each. Float or double even where W0 is narrower: in bfloat16 BᵀB misses I by 7e-4.
template <Real S>
struct LORASB_OWNS_MEMORY AdapterBasis {
  Weight<S> B;  // out x rank
  Weight<S> A;  // rank x in
  S scale = 1;  // s

  Index out_features() const { return B.rows(); }
  Index in_features() const { return A.cols(); }
  Index rank() const { return A.rows(); }

  /// Throws when shapes disagree (ErrorId::shape), the rank is 0 or above min(out, in) (rank), or s is 0 or not finite (value).
  void validate_shapes(std::string_view name = "basis") const {
    const Index r = rank();
    require(r >= 1 && r <= std::min(B.rows(), A.cols()), ErrorId::rank, name, ": rank is ", r,
            ", expected 1 to min(out, in) = ", std::min(B.rows(), A.cols()));
    require_shape(B, B.rows(), r, name, "B", "columns are the rank, the rows of A");
    require(is_finite(scale) && scale != 0, ErrorId::value, name, ": scale is ", double(scale), ", expected finite and not 0");
  }
  /// validate_shapes, and reads every number: throws ErrorId::not_finite for NaN and infinity.
  void validate(std::string_view name = "basis") const {
    validate_shapes(name);
    require_finite(B, name, "B");
    require_finite(A, name, "A");
  }
};

/// The bases of a model's adapters by the names of their modules.
template <Real S>
using AdapterBases = NamedSet<AdapterBasis<S>>;

}  // namespace lorasb
