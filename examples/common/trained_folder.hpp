// A classifier that was trained earlier, here or by PEFT, as its folder has it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/common/base_model.hpp"
#include "examples/common/json_file.hpp"
#include "examples/common/module_choice.hpp"
#include "lorasb/core/digest.hpp"
#include "lorasb/data/labels.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/io/mapped_file.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::examples {

/// How a classifier reads its texts, and what its outputs mean.
struct ClassifierForm {
  models::Pooling pool = models::Pooling::mean;
  ProblemType problem = ProblemType::single_label;
  TextForm texts = {};
  WeightType weights = WeightType::f32;  // that it was trained on
};
inline ClassifierForm form_of(const CommonOptions& options) {
  return {.pool = options.pool, .problem = options.problem, .texts = text_form(options), .weights = options.weights};
}

/// What a written folder says of itself beside its tensors, in classifier.json; `model` is the name or the path of its base.
inline void write_classifier_file(const std::filesystem::path& folder, std::string_view method,
                                  const std::vector<std::string>& labels, const std::string& model, const ClassifierForm& form) {
  nlohmann::json json = {{"labels", labels}, {"method", method}, {"model", model}, {"pool", pool_names[static_cast<std::size_t>(form.pool)]}};
  if (form.problem != ProblemType::single_label) json["problem_type"] = nn::problem_names[static_cast<std::size_t>(form.problem)];
  if (form.texts.pairs) json["pairs"] = true;
  if (form.texts.max_tokens > 0) json["max_tokens"] = form.texts.max_tokens;
  if (form.weights != WeightType::f32) json["weights"] = weight_names[static_cast<std::size_t>(form.weights)];
  write_json(folder / "classifier.json", json);
}
/// The same of a folder whose base --model names.
inline void write_classifier_file(const std::filesystem::path& folder, std::string_view method,
                                  const std::vector<std::string>& labels, const CommonOptions& options) {
  const bool has_name = options.model == "use-lite" || options.model == "minilm";
  write_classifier_file(folder, method, labels, has_name ? options.model : std::filesystem::absolute(options.model).string(),
                        form_of(options));
}

/// The head of a merged folder where transformers has no model with it.
inline constexpr const char* merged_head_file = "classifier.safetensors";

/// Throws ErrorId::value where a folder for results holds a model, which they would overwrite.
inline void require_no_model(const std::filesystem::path& out) {
  require(!std::filesystem::exists(out / "config.json"), ErrorId::value, "--out: ", in_quotes(out.string()),
          " holds a model (config.json), which would be overwritten; give another folder");
}
/// Removes what an earlier run with another method left: a reader would take it for this run's.
inline void remove_classifiers(const std::filesystem::path& out) {
  for (const char* old : {"adapter/adapter_config.json", "folded/adapter_config.json", "model.safetensors", "classifier.json",
                          "confusion.svg"})
    std::filesystem::remove(out / old);
}

/// `adapters` is empty where the method is full or head.
struct TrainedFolder {
  std::filesystem::path path = {};
  Method method = Method::head;                           // that goes on from it
  AdapterSet<float> adapters = {};                        // plain LoRA with R = I; under the folder's names
  std::vector<formats::NamedTensor<float>> tensors = {};  // the head, and what was trained in full beside it
  std::string head = std::string(models::head_module);    // the head's last layer in `tensors`
  std::vector<std::string> labels = {};
  ProblemType problem = ProblemType::single_label;
  std::string checksum = {};    // of the tensor file
  std::string written_by = {};  // the method of the program that wrote it; empty for folders of others

  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, "--load: \"", path.string(), "\" ", parts...);
  }
  /// Null when it is not there.
  const formats::NamedTensor<float>* tensor(std::string_view name) const {
    const auto at = std::ranges::find_if(tensors, [&](const auto& t) { return t.name == name; });
    return at == tensors.end() ? nullptr : &*at;
  }
  Index classes() const { return tensor(head + ".weight")->shape[0]; }
  /// All tensors but those of the head's last layer.
  std::vector<formats::NamedTensor<float>> beside_head() const {
    std::vector<formats::NamedTensor<float>> others;
    for (const formats::NamedTensor<float>& t : tensors)
      if (formats::detail::module_of(t.name) != head) others.push_back(t);
    return others;
  }
  /// The largest rank of the adapters; 0 without any.
  Index rank() const {
    Index largest = 0;
    for (const auto& [name, adapter] : adapters) largest = std::max(largest, adapter.rank());
    return largest;
  }
};

namespace detail {

/// Modules that the last layer of a head can be, as transformers names it: RoBERTa's, and all others.
inline constexpr std::array<std::string_view, 2> head_modules{"classifier.out_proj", "classifier"};

/// "; other/ in it does": PEFT saves an adapter with a name of its own in a folder of that name.
inline std::string adapters_below(const std::filesystem::path& path) {
  std::string found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error))
    if (std::filesystem::exists(entry.path() / "adapter_config.json", error))
      found += concat(found.empty() ? "; adapters are in " : ", ", in_quotes(entry.path().string()));
  return found;
}

/// All, or those of the head's last layer alone.
inline std::vector<formats::NamedTensor<float>> read_tensors(const std::filesystem::path& path, bool head_alone = false) {
  const io::SafetensorsFile file(path);
  std::vector<formats::NamedTensor<float>> tensors;
  for (const io::TensorInfo& t : file.tensors()) {
    if (head_alone && std::ranges::find(head_modules, formats::detail::module_of(t.name)) == head_modules.end()) continue;
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
  const std::filesystem::path own = folder.path / "config.json", config = std::filesystem::exists(own) ? own : model_folder(options) / "config.json";
  if (!std::filesystem::exists(config)) return labels;
  const nlohmann::json json = io::read_json(config);
  if (!json.contains("id2label") || std::ssize(json["id2label"]) != classes) return labels;
  for (const auto& [id, label] : json["id2label"].items()) {
    const int place = std::atoi(id.c_str());
    if (label.is_string() && place >= 0 && place < classes) {
      std::string clean = clean_label(label.get<std::string>()).first;  // as those of texts are
      if (!clean.empty()) labels[static_cast<std::size_t>(place)] = std::move(clean);
    }
  }
  return labels;
}

/// What a config.json says of the problem, if it says anything. Throws ErrorId::model for a word that transformers does not have.
inline std::optional<ProblemType> said_problem(const nlohmann::json& config, const std::filesystem::path& path) {
  const nlohmann::json said = config.value("problem_type", nlohmann::json());
  if (said.is_null()) return std::nullopt;
  const auto at = std::ranges::find(nn::problem_names, said.is_string() ? said.get<std::string>() : std::string());
  require(at != nn::problem_names.end(), ErrorId::model, in_quotes(path.string()), ": \"problem_type\" is ", said.dump(),
          ", expected single_label_classification, multi_label_classification or regression");
  return static_cast<ProblemType>(at - nn::problem_names.begin());
}

/// The folder's own, that of the model's config.json, --task where both are silent, else a regression for one output and one
/// label a text for more.
inline ProblemType problem_of(const TrainedFolder& folder, const nlohmann::json& ours, const CommonOptions& options) {
  std::optional<ProblemType> said;
  const std::filesystem::path config = model_folder(options) / "config.json";
  if (ours.is_object())
    said = said_problem(ours, folder.path / "classifier.json").value_or(ProblemType::single_label);
  else if (std::filesystem::exists(config))
    said = said_problem(io::read_json(config), config);
  folder.check(!said || !options.given.contains("--task") || *said == options.problem, "is of --task ", name_of(said.value_or(options.problem)),
               ", not ", name_of(options.problem));
  if (!said && options.given.contains("--task")) said = options.problem;
  const Index outputs = folder.classes();
  const ProblemType problem = said.value_or(outputs == 1 ? ProblemType::regression : ProblemType::single_label);
  folder.check(problem != ProblemType::single_label || outputs >= 2, "has a head of ", outputs,
               " outputs, but is a classifier with one label for each text");
  folder.check(problem != ProblemType::regression || outputs == 1, "is a regression of ", outputs,
               " numbers, which is not read; only one is");
  return problem;
}

}  // namespace detail

/// Reads what --load names: a folder that the programs wrote (--out, or adapter/ or folded/ in it, or --write-merged), a folder
/// of PEFT for the classification of sequences, or a whole classifier of transformers, which is its own base. Sets model, pool,
/// problem, form of the texts and type of the weights in `options` as the folder has them, but for a --model or --weights that was
/// given, and a --pool where the folder does not say its own. Over a given --model the head alone is taken of a whole classifier.
/// Throws what readers throw, and ErrorId::adapter_folder for a folder that is no classifier.
inline TrainedFolder read_trained_folder(CommonOptions& options) {
  TrainedFolder folder{.path = options.load};
  folder.check(!std::filesystem::is_regular_file(folder.path), "is a file: name the folder that it lies in");
  if (std::filesystem::exists(folder.path / "adapter" / "adapter_config.json")) folder.path /= "adapter";
  const bool has_adapter = std::filesystem::exists(folder.path / "adapter_config.json");
  const bool is_ours = std::filesystem::exists(folder.path / "classifier.json");
  const bool is_whole = !has_adapter && std::filesystem::exists(folder.path / "config.json");
  folder.check(has_adapter || is_ours || is_whole,
               "holds neither an adapter, nor classifier.json, nor a whole model with config.json", detail::adapters_below(folder.path));
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
  } else if (!is_whole) {
    folder.tensors = detail::read_tensors(folder.path / "model.safetensors");
  } else if (std::filesystem::exists(folder.path / merged_head_file)) {
    folder.tensors = detail::read_tensors(folder.path / merged_head_file);
  } else {
    for (const std::filesystem::path& file : models::detail::encoder_files(folder.path))
      for (auto& t : detail::read_tensors(file, true)) folder.tensors.push_back(std::move(t));
  }
  std::vector<std::filesystem::path> files{folder.path / (has_adapter ? "adapter_model.safetensors" : "model.safetensors")};
  if (is_whole) files = models::detail::encoder_files(folder.path);
  Sha256 sha;
  for (const std::filesystem::path& file : files) sha.update(io::MappedFile(file).bytes());
  folder.checksum = hex(sha.digest());

  for (const std::string_view module : detail::head_modules)
    if (folder.tensor(std::string(module) + ".weight") != nullptr) {
      folder.head = module;
      break;
    }
  const formats::NamedTensor<float>* const weight = folder.tensor(folder.head + ".weight");
  const formats::NamedTensor<float>* const bias = folder.tensor(folder.head + ".bias");
  folder.check(weight != nullptr && weight->shape.size() == 2, "has no ", folder.head, ".weight: it is no classifier");
  folder.check(bias == nullptr || std::ssize(bias->values) == folder.classes(), "has a ", folder.head,
               ".bias of another size than its weight");
  if (is_ours) folder.written_by = ours.at("method").get<std::string>();
  const bool changed_weights = folder.written_by == "full" || folder.written_by == "fedex-lora" || folder.written_by == "flora";
  if (!has_adapter && changed_weights) folder.method = Method::full;

  if (is_whole && options.model_given) {
    std::error_code not_comparable;
    if (!std::filesystem::equivalent(folder.path, model_folder(options), not_comparable))
      std::fprintf(stderr, "--load: \"%s\" holds a whole model; only its head is used, over the encoder of --model %s\n",
                   folder.path.c_str(), options.model.c_str());
  } else if (is_whole) {
    options.model = folder.path.string();
  } else if (!options.model_given) {
    if (is_ours)
      options.model = ours.at("model").get<std::string>();
    else if (adapter.base_model.ends_with("all-MiniLM-L6-v2"))
      options.model = "minilm";
    else if (adapter.base_model.find("model-embeddings-en") != std::string::npos)
      options.model = "use-lite";
    else if (!adapter.base_model.empty())
      options.model = adapter.base_model;
    else
      folder.check(!has_adapter, "names no base model: give --model");
    folder.check(is_use_lite(options) || std::filesystem::exists(model_folder(options)), "is of the base model ", in_quotes(options.model),
                 ", which is no folder here: give --model FOLDER");
  }
  if (is_ours) {
    const auto pool = std::ranges::find(pool_names, ours.at("pool").get<std::string>());
    folder.check(pool != pool_names.end(), "has the pooling ", ours.at("pool").dump(),
                 " in classifier.json, which is not known");
    const auto trained = static_cast<models::Pooling>(pool - pool_names.begin());
    folder.check(!options.given.contains("--pool") || options.pool == trained, "was trained with --pool ", *pool, ", not ",
                 pool_names[static_cast<std::size_t>(options.pool)]);
    options.pool = trained;
    if (!options.given.contains("--weights"))
      options.weights = ours.value("weights", "f32") == "bf16" ? WeightType::bf16 : WeightType::f32;
    const bool pairs = ours.value("pairs", false);
    folder.check(pairs || !options.pairs, "was trained on single texts: leave --pairs out");
    options.pairs = pairs;
    if (options.max_tokens == 0) options.max_tokens = ours.value("max_tokens", Index{0});
  } else if (!is_use_lite(options) && !options.given.contains("--pool")) {
    options.pool = models::Pooling::pooler;  // as transformers' classifier of sequences has it
  }
  options.problem = folder.problem = detail::problem_of(folder, ours, options);
  folder.labels = detail::labels_of(folder, ours, options);
  std::vector<std::string> sorted = folder.labels;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end()) folder.check(false, "names two classes ", in_quotes(*twice));
  return folder;
}

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

/// fit_adapters() for training that goes on. Throws ErrorId::adapter_folder, too, where more was trained in full beside the
/// adapters than the head: training cannot go on from it.
inline AdapterSet<float> adapters_to_go_on_from(const TrainedFolder& folder, BaseModel& base) {
  if (folder.method == Method::full) return fit_adapters(folder, base);
  for (const formats::NamedTensor<float>& t : folder.beside_head())
    folder.check(base.dense && formats::detail::module_of(t.name) == base.dense->module, "holds ", in_quotes(t.name),
                 ", trained in full beside the adapters: --predict, --test and --write-merged read it, training cannot go on from it");
  return fit_adapters(folder, base);
}
/// What every program that goes on from a folder does with its options. Throws ErrorId::value for data of another form.
inline void go_on_from_texts(const TrainedFolder& folder, CommonOptions& options) {
  require(!options.pairs || options.data.starts_with("tsv:"), ErrorId::value, "--load: \"", folder.path.string(),
          "\" was trained on pairs of texts: it needs --data tsv:TRAIN:TEST with two texts a line");
  options.load_checksum = folder.checksum;
}

/// Its head in the place of `head`'s numbers, with rows of zeros for the labels that `head` has beyond it, and its dense layer
/// where `head` has one. Throws ErrorId::adapter_folder for a head of another model.
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

}  // namespace lorasb::examples
