// The cores of a model's adapters in the trainer's flat buffer, and the layers that read them there.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/basis.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/borrowed.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb {

/// Appends the core of every module's adapter to `layout`, as the tensor "<module>.R" with Role::core, in the order of the
/// modules. `adapters` is an AdapterSet or AdapterBases. Throws ErrorId::unknown_name for a module without an adapter and for an
/// adapter without a module.
template <Real S, class Adapter>
void append_cores(const std::vector<Module<S>>& modules, const NamedSet<Adapter>& adapters, ParameterLayout& layout) {
  for (const Module<S>& module : modules) {
    const Index rank = adapters.at(module.name).rank();
    layout.add(module.name, Role::core, rank, rank);
  }
  for (const auto& [name, adapter] : adapters)
    require(layout.find(name, Role::core) != nullptr, ErrorId::unknown_name, "append_cores: there is an adapter for ",
            in_quotes(name), ", but no such module in this model");
}

/// Moves every R into the buffer, its only place from here on, and returns what is frozen. `adapters` is left empty, so that
/// nothing can read the R that training started from. Throws ErrorId::unknown_name, ErrorId::shape, and what
/// LowRankAdapter::validate throws, all before anything is moved.
///
///     ParameterLayout layout;
///     append_cores(modules, adapters, layout);
///     Parameters<float> values(layout);
///     const AdapterBases<float> bases = take_cores(std::move(adapters), values);
///     const Layers<float> layers = bind_cores(modules, bases, values);
template <Real S>
AdapterBases<S> take_cores(AdapterSet<S>&& adapters, Parameters<S>& values) {
  for (const auto& [name, adapter] : adapters) {
    adapter.validate(name);
    const ConstWeightView<S> R = std::as_const(values).at(name, Role::core);
    require_shape(adapter.R, R.rows(), R.cols(), "take_cores", "R", "the core of ", in_quotes(name), " in the buffer");
  }
  AdapterSet<S> taken = std::exchange(adapters, {});
  AdapterBases<S> bases;
  for (auto& [name, adapter] : taken) {
    values.at(name, Role::core) = adapter.R;
    bases.add(name, {.B = std::move(adapter.B), .A = std::move(adapter.A), .scale = adapter.scale});
  }
  return bases;
}

/// Adapted layers with R in `values`; the frozen W0, B and A are shared by however many bind to them. Everything must outlive
/// the layers. Throws ErrorId::unknown_name and ErrorId::shape.
template <Real S>
Layers<S> bind_cores(const std::vector<Module<S>>& modules, Borrowed<AdapterBases<std::type_identity_t<S>>> bases,
                     Borrowed<Parameters<std::type_identity_t<S>>> values) {
  Layers<S> layers;
  for (const Module<S>& module : modules)
    layers.push_back(std::make_unique<AdaptedLinear<S>>(module.W0, bases->at(module.name),
                                                        values->at(module.name, Role::core), module.name));
  return layers;
}

}  // namespace lorasb
