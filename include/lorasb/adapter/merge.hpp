// Adding an adapter to the weight that it adapts, subtracting it, and folding it for readers of plain LoRA.
#pragma once

#include <string_view>
#include <type_traits>
#include <utility>

#include "lorasb/adapter/lora/lora.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/linalg/product.hpp"

// Every function takes either an adapter, or a basis and the R that was trained on it, in the trainer's buffer:
//
//     merge(adapter, W0);
//     merge(bases.at(name), values.at(name, Role::core), W0);
//
// Throws ErrorId::shape, ErrorId::not_finite (for a sum that leaves the range of its type, too; W is then as it was), and what validate_shapes throws.
namespace lorasb {
namespace detail {

/// W = start + s (B R) A. W changes only when all of the sum is finite, and may share memory with what is read.
template <Real S>
void assign_sum(Weight<S> start, ConstWeightView<S> B, ConstWeightView<S> R, ConstWeightView<S> A, S scale, WeightView<S> W,
                std::string_view where) {
  require_shape(R, A.rows(), A.rows(), where, "R", "the rank of the basis");
  require_finite(R, where, "R");
  require_shape(W, B.rows(), A.cols(), where, "W", "out x in of the adapter");
  Weight<S> BR(B.rows(), R.cols());
  linalg::multiply(B, R, BR, scale);
  linalg::multiply(BR, A, start, 1, 1);
  require_finite(start, where, "the sum, which leaves the range of its type,");
  W = start;
}

template <Real S>
LoraAdapter<S> fold_product(const Weight<S>& B, ConstWeightView<S> R, const Weight<S>& A, S scale) {
  require_shape(R, A.rows(), A.rows(), "fold", "R", "the rank of the basis");
  require_finite(R, "fold", "R");
  const Matrix<S> columns = R;  // column by column, for the sums
  Weight<S> BR(B.rows(), A.rows());
  for (Index i = 0; i < BR.rows(); ++i)
    for (Index j = 0; j < BR.cols(); ++j) BR(i, j) = static_cast<S>(dot(&B(i, 0), &columns(0, j), columns.rows()));
  return {.B = std::move(BR), .A = A, .scale = scale};
}

}  // namespace detail

/// W0 + s B R A in place of W0 (out x in). A weight that is stored narrower than the adapter would lose most of it: that call
/// does not compile; use the one below, with a wider output.
template <Real S>
void merge(const LowRankAdapter<S>& adapter, WeightView<std::type_identity_t<S>> W0) {
  adapter.validate("merge");
  detail::assign_sum<S>(W0, adapter.B, adapter.R, adapter.A, adapter.scale, W0, "merge");
}
template <Real S>
void merge(const AdapterBasis<S>& basis, ConstWeightView<std::type_identity_t<S>> R, WeightView<std::type_identity_t<S>> W0) {
  basis.validate("merge");
  detail::assign_sum<S>(W0, basis.B, R, basis.A, basis.scale, W0, "merge");
}

/// Overwrites W (out x in) with W0 + s B R A, where W0 may be stored narrower, also in a mapped file, and stays as it is.
template <Real S>
void merge(const LowRankAdapter<S>& adapter, const FrozenWeight<std::type_identity_t<S>>& W0,
           WeightView<std::type_identity_t<S>> W) {
  adapter.validate("merge");
  require_shape(W0, adapter.out_features(), adapter.in_features(), "merge", "W0", "out x in of the adapter");
  detail::assign_sum<S>(W0.widened(), adapter.B, adapter.R, adapter.A, adapter.scale, W, "merge");
}
template <Real S>
void merge(const AdapterBasis<S>& basis, ConstWeightView<std::type_identity_t<S>> R,
           const FrozenWeight<std::type_identity_t<S>>& W0, WeightView<std::type_identity_t<S>> W) {
  basis.validate("merge");
  require_shape(W0, basis.out_features(), basis.in_features(), "merge", "W0", "out x in of the adapter");
  detail::assign_sum<S>(W0.widened(), basis.B, R, basis.A, basis.scale, W, "merge");
}

/// Subtracts a merged adapter. Restores W0 up to rounding, a few units in the last place of the larger of W0 and s B R A; keep
/// a copy if you need its bits.
template <Real S>
void unmerge(const LowRankAdapter<S>& adapter, WeightView<std::type_identity_t<S>> W) {
  adapter.validate("unmerge");
  detail::assign_sum<S>(W, adapter.B, adapter.R, adapter.A, -adapter.scale, W, "unmerge");
}
template <Real S>
void unmerge(const AdapterBasis<S>& basis, ConstWeightView<std::type_identity_t<S>> R, WeightView<std::type_identity_t<S>> W) {
  basis.validate("unmerge");
  detail::assign_sum<S>(W, basis.B, R, basis.A, -basis.scale, W, "unmerge");
}

/// The same map with two factors, B R and A, and the same s, for any PEFT-compatible loader. B R is summed in double and
/// rounded once.
template <Real S>
LoraAdapter<S> fold(const LowRankAdapter<S>& adapter) {
  adapter.validate("fold");
  return detail::fold_product<S>(adapter.B, adapter.R, adapter.A, adapter.scale);
}
template <Real S>
LoraAdapter<S> fold(const AdapterBasis<S>& basis, ConstWeightView<std::type_identity_t<S>> R) {
  basis.validate("fold");
  return detail::fold_product<S>(basis.B, R, basis.A, basis.scale);
}

}  // namespace lorasb
