// The frozen weights of a model by name, with whatever keeps their memory alive.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/named_set.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb {

/// The owner of a base model: names, the weights that they stand for, and the mapped files and buffers in which these lie. A
/// copy shares the memory. Biases and norms are weights of one row.
///
///     FrozenModel<float> model = io::open_model<float>("model.safetensors");   // keeps the file mapped
///     FrozenWeight<float> W0 = model.at("encoder.query.weight");
template <Real S>
class FrozenModel {
 public:
  FrozenModel() = default;
  /// Views every tensor of `values`, which must outlive the model.
  explicit FrozenModel(const Parameters<S>& values LORASB_LIFETIMEBOUND) {
    for (const ParameterLayout::Tensor& t : values.layout().tensors()) add(t.name, values[t.name]);
  }
  explicit FrozenModel(const Parameters<S>&&) = delete;  // would outlive it: use the shared pointer
  /// Views every tensor of `values`, and keeps them.
  explicit FrozenModel(std::shared_ptr<const Parameters<S>> values) : FrozenModel(*values) { keep(std::move(values)); }

  /// `weight` looks at memory that outlives the model, or that keep() is given. Throws ErrorId::duplicate_name.
  void add(std::string name, FrozenWeight<S> weight) { weights_.add(std::move(name), weight); }
  /// Another weight of the same shape under a name that is there. Throws ErrorId::unknown_name and ErrorId::shape.
  void replace(std::string_view name, FrozenWeight<S> weight) {
    FrozenWeight<S>& old = weights_.at(name);
    require_shape(weight, old.rows(), old.cols(), "FrozenModel::replace", std::string(name));
    old = weight;
  }
  /// Holds on to the owner of memory, such as a mapped file, for as long as this model or a copy of it lives.
  void keep(std::shared_ptr<const void> owner) { owners_.push_back(std::move(owner)); }

  bool contains(std::string_view name) const { return weights_.contains(name); }
  /// Throws ErrorId::unknown_name.
  const FrozenWeight<S>& at(std::string_view name) const { return weights_.at(name); }
  /// The numbers of a weight that must be stored as S, such as a bias, one after the other. Throws ErrorId::unknown_name, and
  /// ErrorId::value for another type or gaps between rows.
  std::span<const S> flat(std::string_view name) const {
    const FrozenWeight<S>& weight = at(name);
    require(weight.is_wide() && (weight.rows() <= 1 || weight.row_bytes() == bytes_of(weight.dtype(), weight.cols())),
            ErrorId::value, "FrozenModel::flat: ", in_quotes(name), " is stored as ", name_of(weight.dtype()), ", expected ",
            name_of(dtype_of<S>), " without gaps");
    return {reinterpret_cast<const S*>(weight.bytes()), static_cast<std::size_t>(weight.size())};
  }

  std::size_t size() const { return weights_.size(); }
  auto begin() const { return weights_.begin(); }
  auto end() const { return weights_.end(); }

 private:
  NamedSet<FrozenWeight<S>> weights_;
  std::vector<std::shared_ptr<const void>> owners_;
};

}  // namespace lorasb
