// The factors of a model's plain LoRA adapters in the trainer's flat buffer, and the layers that read them there.
#pragma once

#include <memory>
#include <type_traits>
#include <vector>

#include "lorasb/adapter/lora/lora.hpp"
#include "lorasb/adapter/lora/lora_linear.hpp"
#include "lorasb/core/borrowed.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/core/named_set.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/core/random.hpp"

namespace lorasb {

/// Appends B and then A of a module of that name, with Role::factor_B and Role::factor_A.
inline void append_lora(const std::string& module, Index out_features, Index in_features, Index rank, ParameterLayout& layout) {
  layout.add(module, Role::factor_B, out_features, rank);
  layout.add(module, Role::factor_A, rank, in_features);
}
/// The same with A frozen (FFA-LoRA): B is trained, and A is in a buffer of its own, which many clients can share.
inline void append_lora(const std::string& module, Index out_features, Index in_features, Index rank, ParameterLayout& layout,
                        ParameterLayout& frozen) {
  layout.add(module, Role::factor_B, out_features, rank);
  frozen.add(module, Role::factor_A, rank, in_features);
}

/// Layers with both factors in `values`. Everything must outlive the layers. Throws ErrorId::unknown_name and ErrorId::shape.
template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>& modules, std::type_identity_t<S> scale,
                    Borrowed<Parameters<std::type_identity_t<S>>> values) {
  Layers<S> layers;
  for (const Module<S>& m : modules)
    layers.push_back(std::make_unique<LoraLinear<S>>(m.W0, values->at(m.name, Role::factor_B), values->at(m.name, Role::factor_A),
                                                     scale, m.name));
  return layers;
}
/// Layers with B in `values`, trained, and A in `frozen`.
template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>& modules, std::type_identity_t<S> scale,
                    Borrowed<Parameters<std::type_identity_t<S>>> values, Borrowed<Parameters<std::type_identity_t<S>>> frozen) {
  Layers<S> layers;
  for (const Module<S>& m : modules)
    layers.push_back(std::make_unique<LoraLinear<S>>(m.W0, values->at(m.name, Role::factor_B), frozen->at(m.name, Role::factor_A),
                                                     scale, m.name, TrainedFactors::B_only));
  return layers;
}

/// Starts every module's factors as initialize_lora() does, those of them that are among `values`; each module has a seed of
/// its own. Throws what initialize_lora() throws, and ErrorId::shape.
template <Real S>
void start_lora(const std::vector<Module<S>>& modules, LoraOptions options, Parameters<S>& values) {
  const std::uint64_t seed = options.seed;
  std::uint64_t position = 0;
  for (const Module<S>& m : modules) {
    options.seed = derive_seed(seed, position++);
    const LoraAdapter<S> lora = initialize_lora<S>(m.W0.rows(), m.W0.cols(), options);
    if (values.layout().find(m.name, Role::factor_B) != nullptr) values.at(m.name, Role::factor_B) = lora.B;
    if (values.layout().find(m.name, Role::factor_A) != nullptr) values.at(m.name, Role::factor_A) = lora.A;
  }
}

/// The adapters as they are now, copied: to be written. `frozen`: where A is when `values` does not have it.
template <Real S>
NamedSet<LoraAdapter<S>> lora_adapters(const std::vector<Module<S>>& modules, std::type_identity_t<S> scale,
                                       const Parameters<S>& values,
                                       const std::type_identity_t<Parameters<S>>* frozen = nullptr) {
  NamedSet<LoraAdapter<S>> adapters;
  for (const Module<S>& m : modules)
    adapters.add(m.name, {.B = values.at(m.name, Role::factor_B),
                          .A = (frozen == nullptr ? values : *frozen).at(m.name, Role::factor_A),
                          .scale = scale});
  return adapters;
}

}  // namespace lorasb
