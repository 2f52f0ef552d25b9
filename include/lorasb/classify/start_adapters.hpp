// Where training starts: adapters of all modules of a base model, LoRA-SB's from texts, LoRA-XS's from the weights alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/adapter/lora/lora_xs.hpp"
#include "lorasb/classify/make_classifier.hpp"
#include "lorasb/train/initialize_modules.hpp"

namespace lorasb::classify {

/// LoRA-XS adapters of every module.
inline AdapterSet<float> xs_adapters(const BaseModel& base, Index rank, std::uint64_t seed) {
  AdapterSet<float> adapters;
  std::uint64_t position = 0;
  for (const Module<float>& m : base.modules)
    adapters.add(m.name, initialize_lora_xs<float>(m.W0.widened(), {.rank = rank, .seed = derive_seed(seed, position++)}));
  return adapters;
}

/// 0, 1, ..., texts - 1.
inline std::vector<Index> all_of(const TokenizedTexts& texts) {
  std::vector<Index> order(static_cast<std::size_t>(texts.size()));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

inline constexpr Index estimation_batch = 32;

/// A pass over the texts named in `order`, in batches, with the head that training starts with. Part p takes every batch whose
/// number is p modulo the parts. All that it is given must outlive it.
inline train::PartedPass<float> estimation_pass(const BaseModel& base, const Parameters<float>& head,
                                                const TokenizedTexts& texts, std::span<const Index> order, Index parts,
                                                int threads, std::size_t batch_size = estimation_batch,
                                                const std::vector<double>& class_weights = {}) {
  const auto run = [&base, &head, &texts, order, parts, batch_size, class_weights](const Layers<float>& layers, Index part) {
    Classifier classifier = make_classifier(base, base.weights, layers, head, 1);
    classifier.set_class_weights(class_weights);
    std::vector<float> gradient(head.flat().size());
    train::EstimationResult found(0, 0);
    for (std::size_t first = std::size_t(part) * batch_size; first < order.size(); first += std::size_t(parts) * batch_size) {
      const std::span<const Index> batch = order.subspan(first, std::min(batch_size, order.size() - first));
      found.loss += classifier.pass(texts, batch, 0, gradient).loss;
      found.examples += std::ssize(batch);
    }
    return found;
  };
  return {.run = run, .parts = parts, .threads = threads};
}

/// LoRA-SB adapters of every module, from the texts named in `order`; `options` are those of train::initialize_modules(). Throws what
/// that throws; where a number is not finite the message says what may hold it.
inline train::InitializedModules<float> sb_adapters(const BaseModel& base, const Parameters<float>& head,
                                                    const TokenizedTexts& texts, std::span<const Index> order, Index parts,
                                                    int threads, train::InitializeModulesOptions options,
                                                    const std::vector<double>& class_weights = {}) {
  try {
    return train::initialize_modules<float>(
        base.modules, estimation_pass(base, head, texts, order, parts, threads, estimation_batch, class_weights), options);
  } catch (const Error& error) {
    if (error.id() != ErrorId::not_finite) throw;
    throw Error(ErrorId::not_finite, concat("the first step, from ", order.size(), " texts, is not finite: the base model, the head or the class "
                                            "weights hold such numbers, or far too large ones, or the learning rate is far too high (", error.what(), ")"));
  }
}

/// A base model as a method starts to train it: the cores of `adapters` (LoRA-SB, LoRA-XS), new factors (LoRA, FFA-LoRA: `lora`), all
/// weights, or the head alone. Everything that it views must outlive it.
///
///     train::TunedModel<float> model = start_model(Method::lora, base, {}, {.rank = 8, .alpha = 8}, start_head(base, classes));
inline train::TunedModel<float> start_model(Method method, const BaseModel& base, AdapterSet<float> adapters, const LoraOptions& lora,
                                            const Parameters<float>& head) {
  switch (method) {
    case Method::lora_sb:
    case Method::lora_xs:
      return train::tune_cores(method, base.weights, base.modules, std::move(adapters), head);
    case Method::lora:
      return train::tune_lora(base.weights, base.modules, lora, head);
    case Method::ffa_lora:
      return train::tune_ffa_lora(base.weights, base.modules, lora, head);
    case Method::full:
      return train::tune_all(base.weights, base.modules, base.layout, head);
    case Method::head:
      break;
  }
  return train::tune_head(base.weights, base.modules, head);
}

}  // namespace lorasb::classify
