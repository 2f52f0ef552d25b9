// What each method trains in the encoder: its numbers in one flat buffer, and the layers that read them.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "examples/common/text_classifier.hpp"
#include "lorasb/adapter/lora/lora_xs.hpp"
#include "lorasb/train/initialize_modules.hpp"

namespace lorasb::examples {

enum class Method { lora_sb, lora, lora_xs, full, head };

inline constexpr std::array<std::string_view, 5> method_names{"lora-sb", "lora", "lora-xs", "full", "head"};
inline std::string_view name_of(Method method) { return method_names[static_cast<std::size_t>(method)]; }

/// Adapters or weights, the head, and the layers bound to them. The base model must outlive it; it may be moved, not copied.
struct TunedModel {
  Method method = Method::head;
  AdapterSet<float> adapters;  // of lora-sb and lora-xs: B, A and s, and R once load_cores() has fetched it
  float lora_scale = 1;        // s of lora
  std::unique_ptr<Parameters<float>> values;
  Layers<float> layers;

  /// The tensors that the encoder reads besides its layers'.
  const Parameters<float>& encoder_weights(const UseLite& base) const {
    return method == Method::full ? *values : base.weights;
  }
};

namespace detail {

inline void start_values(TunedModel& model, const Parameters<float>& head, ParameterLayout layout) {
  append_head(head.layout().at("classifier.weight").rows, head.layout().at("classifier.weight").cols, layout);
  model.values = std::make_unique<Parameters<float>>(std::move(layout));
  std::ranges::copy(head.flat(), model.values->flat().last(head.flat().size()).begin());
}

/// Makes the layers, when the numbers are in place.
inline void bind_layers(TunedModel& model, const UseLite& base) {
  const std::vector<Module<float>> modules = adapted_modules(base);
  const Parameters<float>& values = *model.values;
  switch (model.method) {
    case Method::lora_sb:
    case Method::lora_xs:
      model.layers = bind_cores(modules, model.adapters, values);
      break;
    case Method::lora:
      model.layers = bind_lora(modules, model.lora_scale, values);
      break;
    case Method::full:
      for (const Module<float>& m : modules)
        model.layers.push_back(std::make_unique<nn::Linear<float>>(values[m.name + ".weight"], nn::WeightGradient::full));
      break;
    case Method::head:
      for (const Module<float>& m : modules) model.layers.push_back(std::make_unique<nn::Linear<float>>(m.W0));
  }
}

}  // namespace detail

/// lora-sb and lora-xs: the core of each adapter is trained.
inline TunedModel tune_cores(Method method, const UseLite& base, const Parameters<float>& head, AdapterSet<float> adapters) {
  TunedModel model{.method = method, .adapters = std::move(adapters), .values = {}, .layers = {}};
  ParameterLayout layout;
  append_cores(adapted_modules(base), model.adapters, layout);
  detail::start_values(model, head, std::move(layout));
  store_cores(model.adapters, *model.values);
  detail::bind_layers(model, base);
  return model;
}

/// B = 0 and random A of every module, those of them that are among the numbers.
inline void start_lora_factors(const std::vector<Module<float>>& modules, Index rank, std::uint64_t seed,
                               Parameters<float>& values) {
  std::uint64_t place = 0;
  for (const Module<float>& m : modules) {
    const LoraAdapter<float> lora = initialize_lora<float>(
        m.W0.rows(), m.W0.cols(), {.rank = rank, .alpha = double(rank), .seed = derive_seed(seed, place++)});
    if (values.layout().find(m.name + ".B") != nullptr) values[m.name + ".B"] = lora.B;
    if (values.layout().find(m.name + ".A") != nullptr) values[m.name + ".A"] = lora.A;
  }
}

/// lora: both factors of each adapter are trained; alpha = rank, so s = 1 and the learning rate alone sets the pace.
inline TunedModel tune_lora(const UseLite& base, const Parameters<float>& head, Index rank, std::uint64_t seed) {
  TunedModel model{.method = Method::lora, .adapters = {}, .values = {}, .layers = {}};
  const std::vector<Module<float>> modules = adapted_modules(base);
  ParameterLayout layout;
  for (const Module<float>& m : modules) append_lora(m.name, m.W0.rows(), m.W0.cols(), rank, layout);
  detail::start_values(model, head, std::move(layout));
  start_lora_factors(modules, rank, seed, *model.values);
  detail::bind_layers(model, base);
  return model;
}

/// full: every tensor of the encoder is trained, in a copy.
inline TunedModel tune_all(const UseLite& base, const Parameters<float>& head) {
  TunedModel model{.method = Method::full, .adapters = {}, .values = {}, .layers = {}};
  detail::start_values(model, head, base.weights.layout());
  std::ranges::copy(base.weights.flat(), model.values->flat().begin());
  detail::bind_layers(model, base);
  return model;
}

/// head: the encoder stays as it is.
inline TunedModel tune_head(const UseLite& base, const Parameters<float>& head) {
  TunedModel model{.method = Method::head, .adapters = {}, .values = {}, .layers = {}};
  detail::start_values(model, head, {});
  detail::bind_layers(model, base);
  return model;
}

/// LoRA-XS adapters of every module.
inline AdapterSet<float> xs_adapters(const UseLite& base, Index rank, std::uint64_t seed) {
  AdapterSet<float> adapters;
  std::uint64_t place = 0;
  for (const Module<float>& m : adapted_modules(base))
    adapters.add(m.name, initialize_lora_xs<float>(m.W0.widened(), {.rank = rank, .seed = derive_seed(seed, place++)}));
  return adapters;
}

/// LoRA-SB adapters of every module, from the texts named in `order`, with the head that training starts with.
inline train::InitializedModules<float> sb_adapters(const UseLite& base, const Parameters<float>& head,
                                                    const TokenizedTexts& texts, std::span<const Index> order,
                                                    train::InitializeModulesOptions options) {
  const train::EstimationPass<float> pass = [&](const Layers<float>& layers) {
    TextClassifier classifier(base, base.weights, layers, head, 1);
    std::vector<float> gradient(head.flat().size());
    for (std::size_t first = 0; first < order.size(); first += 32) {
      const std::span<const Index> batch = order.subspan(first, std::min<std::size_t>(32, order.size() - first));
      classifier.pass(texts, batch, 0, gradient);
    }
    return std::ssize(order);
  };
  return train::initialize_modules<float>(adapted_modules(base), pass, options);
}

}  // namespace lorasb::examples
