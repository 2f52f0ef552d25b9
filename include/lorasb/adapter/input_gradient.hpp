// What the input of an adapter's factor A gets back.
#pragma once

#include "lorasb/core/linear_cache.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::detail {

/// dX += Aᵀ P, through the mask of the forward pass where inputs were dropped; `scratch` holds what is masked.
template <Real S>
void add_adapter_input_gradient(ConstWeightView<S> A, ConstMatrixView<S> P, const InputDropout& dropout, Buffer<S>& scratch,
                                MatrixView<S> dX) {
  if (!dropout.drops()) return linalg::multiply(linalg::transposed(A), P, dX, 1, 1);
  MatrixView<S> dropped = scratch.reshape(dX.rows(), dX.cols());
  linalg::multiply(linalg::transposed(A), P, dropped);
  dropout.apply<S>(dropped, dropped);
  dX += dropped;
}

}  // namespace lorasb::detail
