// A row of a table for each token.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::nn {
namespace detail {

inline void require_ids(std::span<const std::int32_t> ids, Index vocabulary, std::string_view where) {
  for (std::size_t t = 0; t < ids.size(); ++t)
    require(ids[t] >= 0 && ids[t] < vocabulary, ErrorId::value, where, ": ids[", t, "] is ", ids[t], ", expected 0 to ",
            vocabulary - 1);
}

}  // namespace detail

/// y_t = table[ids_t]. table: vocabulary x d, stored as S or narrower; Y: d x tokens, overwritten. Throws ErrorId::value for an
/// id outside the table.
template <Real S>
void embed(const FrozenWeight<S>& table, std::span<const std::int32_t> ids, MatrixView<S> Y) {
  require_shape(Y, table.cols(), std::ssize(ids), "embed", "Y", "columns of the table x ids");
  detail::require_ids(ids, table.rows(), "embed");
  for (std::size_t t = 0; t < ids.size(); ++t) table.widen(ids[t], 1, Y.data() + static_cast<Index>(t) * Y.outerStride());
}

/// dTable[ids_t] += dy_t, added. dTable: vocabulary x d, dY: d x tokens.
template <Real S>
void embed_backward_parameters(WeightView<S> dTable, std::span<const std::int32_t> ids, ConstMatrixView<S> dY) {
  require_shape(dY, dTable.cols(), std::ssize(ids), "embed_backward_parameters", "dY", "columns of the table x ids");
  detail::require_ids(ids, dTable.rows(), "embed_backward_parameters");
  for (Index t = 0; t < dY.cols(); ++t) dTable.row(ids[static_cast<std::size_t>(t)]) += dY.col(t).transpose();
}

}  // namespace lorasb::nn
