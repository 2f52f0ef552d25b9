// Products with a frozen weight, whatever its numbers are stored in.
#pragma once

#include <algorithm>
#include <vector>

#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::linalg {
namespace detail {

/// result = W X or Wᵀ X with W widened some rows at a time, so that what is wide fits in a cache: W stays narrow in memory.
template <Real S>
void multiply_in_tiles(const FrozenWeight<S>& W, bool transpose, ConstMatrixView<S> X, MatrixView<S> result) {
  constexpr Index tile_numbers = 1 << 16;  // 256 KiB of float
  const Index rows = std::clamp<Index>(tile_numbers / std::max<Index>(W.cols(), 1), 8, 256);
  thread_local std::vector<S> tile;
  tile.resize(static_cast<std::size_t>(std::min(rows, W.rows()) * W.cols()));
  if (X.cols() == 0) return;
  if (W.rows() == 0)  // the sum of nothing, where the weight is transposed
    for (Index j = 0; j < result.cols(); ++j) std::fill_n(result.data() + j * result.outerStride(), result.rows(), S(0));
  for (Index first = 0; first < W.rows(); first += rows) {
    const Index count = std::min(rows, W.rows() - first);
    W.widen(first, count, tile.data());
    const ConstWeightView<S> part(tile.data(), count, W.cols());
    if (transpose)
      multiply(transposed(part), X.middleRows(first, count), result, 1, first == 0 ? 0 : 1);
    else
      multiply(part, X, result.middleRows(first, count));
  }
}

template <Real S>
void multiply_weight(const FrozenWeight<S>& W, bool transpose, ConstMatrixView<S> X, MatrixView<S> result) {
  if (W.is_wide()) {
    const Factor<S> wide(reinterpret_cast<const S*>(W.bytes()), transpose ? W.cols() : W.rows(), transpose ? W.rows() : W.cols(),
                         static_cast<Index>(W.row_bytes() / sizeof(S)), !transpose);
    return run_gemm<S>(wide, X, result, 1, 0);
  }
  const Index expected = transpose ? W.rows() : W.cols();
  require_rows(X, expected, "linalg::multiply", "X", transpose ? "rows of the weight" : "columns of the weight");
  require_shape(result, transpose ? W.cols() : W.rows(), X.cols(), "linalg::multiply", "result", "the weight by X");
  if constexpr (std::same_as<S, float>) {
    const Backend* const chosen = backend();
    if (chosen != nullptr && chosen->narrow_product != nullptr && W.size() > 0 && X.cols() > 0 &&
        chosen->narrow_product({.dtype = W.dtype(),
                                .weight = W.bytes(),
                                .out = W.rows(),
                                .in = W.cols(),
                                .weight_row_bytes = W.row_bytes(),
                                .transposed = transpose,
                                .input = X.data(),
                                .input_stride = X.outerStride(),
                                .columns = X.cols(),
                                .result = result.data(),
                                .result_stride = result.outerStride()}))
      return;
  }
  multiply_in_tiles(W, transpose, X, result);
}

}  // namespace detail

/// Y = W X, overwritten. W: out x in, X: in x tokens, Y: out x tokens. With a narrow W the backend may round X to the type of W
/// first; sums are in S. Throws ErrorId::shape.
template <Real S>
void multiply(const FrozenWeight<S>& W, ConstMatrixView<std::type_identity_t<S>> X, MatrixView<std::type_identity_t<S>> Y) {
  detail::multiply_weight<S>(W, false, X, Y);
}

/// dX = Wᵀ dY, overwritten. dY: out x tokens, dX: in x tokens.
template <Real S>
void multiply_transposed(const FrozenWeight<S>& W, ConstMatrixView<std::type_identity_t<S>> dY,
                         MatrixView<std::type_identity_t<S>> dX) {
  detail::multiply_weight<S>(W, true, dY, dX);
}

}  // namespace lorasb::linalg
