// The leading blocks of cores, which a client of a lower rank trains.
#pragma once

#include <algorithm>
#include <span>

#include "lorasb/core/parameters.hpp"

namespace lorasb::federated {
namespace detail {

/// What a client of this rank trains of a tensor: of a core its leading rank x rank block, everything else whole.
struct LeadingShape {
  Index rows, cols;
};
inline LeadingShape leading_shape(const ParameterLayout::Tensor& t, Index rank) {
  if (t.role == Role::core && rank > 0 && rank < t.rows) return {rank, rank};
  return {t.rows, t.cols};
}

/// copy(place among the whole numbers, place among the leading ones, count) for each row of what is trained.
template <class Copy>
void for_leading_rows(const ParameterLayout& layout, Index rank, const Copy& copy) {
  Index place = 0;
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    const auto [rows, cols] = leading_shape(t, rank);
    for (Index i = 0; i < rows; ++i, place += cols) copy(t.offset + i * t.cols, place, cols);
  }
}

}  // namespace detail

/// The part of the layout that a client of a lower rank trains: of each core its leading rank x rank block (columns of B and
/// rows of A are ordered by singular value), everything else whole. Rank 0 stands for all.
inline ParameterLayout leading_layout(const ParameterLayout& layout, Index rank) {
  ParameterLayout leading;
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    const auto [rows, cols] = detail::leading_shape(t, rank);
    leading.add(t.module, t.role, rows, cols);
  }
  return leading;
}

/// Copies numbers in leading_layout(layout, rank) into those of the whole layout, which keep the rest as it is; and back.
template <Real S>
void store_leading(const ParameterLayout& layout, Index rank, std::span<const S> leading, std::span<S> whole) {
  detail::for_leading_rows(layout, rank, [&](Index in_whole, Index in_leading, Index count) {
    std::copy_n(leading.begin() + in_leading, count, whole.begin() + in_whole);
  });
}
template <Real S>
void load_leading(const ParameterLayout& layout, Index rank, std::span<const S> whole, std::span<S> leading) {
  detail::for_leading_rows(layout, rank, [&](Index in_whole, Index in_leading, Index count) {
    std::copy_n(whole.begin() + in_whole, count, leading.begin() + in_leading);
  });
}

}  // namespace lorasb::federated
