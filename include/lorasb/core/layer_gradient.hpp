// Where a backward pass puts its results, or that nobody wants them.
#pragma once

#include <concepts>
#include <span>
#include <utility>

#include "lorasb/core/view.hpp"

namespace lorasb {

/// In the place of a gradient that nobody wants: it is not computed.
struct NotWanted {};
inline constexpr NotWanted not_wanted{};

/// Where a layer adds the gradient of its trained values: summed over all columns of a batch, or that of each example apart.
template <Real S>
class LayerGradient {
 public:
  LayerGradient(NotWanted) {}
  LayerGradient() = default;
  /// trainable() numbers, in the order of the layer's values: a span, a vector, or a matrix that owns its memory.
  LayerGradient(std::span<S> summed) : form_(Form::summed), summed_(summed) {}
  template <class T>
  requires(std::convertible_to<T&, std::span<S>> && !std::same_as<T, std::span<S>>) LayerGradient(T& summed)
      : LayerGradient(std::span<S>(summed)) {}
  template <class D>
  requires std::same_as<typename D::Scalar, S> LayerGradient(Eigen::PlainObjectBase<D>& summed) : LayerGradient(flat(summed)) {}
  /// trainable() x examples. Example i owns columns offsets[i] to offsets[i + 1] - 1 of the batch.
  LayerGradient(MatrixView<S> each, std::span<const Index> offsets)
      : form_(Form::per_example), each_(each.data()), rows_(each.rows()), cols_(each.cols()), stride_(each.outerStride()),
        offsets_(offsets) {}

  bool wanted() const { return form_ != Form::none; }
  bool per_example() const { return form_ == Form::per_example; }
  std::span<S> summed() const { return summed_; }
  MatrixView<S> each() const { return {each_, rows_, cols_, stride_}; }
  std::span<const Index> offsets() const { return offsets_; }

  /// Calls add(first column, columns, span of trainable() numbers to add to) once for the whole batch of `tokens` columns, or
  /// once for each example that has columns.
  template <class Add>
  void for_each(Index tokens, const Add& add) const {
    if (form_ == Form::summed) add(Index{0}, tokens, summed_);
    if (form_ != Form::per_example) return;
    for (Index i = 0; i < cols_; ++i) {
      const Index first = offsets_[static_cast<std::size_t>(i)];
      const Index count = offsets_[static_cast<std::size_t>(i) + 1] - first;
      if (count > 0) add(first, count, std::span<S>(each_ + i * stride_, static_cast<std::size_t>(rows_)));
    }
  }

 private:
  enum class Form { none, summed, per_example };
  Form form_ = Form::none;
  std::span<S> summed_ = {};
  S* each_ = nullptr;
  Index rows_ = 0, cols_ = 0, stride_ = 0;
  std::span<const Index> offsets_ = {};
};

/// Where a layer writes dX, in x tokens.
template <Real S>
class InputGradient {
 public:
  InputGradient(NotWanted) {}
  InputGradient(MatrixView<S> dX)
      : data_(dX.data()), rows_(dX.rows()), cols_(dX.cols()), stride_(dX.outerStride()), wanted_(true) {}
  InputGradient(S* data, Index rows, Index cols) : InputGradient(MatrixView<S>(data, rows, cols)) {}
  template <class T>
  requires(std::convertible_to<T, MatrixView<S>> && !std::same_as<std::remove_cvref_t<T>, MatrixView<S>>) InputGradient(T&& dX)
      : InputGradient(MatrixView<S>(std::forward<T>(dX))) {}

  bool wanted() const { return wanted_; }
  MatrixView<S> view() const { return {data_, rows_, cols_, stride_}; }
  /// This, or nothing when `condition` is false.
  InputGradient only_if(bool condition) const { return condition ? *this : InputGradient(not_wanted); }

 private:
  S* data_ = nullptr;
  Index rows_ = 0, cols_ = 0, stride_ = 0;
  bool wanted_ = false;
};

}  // namespace lorasb
