// The trainable values of a model: one flat buffer, viewed by module and role.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/role.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// Consecutive values of a flat buffer.
struct Range {
  Index first = 0;
  Index count = 0;
  bool operator==(const Range&) const = default;

  template <class T>
  std::span<T> of(std::span<T> all) const {
    return all.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  }
};

/// Names, roles, shapes and positions of the tensors in a flat buffer, in the order in which they were added.
///
///     ParameterLayout layout;
///     layout.add("encoder.query", Role::core, 16, 16);   // the tensor "encoder.query.R"
///     layout.at("encoder.query", Role::core).offset;     // 0
class ParameterLayout {
 public:
  struct Tensor {
    std::string module;
    Role role = Role::other;
    std::string name;  // the module's name and the role's suffix
    Index rows = 0;
    Index cols = 0;
    Index offset = 0;
    Index size() const { return rows * cols; }
    Range range() const { return {offset, size()}; }
    bool operator==(const Tensor&) const = default;
  };

  /// Appends a rows x cols tensor. Throws ErrorId::duplicate_name, and ErrorId::value for a negative size.
  void add(std::string module, Role role, Index rows, Index cols) {
    std::string name = module + std::string(suffix_of(role));
    require(find(name) == nullptr, ErrorId::duplicate_name, "ParameterLayout::add: ", in_quotes(name), " exists already");
    require(rows >= 0 && cols >= 0, ErrorId::value, "ParameterLayout::add: ", in_quotes(name), " is ", rows, " x ", cols);
    Index size = 0, end = 0;
    require(!__builtin_mul_overflow(rows, cols, &size) && !__builtin_add_overflow(size_, size, &end), ErrorId::value,
            "ParameterLayout::add: ", in_quotes(name), " is ", rows, " x ", cols, ", more numbers than can be counted");
    index_.emplace(name, tensors_.size());
    tensors_.push_back({std::move(module), role, std::move(name), rows, cols, size_});
    size_ = end;
  }
  /// A tensor that is no part of a module.
  void add(std::string name, Index rows, Index cols) { add(std::move(name), Role::other, rows, cols); }
  /// Appends the tensors of another layout, in its order; of the second form those for which wanted(tensor) holds. Throws as add()
  /// does.
  void append(const ParameterLayout& other) {
    append(other, [](const Tensor&) { return true; });
  }
  template <class Wanted>
  void append(const ParameterLayout& other, const Wanted& wanted) {
    for (const Tensor& t : other.tensors_)
      if (wanted(t)) add(t.module, t.role, t.rows, t.cols);
  }

  const Tensor* find(std::string_view name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }
  const Tensor* find(std::string_view module, Role role) const {
    const Tensor* const tensor = find(std::string(module).append(suffix_of(role)));
    return tensor != nullptr && tensor->role == role ? tensor : nullptr;
  }
  /// Throws ErrorId::unknown_name.
  const Tensor& at(std::string_view name) const { return found(find(name), name); }
  const Tensor& at(std::string_view module, Role role) const {
    return found(find(module, role), std::string(module).append(suffix_of(role)));
  }

  const std::vector<Tensor>& tensors() const { return tensors_; }
  /// Numbers in all tensors.
  Index size() const { return size_; }
  /// Where the tensors lie for which wanted(tensor) holds, neighbours joined.
  template <class Wanted>
  std::vector<Range> ranges(const Wanted& wanted) const {
    std::vector<Range> found;
    for (const Tensor& t : tensors_) {
      if (!wanted(t)) continue;
      if (!found.empty() && found.back().first + found.back().count == t.offset)
        found.back().count += t.size();
      else
        found.push_back(t.range());
    }
    return found;
  }
  /// How many numbers the tensors have for which wanted(tensor) holds.
  template <class Wanted>
  Index count(const Wanted& wanted) const {
    Index total = 0;
    for (const Tensor& t : tensors_)
      if (wanted(t)) total += t.size();
    return total;
  }
  bool operator==(const ParameterLayout& other) const { return tensors_ == other.tensors_; }

 private:
  const Tensor& found(const Tensor* tensor, std::string_view name) const {
    require(tensor != nullptr, ErrorId::unknown_name, "ParameterLayout::at: no parameter ", in_quotes(name), " among ",
            tensors_.size(), tensors_.empty() ? "" : ", the first is ",
            tensors_.empty() ? std::string() : in_quotes(tensors_.front().name));
    return *tensor;
  }

  std::vector<Tensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;  // name to place in tensors_
  Index size_ = 0;
};

/// A flat buffer with a layout, zero at first. Values are one of these, gradients another with the same layout; the optimizer,
/// clipping, averaging and checkpoints work on flat(). Views stay valid for the life of the buffer, also when it is moved.
template <Real S>
class LORASB_OWNS_MEMORY Parameters {
 public:
  explicit Parameters(ParameterLayout layout) : layout_(std::move(layout)), flat_(Vector<S>::Zero(layout_.size())) {}

  const ParameterLayout& layout() const { return layout_; }
  std::span<S> flat() { return lorasb::flat(flat_); }
  std::span<const S> flat() const { return lorasb::flat(flat_); }

  /// The values of one tensor. Throws ErrorId::unknown_name.
  std::span<S> flat(std::string_view name) { return layout_.at(name).range().of(flat()); }
  std::span<const S> flat(std::string_view name) const { return layout_.at(name).range().of(flat()); }
  WeightView<S> operator[](std::string_view name) { return view(layout_.at(name)); }
  ConstWeightView<S> operator[](std::string_view name) const { return view(layout_.at(name)); }

  /// The same by module and role: values.at("encoder.query", Role::core).
  WeightView<S> at(std::string_view module, Role role) { return view(layout_.at(module, role)); }
  ConstWeightView<S> at(std::string_view module, Role role) const { return view(layout_.at(module, role)); }
  std::span<S> flat(std::string_view module, Role role) { return layout_.at(module, role).range().of(flat()); }
  std::span<const S> flat(std::string_view module, Role role) const { return layout_.at(module, role).range().of(flat()); }

 private:
  WeightView<S> view(const ParameterLayout::Tensor& t) { return {flat_.data() + t.offset, t.rows, t.cols}; }
  ConstWeightView<S> view(const ParameterLayout::Tensor& t) const { return {flat_.data() + t.offset, t.rows, t.cols}; }

  ParameterLayout layout_;
  Vector<S> flat_;  // aligned as Eigen aligns: sums over it have the same bits wherever it lies
};

/// Copies the tensors whose names both have; all others of `to` stay. `values` are laid out by `layout`. Returns how many were
/// copied. Throws ErrorId::shape, before anything is copied, for values of another number than the layout's, or two tensors of one
/// name with different shapes.
template <Real S>
Index copy_tensors(const ParameterLayout& layout, std::span<const S> values, Parameters<S>& to) {
  require(std::ssize(values) == layout.size(), ErrorId::shape, "copy_tensors: there are ", values.size(), " values, expected ",
          layout.size());
  for (const ParameterLayout::Tensor& t : layout.tensors())
    if (const ParameterLayout::Tensor* const other = to.layout().find(t.name))
      require(other->rows == t.rows && other->cols == t.cols, ErrorId::shape, "copy_tensors: ", in_quotes(t.name), " is ", t.rows,
              " x ", t.cols, ", expected ", other->rows, " x ", other->cols);
  Index copied = 0;
  for (const ParameterLayout::Tensor& t : layout.tensors())
    if (const ParameterLayout::Tensor* const other = to.layout().find(t.name)) {
      std::ranges::copy(t.range().of(values), other->range().of(to.flat()).begin());
      ++copied;
    }
  return copied;
}
template <Real S>
Index copy_tensors(const Parameters<S>& from, Parameters<S>& to) {
  return copy_tensors<S>(from.layout(), from.flat(), to);
}

}  // namespace lorasb
