// A model's adapted modules and one flat buffer of trainable numbers, brought together as layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/adapter_set.hpp"
#include "lorasb/adapter/lora.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb {

/// A linear module of a model: its name and its frozen weight, out x in.
template <Real S>
struct Module {
  std::string name;
  FrozenWeight<S> W0;
};

/// One layer for each module, in the order of the modules.
template <Real S>
using Layers = std::vector<std::unique_ptr<LinearLayer<S>>>;

/// Appends the core of every module's adapter to `layout`, as "<module>.R", in the order of the modules: the order in which a
/// model hands out the gradients of its layers. Throws ErrorId::unknown_name for a module without an adapter or an adapter
/// without a module.
template <Real S>
void append_cores(const std::vector<Module<S>>& modules, const AdapterSet<S>& adapters, ParameterLayout& layout) {
  for (const Module<S>& module : modules) {
    const Index rank = adapters.at(module.name).rank();
    layout.add(module.name + ".R", rank, rank);
  }
  for (const auto& [name, adapter] : adapters)
    require(layout.find(name + ".R") != nullptr, ErrorId::unknown_name, "append_cores: there is an adapter for \"", name,
            "\", but no such module in this model");
}

/// Copies every R into the buffer, and back. Throws ErrorId::unknown_name and ErrorId::shape.
template <Real S>
void store_cores(const AdapterSet<S>& adapters, Parameters<S>& values) {
  for (const auto& [name, adapter] : adapters) {
    WeightView<S> R = values[name + ".R"];
    require_shape(adapter.R, R.rows(), R.cols(), "store_cores", "R", "\"", name, ".R\" in the buffer");
    R = adapter.R;
  }
}
template <Real S>
void load_cores(const Parameters<S>& values, AdapterSet<S>& adapters) {
  for (auto& [name, adapter] : adapters) {
    const ConstWeightView<S> R = values[name + ".R"];
    require_shape(R, adapter.rank(), adapter.rank(), "load_cores", "the buffer's core", "the adapter of \"", name, "\"");
    adapter.R = R;
  }
}

/// Adapted layers with R in `values`; the frozen W0, B, A are shared by however many bind to them. Everything must outlive the
/// layers. Throws ErrorId::unknown_name and ErrorId::shape.
template <Real S>
Layers<S> bind_cores(const std::vector<Module<S>>& modules, const AdapterSet<S>& adapters, const Parameters<S>& values) {
  Layers<S> layers;
  for (const Module<S>& module : modules)
    layers.push_back(
        std::make_unique<AdaptedLinear<S>>(module.W0, adapters.at(module.name), values[module.name + ".R"], module.name));
  return layers;
}

template <Real S>  // the layers would outlive them
Layers<S> bind_cores(const std::vector<Module<S>>&, const AdapterSet<S>&&, const Parameters<S>&) = delete;
template <Real S>
Layers<S> bind_cores(const std::vector<Module<S>>&, const AdapterSet<S>&, const Parameters<S>&&) = delete;

/// The same for plain LoRA: the factors live in the buffer alone, as "<module>.B" and "<module>.A", one after the other.
inline void append_lora(const std::string& module, Index out_features, Index in_features, Index rank, ParameterLayout& layout) {
  layout.add(module + ".B", out_features, rank);
  layout.add(module + ".A", rank, in_features);
}
template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>& modules, S scale, const Parameters<S>& values) {
  Layers<S> layers;
  for (const Module<S>& module : modules)
    layers.push_back(
        std::make_unique<LoraLinear<S>>(module.W0, values[module.name + ".B"], values[module.name + ".A"], scale, module.name));
  return layers;
}

template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>&, S, const Parameters<S>&&) = delete;

/// The same with A frozen (FFA-LoRA): "<module>.B" is trained, and "<module>.A" stands in a buffer of its own, which many
/// clients can share.
inline void append_lora(const std::string& module, Index out_features, Index in_features, Index rank, ParameterLayout& layout,
                        ParameterLayout& frozen) {
  layout.add(module + ".B", out_features, rank);
  frozen.add(module + ".A", rank, in_features);
}
template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>& modules, S scale, const Parameters<S>& values, const Parameters<S>& frozen) {
  Layers<S> layers;
  for (const Module<S>& module : modules)
    layers.push_back(std::make_unique<LoraLinear<S>>(module.W0, values[module.name + ".B"], frozen[module.name + ".A"], scale,
                                                     module.name, TrainedFactors::B_only));
  return layers;
}

template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>&, S, const Parameters<S>&&, const Parameters<S>&) = delete;
template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>&, S, const Parameters<S>&, const Parameters<S>&&) = delete;
template <Real S>
Layers<S> bind_lora(const std::vector<Module<S>>&, S, const Parameters<S>&&, const Parameters<S>&&) = delete;

}  // namespace lorasb
