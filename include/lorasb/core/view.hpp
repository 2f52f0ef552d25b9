// Views of matrices that somebody else owns; what would need a copy does not compile.
#pragma once

#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb {

/// The storage order of an Eigen type, and the one of its transpose in the same memory.
template <class D>
inline constexpr int order_of = int(D::IsRowMajor) ? Eigen::RowMajor : Eigen::ColMajor;
template <int Order>
inline constexpr int other_order = Order == Eigen::RowMajor ? Eigen::ColMajor : Eigen::RowMajor;

namespace detail {

/// True for an Eigen expression D whose entries lie in memory as a view of scalar S and storage `Order` needs them:
/// same scalar, same storage order, neighbours next to each other (a block of rows or columns may leave gaps between lines).
template <class D, class S, int Order>
concept ViewableAs = std::same_as<typename D::Scalar, S> && bool(int(D::Flags) & int(Eigen::DirectAccessBit)) &&
                     (bool(D::IsRowMajor) == (Order == Eigen::RowMajor)) && (int(D::InnerStrideAtCompileTime) == 1);

/// The same for memory that can be written.
template <class D, class S, int Order>
concept WritableAs = ViewableAs<D, S, Order> && bool(int(D::Flags) & int(Eigen::LvalueBit));

/// Throws ErrorId::shape for sizes that no memory has: negative ones, lines that overlap, none at all for a matrix that has
/// entries, or more entries than an Index can count.
inline void require_memory(const void* data, Index rows, Index cols, Index outer_stride, int order) {
  const Index lines = order == Eigen::RowMajor ? rows : cols, length = order == Eigen::RowMajor ? cols : rows;
  Index reach = 0;
  if (rows >= 0 && cols >= 0 && (lines <= 1 || outer_stride >= length) && (data != nullptr || rows == 0 || cols == 0) &&
      !__builtin_mul_overflow(rows, cols, &reach) && !__builtin_mul_overflow(lines, outer_stride, &reach)) [[likely]]
    return;
  throw Error(ErrorId::shape, concat("view: ", rows, " x ", cols, " with an outer stride of ", outer_stride,
                                     data == nullptr ? " over a null pointer" : "",
                                     ", expected sizes of at least 0, an outer stride of at least ", length,
                                     ", and memory for as many entries"));
}

template <class S, int Order>
using PlainMatrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Order>;

template <class S, int Order>
using StridedMap = Eigen::Map<PlainMatrix<S, Order>, Eigen::Unaligned, Eigen::OuterStride<>>;

template <class S, int Order>
using ConstStridedMap = Eigen::Map<const PlainMatrix<S, Order>, Eigen::Unaligned, Eigen::OuterStride<>>;

}  // namespace detail

/// A read-only view. Converts implicitly from a matrix, map or block of the same scalar and storage order; is itself an Eigen
/// expression. Anything else would need a copy and does not compile: the deleted constructor names the argument, and the caller
/// writes `.eval()` or changes the storage order where the copy can be seen. The memory must outlive the view.
template <Real S, int Order>
class ConstView : public detail::ConstStridedMap<S, Order> {
  using Base = detail::ConstStridedMap<S, Order>;

 public:
  ConstView(const S* data, Index rows, Index cols) : ConstView(data, rows, cols, Order == Eigen::RowMajor ? cols : rows) {}
  /// Throws ErrorId::shape, see detail::require_memory().
  ConstView(const S* data, Index rows, Index cols, Index outer_stride)
      : Base((detail::require_memory(data, rows, cols, outer_stride, Order), data), rows, cols,
             Eigen::OuterStride<>(outer_stride)) {}

  template <class D>
  requires detail::ViewableAs<D, S, Order> ConstView(const Eigen::DenseBase<D>& e)
      : Base(e.derived().data(), e.rows(), e.cols(), Eigen::OuterStride<>(e.derived().outerStride())) {}
  template <class D>  // a matrix that owns its numbers: clang warns of a view that outlives it
  requires detail::ViewableAs<D, S, Order> ConstView(const Eigen::PlainObjectBase<D>& e LORASB_LIFETIMEBOUND)
      : Base(e.derived().data(), e.rows(), e.cols(), Eigen::OuterStride<>(e.derived().outerStride())) {}

  template <class D>
  requires(!detail::ViewableAs<D, S, Order>) ConstView(const Eigen::DenseBase<D>&)
  = delete;  // another scalar, storage order or stride: needs a copy, write .eval()
};

/// A matrix that is written. Made from a matrix, map or block that can be written, never from a temporary matrix.
template <Real S, int Order>
class View : public detail::StridedMap<S, Order> {
  using Base = detail::StridedMap<S, Order>;

 public:
  View(S* data, Index rows, Index cols) : View(data, rows, cols, Order == Eigen::RowMajor ? cols : rows) {}
  /// Throws ErrorId::shape, see detail::require_memory().
  View(S* data, Index rows, Index cols, Index outer_stride)
      : Base((detail::require_memory(data, rows, cols, outer_stride, Order), data), rows, cols,
             Eigen::OuterStride<>(outer_stride)) {}

  template <class D>
  requires detail::WritableAs<D, S, Order> View(Eigen::DenseBase<D>& e)
      : Base(e.derived().data(), e.rows(), e.cols(), Eigen::OuterStride<>(e.derived().outerStride())) {}
  template <class D>
  requires detail::WritableAs<D, S, Order> View(Eigen::PlainObjectBase<D>& e LORASB_LIFETIMEBOUND)
      : Base(e.derived().data(), e.rows(), e.cols(), Eigen::OuterStride<>(e.derived().outerStride())) {}

  template <class D>  // a block or map passed as it is made: `forward(X, Y.leftCols(3), cache)`
  requires(detail::WritableAs<D, S, Order> && !std::derived_from<D, Eigen::PlainObjectBase<D>>) View(Eigen::DenseBase<D>&& e)
      : Base(e.derived().data(), e.rows(), e.cols(), Eigen::OuterStride<>(e.derived().outerStride())) {}

  template <class D>
  requires(!detail::WritableAs<D, S, Order>) View(const Eigen::DenseBase<D>&)
  = delete;  // read only, or another scalar, storage order or stride

  View(const View&) = default;
  /// Copies, adds or subtracts entries; the view stays on its memory. Each throws ErrorId::shape for another size, in every
  /// build. What noalias(), array() or a block return is Eigen's own and is checked in debug builds only.
  View& operator=(const View& other) { return *this = static_cast<const Base&>(other); }
  template <class D>
  View& operator=(const Eigen::EigenBase<D>& e) {
    require_size(e.rows(), e.cols(), "View::operator=");
    Base::operator=(e.derived());
    return *this;
  }
  template <class D>
  View& operator+=(const Eigen::EigenBase<D>& e) {
    require_size(e.rows(), e.cols(), "View::operator+=");
    Base::operator+=(e.derived());
    return *this;
  }
  template <class D>
  View& operator-=(const Eigen::EigenBase<D>& e) {
    require_size(e.rows(), e.cols(), "View::operator-=");
    Base::operator-=(e.derived());
    return *this;
  }

 private:
  void require_size(Index rows, Index cols, const char* where) const {  // no template of D: little to compile
    if (rows != this->rows() || cols != this->cols()) [[unlikely]]
      detail::fail_shape(rows, cols, where, "the matrix", {this->rows(), " x ", this->cols()}, {});
  }
};

template <Real S>
using MatrixView = View<S, Eigen::ColMajor>;
template <Real S>
using ConstMatrixView = ConstView<S, Eigen::ColMajor>;
template <Real S>
using WeightView = View<S, Eigen::RowMajor>;
template <Real S>
using ConstWeightView = ConstView<S, Eigen::RowMajor>;

/// The entries of a matrix or vector that owns contiguous memory, in memory order.
template <class D>
std::span<typename D::Scalar> flat(Eigen::PlainObjectBase<D>& m) {
  return {m.data(), static_cast<std::size_t>(m.size())};
}
template <class D>
std::span<const typename D::Scalar> flat(const Eigen::PlainObjectBase<D>& m) {
  return {m.data(), static_cast<std::size_t>(m.size())};
}

/// A span seen as an Eigen column vector.
template <Real S>
Eigen::Map<Vector<S>> as_vector(std::span<S> s) {
  return {s.data(), static_cast<Index>(s.size())};
}
template <Real S>
Eigen::Map<const Vector<S>> as_vector(std::span<const S> s) {
  return {s.data(), static_cast<Index>(s.size())};
}

}  // namespace lorasb
