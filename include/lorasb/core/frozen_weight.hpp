// A weight that is never trained, whatever its numbers are stored in: what a frozen layer reads.
#pragma once

#include <cstdint>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/decode.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// A view of W0, out x in, row-major, stored as S or narrower (core/dtype.hpp); it owns nothing. Converts implicitly from a
/// matrix, map or block of S, Bfloat16 or Eigen::half. Layers compute in S: only the numbers of W0 are narrow, no sum ever is.
///
///     FrozenWeight<float> W0(W);                                             // a matrix of float or bfloat16
///     FrozenWeight<float> W0(bytes, Dtype::f16, out, in);                    // numbers in a file
///     Weight<float> wide = W0.widened();                                     // a copy in S
template <Real S>
class FrozenWeight {
 public:
  FrozenWeight(const S* data, Index rows, Index cols) : FrozenWeight(data, rows, cols, cols) {}
  FrozenWeight(const S* data, Index rows, Index cols, Index outer_stride) : FrozenWeight(data, rows, cols, outer_stride, 0) {}
  FrozenWeight(const Bfloat16* data, Index rows, Index cols) : FrozenWeight(data, rows, cols, cols) {}
  FrozenWeight(const Bfloat16* data, Index rows, Index cols, Index outer_stride)
      : FrozenWeight(data, rows, cols, outer_stride, 0) {}
  /// Stored numbers, a row every bytes_of(dtype, cols) bytes. Throws ErrorId::value for a type whose numbers S cannot hold, for
  /// columns that do not fill whole blocks, and for a negative size.
  FrozenWeight(const std::byte* bytes, Dtype dtype, Index rows, Index cols)
      : FrozenWeight(bytes, dtype, rows, cols, bytes_of(dtype, cols)) {}
  FrozenWeight(const std::byte* bytes, Dtype dtype, Index rows, Index cols, std::size_t row_bytes)
      : bytes_(bytes), dtype_(dtype), rows_(rows), cols_(cols), row_bytes_(row_bytes) {
    require(decodes_exactly<S>(dtype), ErrorId::value, "FrozenWeight: numbers of type ", name_of(dtype), " are not ",
            name_of(dtype_of<S>), ", nor narrower ones");
    require(rows >= 0 && cols >= 0 && cols % row_of(dtype).block_numbers == 0, ErrorId::value, "FrozenWeight: the weight is ",
            rows, " x ", cols, ", expected at least 0 rows and columns, in whole blocks of ", row_of(dtype).block_numbers);
    require(bytes != nullptr || rows == 0 || cols == 0, ErrorId::value, "FrozenWeight: the weight is ", rows, " x ", cols,
            ", but it has no numbers (a null pointer)");
    require(rows <= 1 || row_bytes >= bytes_of(dtype, cols), ErrorId::value, "FrozenWeight: rows are ", row_bytes,
            " bytes apart, expected at least the ", bytes_of(dtype, cols), " of one row");
  }

  template <class D>
  requires(detail::ViewableAs<D, S, Eigen::RowMajor> || detail::ViewableAs<D, Bfloat16, Eigen::RowMajor> ||
           detail::ViewableAs<D, Eigen::half, Eigen::RowMajor>)
      FrozenWeight(const Eigen::DenseBase<D>& W)
      : FrozenWeight(W.derived().data(), W.rows(), W.cols(), W.derived().outerStride(), 0) {}
  template <class D>  // a matrix that owns its numbers: clang warns of a view that outlives it
  requires(detail::ViewableAs<D, S, Eigen::RowMajor> || detail::ViewableAs<D, Bfloat16, Eigen::RowMajor> ||
           detail::ViewableAs<D, Eigen::half, Eigen::RowMajor>)
      FrozenWeight(const Eigen::PlainObjectBase<D>& W LORASB_LIFETIMEBOUND)
      : FrozenWeight(W.derived().data(), W.rows(), W.cols(), W.derived().outerStride(), 0) {}
  template <class D>
  FrozenWeight(Eigen::PlainObjectBase<D>&&) = delete;  // the view would outlive the matrix

  template <class D>
  requires(!detail::ViewableAs<D, S, Eigen::RowMajor> && !detail::ViewableAs<D, Bfloat16, Eigen::RowMajor> &&
           !detail::ViewableAs<D, Eigen::half, Eigen::RowMajor>) FrozenWeight(const Eigen::DenseBase<D>&)
  = delete;  // another scalar, storage order or stride: needs a copy, write .eval()

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }
  Dtype dtype() const { return dtype_; }
  /// The first byte of the first row.
  const std::byte* bytes() const { return bytes_; }
  /// Bytes from one row to the next.
  std::size_t row_bytes() const { return row_bytes_; }
  /// Bytes of all numbers, without gaps between rows.
  std::size_t stored_bytes() const { return static_cast<std::size_t>(rows_) * bytes_of(dtype_, cols_); }

  /// Whether wide() can view the numbers: they are S, at addresses that suit S.
  bool is_wide() const {
    return dtype_ == dtype_of<S> && reinterpret_cast<std::uintptr_t>(bytes_) % alignof(S) == 0 && row_bytes_ % sizeof(S) == 0;
  }
  /// The numbers as they are stored, where is_wide(). Throws ErrorId::value otherwise.
  ConstWeightView<S> wide() const {
    if (!is_wide()) [[unlikely]]
      throw Error(ErrorId::value, concat("FrozenWeight::wide: the weight is stored as ", name_of(dtype_), " or unaligned, use widened()"));
    return {reinterpret_cast<const S*>(bytes_), rows_, cols_, static_cast<Index>(row_bytes_ / sizeof(S))};
  }
  /// Writes rows first, ..., first + count - 1 as S, one after the other: count * cols numbers.
  void widen(Index first, Index count, S* to) const {
    const Decode<S> decode = decoder<S>(dtype_);
    for (Index i = first; i < first + count; ++i, to += cols_)
      decode(bytes_ + static_cast<std::size_t>(i) * row_bytes_, to, cols_);
  }
  /// A copy in S.
  Weight<S> widened() const {
    Weight<S> W(rows_, cols_);
    widen(0, rows_, W.data());
    return W;
  }

 private:
  template <class T>
  FrozenWeight(const T* data, Index rows, Index cols, Index outer_stride, int)
      : FrozenWeight(reinterpret_cast<const std::byte*>(data), dtype_of<T>, rows, cols,
                     static_cast<std::size_t>(outer_stride) * sizeof(T)) {}

  const std::byte* bytes_;
  Dtype dtype_;
  Index rows_, cols_;
  std::size_t row_bytes_;
};

}  // namespace lorasb
