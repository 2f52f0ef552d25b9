// A matrix of activations that is reshaped for every batch and allocates only when it has to grow.
#pragma once

#include <utility>

#include "lorasb/core/config.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// Owned by the caller of a forward pass and handed in again at the next one. Entries are undefined after a reshape.
template <Real S>
class LORASB_OWNS_MEMORY Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = default;
  Buffer& operator=(const Buffer&) = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {  // leaves a buffer without a matrix behind
    storage_ = std::move(other.storage_);
    rows_ = std::exchange(other.rows_, 0);
    cols_ = std::exchange(other.cols_, 0);
    return *this;
  }

  /// A rows x cols matrix over the first rows * cols numbers, column-major without gaps. Throws ErrorId::shape for negative sizes
  /// and for more numbers than an Index can count.
  MatrixView<S> reshape(Index rows, Index cols) {
    Index size = 0;
    if (rows < 0 || cols < 0 || __builtin_mul_overflow(rows, cols, &size)) [[unlikely]]
      throw Error(ErrorId::shape, concat("Buffer::reshape: ", rows, " x ", cols, " is no size of a matrix"));
    if (size > storage_.size()) storage_.resize(size);
    rows_ = rows;
    cols_ = cols;
    return view();
  }
  MatrixView<S> view() { return {storage_.data(), rows_, cols_}; }
  ConstMatrixView<S> view() const { return {storage_.data(), rows_, cols_}; }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }

 private:
  Vector<S> storage_;
  Index rows_ = 0;
  Index cols_ = 0;
};

}  // namespace lorasb
