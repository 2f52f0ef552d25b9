// Puts the numbers of a trained folder into a base model, to predict with or to go on training from.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/classify/module_choice.hpp"
#include "lorasb/classify/trained_folder.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::classify {

/// The folder's adapters under the names of the model's modules, which are all that `base` keeps; the others stay frozen.
/// Throws ErrorId::adapter_folder for a module that is not there or has another shape.
inline AdapterSet<float> fit_adapters(const TrainedFolder& folder, BaseModel& base) {
  AdapterSet<float> fitted;
  for (const auto& entry : folder.adapters) {  // no binding: clang 14 does not capture one
    const std::string& name = entry.first;
    const LowRankAdapter<float>& adapter = entry.second;
    const auto at =
        std::ranges::find_if(base.modules, [&](const Module<float>& m) { return formats::names_module(name, m.name); });
    folder.check(at != base.modules.end(), "adapts ", in_quotes(name), ", which ", base.name, " does not have");
    folder.check(adapter.out_features() == at->W0.rows() && adapter.in_features() == at->W0.cols(), "adapts ", in_quotes(name),
                 " as ", adapter.out_features(), " x ", adapter.in_features(), ", but in ", base.name, " it is ", at->W0.rows(),
                 " x ", at->W0.cols());
    fitted.add(at->name, adapter);
  }
  if (fitted.empty()) return fitted;
  std::vector<std::string> names;
  for (const auto& [name, adapter] : fitted) names.push_back(name);
  keep_modules(base, names);
  return fitted;
}

/// fit_adapters() for training that goes on. `others` are what reads such a folder, for the message. Throws
/// ErrorId::adapter_folder, too, where more was trained in full beside the adapters than the head: training cannot go on from it.
inline AdapterSet<float> adapters_to_go_on_from(const TrainedFolder& folder, BaseModel& base,
                                                std::string_view others = "open_classifier() reads") {
  if (folder.method == Method::full) return fit_adapters(folder, base);
  for (const formats::NamedTensor<float>& t : folder.beside_head())
    folder.check(base.dense && formats::detail::module_of(t.name) == base.dense->module, "holds ", in_quotes(t.name),
                 ", trained in full beside the adapters: ", others, " it, training cannot go on from it");
  return fit_adapters(folder, base);
}

/// The folder's head in the place of `head`'s numbers, with rows of zeros for the labels that `head` has beyond it, and its dense
/// layer where `head` has one. Throws ErrorId::adapter_folder for a head of another model.
inline Parameters<float> loaded_head(const TrainedFolder& folder, const BaseModel& base, Parameters<float> head) {
  folder.check(folder.head == base.head, "has no ", base.head, ".weight: it is no classifier of ", base.name);
  const formats::NamedTensor<float>& weight = *folder.tensor(folder.head + ".weight");
  folder.check(weight.shape[1] == base.features, "has a classifier of ", weight.shape[1], " features, but the vectors of ",
               base.name, " have ", base.features);
  for (const ParameterLayout::Tensor& t : head.layout().tensors()) {
    const std::span<float> to = head.flat(t.name);
    const bool is_dense = t.module == models::dense_module;
    const formats::NamedTensor<float>* const from = folder.tensor(base.head_name(t));
    if (!is_dense) std::ranges::fill(to, 0.0f);
    if (from == nullptr) continue;  // a head without a bias; a dense layer that the base model has
    folder.check(is_dense ? from->values.size() == to.size() : from->values.size() <= to.size(), "has ", in_quotes(from->name),
                 " in another size than ", base.name);
    std::ranges::copy(from->values, to.begin());
  }
  return head;
}

/// Plain LoRA as factors: R is I.
inline NamedSet<LoraAdapter<float>> lora_factors(const AdapterSet<float>& adapters) {
  NamedSet<LoraAdapter<float>> factors;
  for (const auto& [name, a] : adapters) factors.add(name, {.B = a.B, .A = a.A, .scale = a.scale});
  return factors;
}

/// The model as the folder's training left it, to go on from; `adapters` are what fit_adapters() made. Everything that it views
/// must outlive it. Throws ErrorId::adapter_folder for a tensor of another size than the model's.
inline train::TunedModel<float> tune_loaded(const TrainedFolder& folder, const BaseModel& base, AdapterSet<float> adapters,
                                            const Parameters<float>& head) {
  switch (folder.method) {
    case Method::lora_sb:
    case Method::lora_xs:
      return train::tune_cores(folder.method, base.weights, base.modules, std::move(adapters), head);
    case Method::lora:
    case Method::ffa_lora:
      return train::tune_lora(base.weights, base.modules, lora_factors(adapters), head);
    case Method::full:
      break;
    case Method::head:
      return train::tune_head(base.weights, base.modules, head);
  }
  train::TunedModel<float> model = train::tune_all(base.weights, base.modules, base.layout, head);
  for (const formats::NamedTensor<float>& t : folder.tensors) {
    if (formats::detail::module_of(t.name) == folder.head) continue;
    if (base.dense && formats::detail::module_of(t.name) == base.dense->module) continue;
    folder.check(base.layout.find(t.name) != nullptr, "holds ", in_quotes(t.name), ", which ", base.name, " does not have");
    folder.check(t.values.size() == model.values->flat(t.name).size(), "has ", in_quotes(t.name), " in another size than ",
                 base.name);
    std::ranges::copy(t.values, model.values->flat(t.name).begin());
  }
  return model;
}

/// The adapters of a model as they were trained, R = I for plain LoRA; none of full fine-tuning and of the head alone.
inline AdapterSet<float> trained_adapters(const train::TunedModel<float>& model, const std::vector<Module<float>>& modules) {
  AdapterSet<float> adapters;
  for (const auto& [name, basis] : model.bases)
    adapters.add(name,
                 {.B = basis.B, .R = std::as_const(*model.values).at(name, Role::core), .A = basis.A, .scale = basis.scale});
  if (model.method != Method::lora && model.method != Method::ffa_lora) return adapters;
  for (auto& [name, lora] : lora_adapters(modules, model.lora_scale, std::as_const(*model.values), model.frozen.get())) {
    const Index rank = lora.rank();
    adapters.add(
        name, {.B = std::move(lora.B), .R = Weight<float>::Identity(rank, rank), .A = std::move(lora.A), .scale = lora.scale});
  }
  return adapters;
}

}  // namespace lorasb::classify
