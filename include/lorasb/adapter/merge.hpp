// Adding an adapter to the weight that it adapts, taking it off again, and folding it for readers of plain LoRA.
#pragma once

#include "lorasb/adapter/lora.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb {
namespace detail {

/// W += sign s (B R) A
template <Real S>
void add_adapter(const LowRankAdapter<S>& adapter, S sign, WeightView<S> W, std::string_view where) {
  adapter.validate(where);
  require_shape(W, adapter.out_features(), adapter.in_features(), where, "W", "out x in of the adapter");
  Weight<S> BR(adapter.out_features(), adapter.rank());
  linalg::multiply(adapter.B, adapter.R, BR, sign * adapter.scale);
  linalg::multiply(BR, adapter.A, W, 1, 1);
}

}  // namespace detail

/// W0 + s B R A in place of W0 (out x in). Throws ErrorId::shape, and what LowRankAdapter::validate throws.
/// A weight that is stored narrower than the adapter cannot take it without losing most of it: that call does not compile; use
/// the one below, with a wider output.
template <Real S>
void merge(const LowRankAdapter<S>& adapter, WeightView<std::type_identity_t<S>> W0) {
  detail::add_adapter<S>(adapter, S(1), W0, "merge");
}

/// Overwrites W (out x in) with W0 + s B R A, where W0 may be narrower (Eigen::bfloat16, Eigen::half) and stays as it is.
template <Real S, class D>
void merge(const LowRankAdapter<S>& adapter, const Eigen::DenseBase<D>& W0, WeightView<std::type_identity_t<S>> W) {
  adapter.validate("merge");
  require_shape(W0, adapter.out_features(), adapter.in_features(), "merge", "W0", "out x in of the adapter");
  require_shape(W, W0.rows(), W0.cols(), "merge", "W", "the shape of W0");
  W = W0.derived().template cast<S>();
  detail::add_adapter<S>(adapter, S(1), W, "merge");
}

/// Takes a merged adapter off again: W0 comes back up to the rounding of merge and of this, a few units in the last place of
/// the larger of W0 and s B R A. Keep W0 where its exact bits matter.
template <Real S>
void unmerge(const LowRankAdapter<S>& adapter, WeightView<std::type_identity_t<S>> W) {
  detail::add_adapter<S>(adapter, S(-1), W, "unmerge");
}

/// The same map with two factors, B R and A, and the same s: what any reader of plain LoRA understands. B R is summed in double
/// and rounded once.
template <Real S>
LoraAdapter<S> fold(const LowRankAdapter<S>& adapter) {
  adapter.validate("fold");
  const Matrix<S> R = adapter.R;  // column by column, for the sums
  Weight<S> BR(adapter.out_features(), adapter.rank());
  for (Index i = 0; i < BR.rows(); ++i)
    for (Index j = 0; j < BR.cols(); ++j) BR(i, j) = static_cast<S>(dot(&adapter.B(i, 0), &R(0, j), R.rows()));
  return {.B = std::move(BR), .A = adapter.A, .scale = adapter.scale};
}

}  // namespace lorasb
