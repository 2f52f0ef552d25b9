// What a method trains in a model: its values in one flat buffer, and the layers that read them there.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "lorasb/adapter/cores.hpp"
#include "lorasb/adapter/lora/bind.hpp"
#include "lorasb/adapter/method.hpp"
#include "lorasb/core/frozen_model.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/optim/optimizer.hpp"

namespace lorasb::train {

/// Adapters or weights, the head behind them, and the layers bound to both. The modules' weights must outlive it; it may be
/// moved, not copied.
template <Real S>
struct TunedModel {
  Method method = Method::head;
  AdapterBases<S> bases;   // of lora-sb and lora-xs
  S lora_scale = 1;        // s of lora and ffa-lora
  FrozenModel<S> weights;  // of everything that is no linear layer: the base model's, or the trained copy
  std::unique_ptr<Parameters<S>> values;
  std::unique_ptr<Parameters<S>> frozen = nullptr;  // A of ffa-lora
  Layers<S> layers;
};

namespace detail {

/// Makes the buffer: the layout and then the head, whose values are copied.
template <Real S>
void start_values(TunedModel<S>& model, const Parameters<S>& head, ParameterLayout layout) {
  layout.append(head.layout());
  model.values = std::make_unique<Parameters<S>>(std::move(layout));
  copy_tensors(head, *model.values);
}

}  // namespace detail

/// A rate of its own for the head: `factor` times the rate of a step.
template <Real S>
void set_head_rate(optim::Optimizer<S>& optimizer, const ParameterLayout& layout, double factor) {
  for (const Range& head : layout.ranges([](const ParameterLayout::Tensor& t) { return is_head(t.role); }))
    optimizer.set_rate_factor(head.first, head.count, factor);
}

/// lora-sb and lora-xs: the core of each adapter is trained; the cores move out of `adapters`.
template <Real S>
TunedModel<S> tune_cores(Method method, const FrozenModel<S>& base, const std::vector<Module<S>>& modules,
                         AdapterSet<S>&& adapters, const Parameters<S>& head) {
  TunedModel<S> model{.method = method, .bases = {}, .weights = base, .values = {}, .layers = {}};
  ParameterLayout layout;
  append_cores(modules, adapters, layout);
  detail::start_values(model, head, std::move(layout));
  model.bases = take_cores(std::move(adapters), *model.values);
  model.layers = bind_cores<S>(modules, model.bases, *model.values);
  return model;
}

/// lora: both factors of each adapter are trained.
template <Real S>
TunedModel<S> tune_lora(const FrozenModel<S>& base, const std::vector<Module<S>>& modules, const LoraOptions& options,
                        const Parameters<S>& head) {
  TunedModel<S> model{.method = Method::lora, .bases = {}, .lora_scale = S(options.alpha / double(options.rank)),
                      .weights = base, .values = {}, .layers = {}};
  ParameterLayout layout;
  for (const Module<S>& m : modules) append_lora(m.name, m.W0.rows(), m.W0.cols(), options.rank, layout);
  detail::start_values(model, head, std::move(layout));
  start_lora(modules, options, *model.values);
  model.layers = bind_lora<S>(modules, model.lora_scale, *model.values);
  return model;
}

/// ffa-lora: B is trained; A stays as options.seed draws it (Sun et al., arXiv 2403.12313).
template <Real S>
TunedModel<S> tune_ffa_lora(const FrozenModel<S>& base, const std::vector<Module<S>>& modules, const LoraOptions& options,
                            const Parameters<S>& head) {
  TunedModel<S> model{.method = Method::ffa_lora, .bases = {}, .lora_scale = S(options.alpha / double(options.rank)),
                      .weights = base, .values = {}, .layers = {}};
  ParameterLayout layout, frozen;
  for (const Module<S>& m : modules) append_lora(m.name, m.W0.rows(), m.W0.cols(), options.rank, layout, frozen);
  detail::start_values(model, head, std::move(layout));
  model.frozen = std::make_unique<Parameters<S>>(std::move(frozen));
  start_lora(modules, options, *model.values);
  start_lora(modules, options, *model.frozen);
  model.layers = bind_lora<S>(modules, model.lora_scale, *model.values, *model.frozen);
  return model;
}

/// The same from adapters that are there, one for each module, of any ranks; s is that of the first one, and where another has
/// another scale the ratio goes into its B. Throws ErrorId::unknown_name for a module without an adapter, ErrorId::shape and
/// value.
template <Real S>
TunedModel<S> tune_lora(const FrozenModel<S>& base, const std::vector<Module<S>>& modules,
                        const NamedSet<LoraAdapter<S>>& start, const Parameters<S>& head) {
  require(!modules.empty(), ErrorId::value, "tune_lora: there are no modules");
  TunedModel<S> model{.method = Method::lora,
                      .bases = {},
                      .lora_scale = start.at(modules.front().name).scale,
                      .weights = base,
                      .values = {},
                      .layers = {}};
  require(model.lora_scale != 0, ErrorId::value, "tune_lora: the scale is 0, expected another number");
  ParameterLayout layout;
  for (const Module<S>& m : modules) append_lora(m.name, m.W0.rows(), m.W0.cols(), start.at(m.name).rank(), layout);
  detail::start_values(model, head, std::move(layout));
  for (const Module<S>& m : modules) {
    const LoraAdapter<S>& from = start.at(m.name);
    require_shape(from.B, m.W0.rows(), from.rank(), "tune_lora", "B", "out_features of ", in_quotes(m.name), " x rank");
    require_shape(from.A, from.rank(), m.W0.cols(), "tune_lora", "A", "rank x in_features of ", in_quotes(m.name));
    model.values->at(m.name, Role::factor_B) =
        from.scale == model.lora_scale ? from.B : Weight<S>((from.scale / model.lora_scale) * from.B);
    model.values->at(m.name, Role::factor_A) = from.A;
  }
  model.layers = bind_lora<S>(modules, model.lora_scale, *model.values);
  return model;
}

/// full: every tensor of the model's layout is trained, in a copy.
template <Real S>
TunedModel<S> tune_all(const FrozenModel<S>& base, const std::vector<Module<S>>& modules, const ParameterLayout& layout,
                       const Parameters<S>& head) {
  TunedModel<S> model{.method = Method::full, .bases = {}, .weights = {}, .values = {}, .layers = {}};
  detail::start_values(model, head, layout);
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    const FrozenWeight<S>& from = base.at(t.name);
    require_shape(from, t.rows, t.cols, "tune_all", t.name);
    from.widen(0, t.rows, model.values->flat(t.name).data());
  }
  model.weights = FrozenModel<S>(std::as_const(*model.values));
  for (const Module<S>& m : modules)
    model.layers.push_back(std::make_unique<nn::Linear<S>>(std::as_const(*model.values).at(m.name, Role::weight),
                                                           nn::WeightGradient::full, m.name));
  return model;
}

/// head: the model stays as it is.
template <Real S>
TunedModel<S> tune_head(const FrozenModel<S>& base, const std::vector<Module<S>>& modules, const Parameters<S>& head) {
  TunedModel<S> model{.method = Method::head, .bases = {}, .weights = base, .values = {}, .layers = {}};
  detail::start_values(model, head, {});
  for (const Module<S>& m : modules)
    model.layers.push_back(std::make_unique<nn::Linear<S>>(m.W0, nn::WeightGradient::none, m.name));
  return model;
}

}  // namespace lorasb::train
