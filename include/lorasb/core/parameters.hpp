// The trainable numbers of a model: one flat buffer, viewed by name.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// Names, shapes and places of the tensors in a flat buffer, in the order in which they were added.
class ParameterLayout {
 public:
  struct Tensor {
    std::string name;
    Index rows = 0;
    Index cols = 0;
    Index offset = 0;
    Index size() const { return rows * cols; }
    bool operator==(const Tensor&) const = default;
  };

  /// Appends a rows x cols tensor. Throws ErrorId::duplicate_name, and ErrorId::value for a negative size.
  void add(std::string name, Index rows, Index cols) {
    require(find(name) == nullptr, ErrorId::duplicate_name, "ParameterLayout::add: \"", name, "\" exists already");
    require(rows >= 0 && cols >= 0, ErrorId::value, "ParameterLayout::add: \"", name, "\" is ", rows, " x ", cols);
    Index size = 0, end = 0;
    require(!__builtin_mul_overflow(rows, cols, &size) && !__builtin_add_overflow(size_, size, &end), ErrorId::value,
            "ParameterLayout::add: \"", name, "\" is ", rows, " x ", cols, ", more numbers than can be counted");
    tensors_.push_back({std::move(name), rows, cols, size_});
    size_ = end;
  }
  const Tensor* find(std::string_view name) const {
    const auto it = std::find_if(tensors_.begin(), tensors_.end(), [&](const Tensor& t) { return t.name == name; });
    return it == tensors_.end() ? nullptr : &*it;
  }
  /// Throws ErrorId::unknown_name.
  const Tensor& at(std::string_view name) const {
    const Tensor* tensor = find(name);
    require(tensor != nullptr, ErrorId::unknown_name, "ParameterLayout::at: no parameter \"", name, "\" among ",
            tensors_.size(), tensors_.empty() ? "" : ", the first is \"", tensors_.empty() ? "" : tensors_.front().name,
            tensors_.empty() ? "" : "\"");
    return *tensor;
  }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  /// Numbers in all tensors.
  Index size() const { return size_; }
  bool operator==(const ParameterLayout&) const = default;

 private:
  std::vector<Tensor> tensors_;
  Index size_ = 0;
};

/// A flat buffer with a layout, zero at first. Values are one of these, gradients another with the same layout; the optimizer,
/// clipping, averaging and checkpoints work on flat(). Views stay valid for the life of the buffer, also when it is moved.
template <Real S>
class Parameters {
 public:
  explicit Parameters(ParameterLayout layout) : layout_(std::move(layout)), flat_(Vector<S>::Zero(layout_.size())) {}

  const ParameterLayout& layout() const { return layout_; }
  std::span<S> flat() { return lorasb::flat(flat_); }
  std::span<const S> flat() const { return lorasb::flat(flat_); }

  /// The numbers of one tensor. Throws ErrorId::unknown_name.
  std::span<S> flat(std::string_view name) { return slice(flat(), layout_.at(name)); }
  std::span<const S> flat(std::string_view name) const { return slice(flat(), layout_.at(name)); }
  WeightView<S> operator[](std::string_view name) { return {flat(name).data(), layout_.at(name).rows, layout_.at(name).cols}; }
  ConstWeightView<S> operator[](std::string_view name) const {
    return {flat(name).data(), layout_.at(name).rows, layout_.at(name).cols};
  }

 private:
  template <class T>
  static std::span<T> slice(std::span<T> all, const ParameterLayout::Tensor& tensor) {
    return all.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size()));
  }

  ParameterLayout layout_;
  Vector<S> flat_;  // aligned as Eigen aligns: sums over it have the same bits wherever it lies
};

}  // namespace lorasb
