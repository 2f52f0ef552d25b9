// Where the gradient of each tensor of a model goes in the flat gradient of a trainer, found by module and role.
#pragma once

#include <span>
#include <string>

#include "lorasb/core/layer.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb::models {

/// Looks into the layout of a trainer's values. What is not in it is frozen.
class GradientMap {
 public:
  explicit GradientMap(const ParameterLayout& layout LORASB_LIFETIMEBOUND) : layout_(layout) {}

  /// Of the layer of a module: its consecutive tensors, such as B and A of LoRA, or those of its experts
  /// ("<module>.experts.<name>") and then its router. Empty for a layer without trained values, or
  /// whose values are not in the layout. Throws ErrorId::shape unless they have as many numbers as the layer trains.
  template <Real S>
  Range of_layer(const std::string& module, const LinearLayer<S>& layer) const {
    if (layer.trainable() == 0) return {};
    Range range;
    const auto append = [&](const ParameterLayout::Tensor& t) {
      if (range.count == 0) range.first = t.offset;
      require(range.first + range.count == t.offset, ErrorId::shape, "GradientMap: the tensors of ", in_quotes(module),
              " are not one after the other in the layout of the values");
      range.count += t.size();
    };
    const std::string experts = module + ".experts.";
    for (const ParameterLayout::Tensor& t : layout_.tensors())
      if (is_adapter(t.role) && t.module.starts_with(experts)) append(t);
    for (const Role role : {Role::core, Role::factor_B, Role::factor_A, Role::weight, Role::router})
      if (const ParameterLayout::Tensor* const t = layout_.find(module, role)) append(*t);
    if (range.count == 0) return {};  // frozen here, though the layer could be trained
    require(range.count == layer.trainable(), ErrorId::shape, "GradientMap: the layout of the values has ", range.count,
            " numbers for the layer of ", in_quotes(module), ", which trains ", layer.trainable());
    return range;
  }
  /// Of any other tensor, `size` numbers; empty when it is frozen. Throws ErrorId::shape for another size.
  Range of(const std::string& module, Role role, Index size) const {
    const ParameterLayout::Tensor* const t = layout_.find(module, role);
    if (t == nullptr) return {};
    require(t->size() == size, ErrorId::shape, "GradientMap: ", in_quotes(t->name), " has ", t->size(), " numbers, expected ", size);
    return t->range();
  }

 private:
  const ParameterLayout& layout_;
};

/// A trainer's flat gradient, summed over a batch or with a column for each example, and the parts of it.
template <Real S>
class ModelGradient {
 public:
  ModelGradient(std::span<S> summed) : summed_(summed), each_(nullptr, 0, 0) {}
  ModelGradient(MatrixView<S> each) : each_(each), per_example_(true) {}

  bool per_example() const { return per_example_; }
  /// What a layer adds to; `offsets` say which columns of the layer's input belong to which example.
  LayerGradient<S> of(Range range, std::span<const Index> offsets) const {
    if (range.count == 0) return not_wanted;
    if (per_example_) return {each_.middleRows(range.first, range.count), offsets};
    return range.of(summed_);
  }
  /// What a bias, norm or embedding adds to; empty when it is frozen. Only of a summed gradient.
  std::span<S> of(Range range) const { return range.count == 0 ? std::span<S>() : range.of(summed_); }

 private:
  std::span<S> summed_ = {};
  mutable MatrixView<S> each_;
  bool per_example_ = false;
};

}  // namespace lorasb::models
