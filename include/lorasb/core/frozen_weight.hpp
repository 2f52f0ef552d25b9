// A weight that is never trained, wide or narrow: what a frozen layer reads.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// The upper half of a float: its exponent, and 8 bits of its significand. Half the memory and half the traffic of float32.
using Bfloat16 = Eigen::bfloat16;

/// Rounds to the nearest bfloat16, ties to even; NaN stays NaN. Both hold n numbers. One loop without branches: it vectorises.
inline void to_bfloat16(const float* from, Bfloat16* to, Index n) {
  for (Index i = 0; i < n; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(from[i]);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to[i].value = static_cast<std::uint16_t>(from[i] != from[i] ? 0x7fc0u : rounded);
  }
}
/// Every bfloat16 is a float.
template <Real S>
void from_bfloat16(const Bfloat16* from, S* to, Index n) {
  for (Index i = 0; i < n; ++i) to[i] = static_cast<S>(std::bit_cast<float>(static_cast<std::uint32_t>(from[i].value) << 16));
}

/// Looks at W0, out x in, row-major, of S or of bfloat16, and owns nothing. Made without a word from a matrix, map or block
/// of either scalar. What layers compute in stays S: only the numbers of W0 are narrow, and no sum ever is.
template <Real S>
class FrozenWeight {
 public:
  FrozenWeight(const S* data, Index rows, Index cols) : FrozenWeight(data, rows, cols, cols) {}
  FrozenWeight(const S* data, Index rows, Index cols, Index outer_stride)
      : wide_(data), rows_(rows), cols_(cols), stride_(outer_stride) {}
  FrozenWeight(const Bfloat16* data, Index rows, Index cols) : FrozenWeight(data, rows, cols, cols) {}
  FrozenWeight(const Bfloat16* data, Index rows, Index cols, Index outer_stride)
      : narrow_(data), rows_(rows), cols_(cols), stride_(outer_stride) {}

  template <class D>
  requires(detail::ViewableAs<D, S, Eigen::RowMajor> || detail::ViewableAs<D, Bfloat16, Eigen::RowMajor>)
      FrozenWeight(const Eigen::DenseBase<D>& W)
      : FrozenWeight(W.derived().data(), W.rows(), W.cols(), W.derived().outerStride()) {}
  template <class D>
  FrozenWeight(Eigen::PlainObjectBase<D>&&) = delete;  // the view would outlive the matrix

  template <class D>
  requires(!detail::ViewableAs<D, S, Eigen::RowMajor> && !detail::ViewableAs<D, Bfloat16, Eigen::RowMajor>)
      FrozenWeight(const Eigen::DenseBase<D>&)
  = delete;  // another scalar, storage order or stride: needs a copy, write .eval()

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }
  /// From one row to the next.
  Index outer_stride() const { return stride_; }
  bool is_bfloat16() const { return narrow_ != nullptr; }
  /// Bytes of one number.
  std::size_t element_size() const { return is_bfloat16() ? sizeof(Bfloat16) : sizeof(S); }

  /// The numbers, where they are bfloat16; null otherwise.
  const Bfloat16* narrow() const { return narrow_; }
  /// The numbers, where they are S. Throws ErrorId::value otherwise: widened() makes them so.
  ConstWeightView<S> wide() const {
    require(!is_bfloat16(), ErrorId::value, "FrozenWeight::wide: the weight is bfloat16, use widened()");
    return {wide_, rows_, cols_, stride_};
  }
  /// Writes rows first, ..., first + count - 1 as S, one after the other: count * cols numbers.
  void widen(Index first, Index count, S* to) const {
    for (Index i = first; i < first + count; ++i, to += cols_) {
      if (is_bfloat16())
        from_bfloat16(narrow_ + i * stride_, to, cols_);
      else
        std::copy_n(wide_ + i * stride_, cols_, to);
    }
  }
  /// A copy in S.
  Weight<S> widened() const {
    Weight<S> W(rows_, cols_);
    widen(0, rows_, W.data());
    return W;
  }

 private:
  const S* wide_ = nullptr;
  const Bfloat16* narrow_ = nullptr;  // one of the two
  Index rows_, cols_, stride_;
};

}  // namespace lorasb
