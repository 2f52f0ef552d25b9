// A classifier that was trained earlier, here or by PEFT, as its folder has it.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/common/base_model.hpp"
#include "examples/common/json_file.hpp"
#include "examples/common/module_choice.hpp"
#include "lorasb/core/digest.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/io/mapped_file.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::examples {

/// What a written folder says of itself beside its tensors, in classifier.json.
inline void write_classifier_file(const std::filesystem::path& folder, std::string_view method,
                                  const std::vector<std::string>& labels, const CommonOptions& options) {
  const bool has_name = options.model == "use-lite" || options.model == "minilm";
  write_json(folder / "classifier.json",
             {{"labels", labels},
              {"method", method},
              {"model", has_name ? options.model : std::filesystem::absolute(options.model).string()},
              {"pool", pool_names[static_cast<std::size_t>(options.pool)]}});
}

/// `adapters` is empty where the method is full or head.
struct TrainedFolder {
  std::filesystem::path path = {};
  Method method = Method::head;                           // that goes on from it
  AdapterSet<float> adapters = {};                        // plain LoRA with R = I; under the folder's names
  std::vector<formats::NamedTensor<float>> tensors = {};  // the head, and of `full` the weights
  std::vector<std::string> labels = {};
  std::string checksum = {};  // of the tensor file

  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, "--load: \"", path.string(), "\" ", parts...);
  }
  /// Null when it is not there.
  const formats::NamedTensor<float>* tensor(std::string_view name) const {
    const auto at = std::ranges::find_if(tensors, [&](const auto& t) { return t.name == name; });
    return at == tensors.end() ? nullptr : &*at;
  }
  Index classes() const { return tensor("classifier.weight")->shape[0]; }
  /// The largest rank of the adapters; 0 without any.
  Index rank() const {
    Index largest = 0;
    for (const auto& [name, adapter] : adapters) largest = std::max(largest, adapter.rank());
    return largest;
  }
};

namespace detail {

inline std::vector<formats::NamedTensor<float>> read_tensors(const std::filesystem::path& path) {
  const io::SafetensorsFile file(path);
  std::vector<formats::NamedTensor<float>> tensors;
  for (const io::TensorInfo& t : file.tensors()) {
    tensors.push_back({.name = t.name, .shape = t.shape, .values = std::vector<float>(static_cast<std::size_t>(t.elements()))});
    file.read<float>(t.name, tensors.back().values);
  }
  return tensors;
}

/// Those of the folder, else those of the model's config.json, else LABEL_0, LABEL_1, ... as transformers names them.
inline std::vector<std::string> labels_of(const TrainedFolder& folder, const nlohmann::json& ours,
                                          const CommonOptions& options) {
  std::vector<std::string> labels;
  const Index classes = folder.classes();
  if (ours.is_object()) {
    labels = ours.at("labels").get<std::vector<std::string>>();
    folder.check(std::ssize(labels) == classes, "names ", labels.size(), " labels for ", classes, " classes");
    return labels;
  }
  for (Index c = 0; c < classes; ++c) labels.push_back("LABEL_" + std::to_string(c));
  const std::filesystem::path config = model_folder(options) / "config.json";
  if (!std::filesystem::exists(config)) return labels;
  const nlohmann::json json = io::read_json(config);
  if (!json.contains("id2label") || std::ssize(json["id2label"]) != classes) return labels;
  for (const auto& [id, label] : json["id2label"].items()) {
    const int place = std::atoi(id.c_str());
    if (label.is_string() && place >= 0 && place < classes) labels[static_cast<std::size_t>(place)] = label.get<std::string>();
  }
  return labels;
}

}  // namespace detail

/// Reads what --load names: a folder that the programs wrote (--out, or adapter/ or folded/ in it), or a folder of PEFT for the
/// classification of sequences. Sets model and pool of `options` as the folder has them, but for a --model that was given.
/// Throws what readers throw, and ErrorId::adapter_folder for a folder that is no classifier.
inline TrainedFolder read_trained_folder(CommonOptions& options) {
  TrainedFolder folder{.path = options.load};
  if (std::filesystem::exists(folder.path / "adapter" / "adapter_config.json")) folder.path /= "adapter";
  const bool has_adapter = std::filesystem::exists(folder.path / "adapter_config.json");
  const bool is_ours = std::filesystem::exists(folder.path / "classifier.json");
  folder.check(has_adapter || is_ours, "holds neither an adapter nor classifier.json");
  nlohmann::json ours;
  if (is_ours) ours = io::read_json(folder.path / "classifier.json");
  formats::AdapterFolder<float> adapter;
  if (has_adapter) {
    adapter = formats::read_adapter_folder<float>(folder.path, {.plain_lora = true});
    folder.tensors = std::move(adapter.full_tensors);
    folder.method = adapter.plain_lora                          ? Method::lora
                    : is_ours && ours.at("method") == "lora-xs" ? Method::lora_xs
                                                                : Method::lora_sb;
    folder.adapters = std::move(adapter.adapters);
    folder.check(!adapter.fan_in_fan_out,
                 "has fan_in_fan_out: it is of a model whose weights are stored transposed, which no encoder here is");
  } else {
    folder.tensors = detail::read_tensors(folder.path / "model.safetensors");
  }
  const io::MappedFile file(folder.path / (has_adapter ? "adapter_model.safetensors" : "model.safetensors"));
  Sha256 sha;
  sha.update(file.bytes());
  folder.checksum = hex(sha.digest());

  const formats::NamedTensor<float>* const weight = folder.tensor("classifier.weight");
  const formats::NamedTensor<float>* const bias = folder.tensor("classifier.bias");
  folder.check(weight != nullptr && weight->shape.size() == 2, "has no classifier.weight: it is no classifier");
  folder.check(bias == nullptr || std::ssize(bias->values) == folder.classes(),
               "has a classifier.bias of another size than its weight");
  for (const formats::NamedTensor<float>& t : folder.tensors) {
    if (&t == weight || &t == bias) continue;
    folder.check(!has_adapter, "holds ", in_quotes(t.name),
                 ", which was trained in full beside the adapters: this program reads a head alone");
    folder.method = Method::full;
  }

  if (!options.model_given) {
    if (is_ours)
      options.model = ours.at("model").get<std::string>();
    else if (adapter.base_model.ends_with("all-MiniLM-L6-v2"))
      options.model = "minilm";
    else if (adapter.base_model.find("model-embeddings-en") != std::string::npos)
      options.model = "use-lite";
    else if (!adapter.base_model.empty())
      options.model = adapter.base_model;
  }
  if (is_ours) {
    const auto pool = std::ranges::find(pool_names, ours.at("pool").get<std::string>());
    folder.check(pool != pool_names.end(), "has the pool ", ours.at("pool").dump(), ", which is not known");
    options.pool = static_cast<models::Pooling>(pool - pool_names.begin());
  } else if (!is_use_lite(options)) {
    options.pool = models::Pooling::pooler;  // as transformers' classifier of sequences has it
  }
  folder.labels = detail::labels_of(folder, ours, options);
  return folder;
}

/// The folder's adapters under the names of the model's modules, which are all that `base` keeps; the others stay frozen.
/// Throws ErrorId::adapter_folder for a module that is not there or has another shape.
inline AdapterSet<float> fit_adapters(const TrainedFolder& folder, BaseModel& base) {
  AdapterSet<float> fitted;
  for (const auto& [name, adapter] : folder.adapters) {
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

/// Its head, with rows of zeros for the labels that `classes` has beyond it. Throws ErrorId::adapter_folder for a head over
/// other features.
inline Parameters<float> loaded_head(const TrainedFolder& folder, const BaseModel& base, Index classes) {
  const formats::NamedTensor<float>& weight = *folder.tensor("classifier.weight");
  folder.check(weight.shape[1] == base.features, "has a classifier of ", weight.shape[1], " features, but the vectors of ",
               base.name, " have ", base.features);
  ParameterLayout layout;
  models::append_head(classes, base.features, layout);
  Parameters<float> head(layout);
  std::ranges::copy(weight.values, head.flat("classifier.weight").begin());
  if (const formats::NamedTensor<float>* const bias = folder.tensor("classifier.bias"))
    std::ranges::copy(bias->values, head.flat("classifier.bias").begin());
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
      return train::tune_lora(base.weights, base.modules, lora_factors(adapters), head);
    case Method::full:
      break;
    case Method::head:
      return train::tune_head(base.weights, base.modules, head);
  }
  train::TunedModel<float> model = train::tune_all(base.weights, base.modules, base.layout, head);
  for (const formats::NamedTensor<float>& t : folder.tensors) {
    if (t.name.starts_with("classifier.")) continue;
    folder.check(base.layout.find(t.name) != nullptr, "holds ", in_quotes(t.name), ", which ", base.name, " does not have");
    folder.check(t.values.size() == model.values->flat(t.name).size(), "has ", in_quotes(t.name), " in another size than ",
                 base.name);
    std::ranges::copy(t.values, model.values->flat(t.name).begin());
  }
  return model;
}

}  // namespace lorasb::examples
