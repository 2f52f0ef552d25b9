// A classifier that was trained earlier, here or by PEFT or transformers, as its folder has it.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/method.hpp"
#include "lorasb/classify/classifier_file.hpp"
#include "lorasb/core/digest.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/io/mapped_file.hpp"
#include "lorasb/models/encoder/open.hpp"
#include "lorasb/models/head.hpp"

namespace lorasb::classify {

/// The head of a merged folder where transformers has no model with it.
inline constexpr const char* merged_head_file = "classifier.safetensors";

/// `adapters` is empty where the method is full or head.
struct TrainedFolder {
  std::string reader = "read_trained_folder";  // what begins the messages
  std::filesystem::path path = {};
  Method method = Method::head;                           // that goes on from it
  AdapterSet<float> adapters = {};                        // plain LoRA with R = I; under the folder's names
  std::vector<formats::NamedTensor<float>> tensors = {};  // the head, and what was trained in full beside it
  std::string head = std::string(models::head_module);    // the head's last layer in `tensors`
  std::optional<ClassifierFile> own = {};                 // classifier.json, of folders that this library's programs wrote
  std::string base = {};  // name or path of the base model; the folder itself where it is whole; empty: it names none
  bool is_whole = false;  // a whole model of transformers, which is its own base
  bool lacks_head = false;  // an adapter whose head is that of its base model: settle_outputs() takes it from there
  std::vector<std::string> labels = {};  // settle_outputs() finds these two
  ProblemType problem = ProblemType::single_label;
  std::string checksum = {};    // SHA-256 of the tensor files
  std::string written_by = {};  // the method of the program that wrote it; empty for folders of others

  /// Throws ErrorId::adapter_folder.
  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, reader, ": \"", path.string(), "\" ", parts...);
  }
  /// Null when it is not there.
  const formats::NamedTensor<float>* tensor(std::string_view name) const {
    const auto at = std::ranges::find_if(tensors, [&](const auto& t) { return t.name == name; });
    return at == tensors.end() ? nullptr : &*at;
  }
  /// Classes, labels or numbers: rows of the head.
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

/// "; adapters are in other/": PEFT saves an adapter with a name of its own in a folder of that name.
inline std::string adapters_below(const std::filesystem::path& path) {
  std::string found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error))
    if (io::is_there(entry.path() / "adapter_config.json"))
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

/// Throws ErrorId::adapter_folder for an adapter of another task than the classification of sequences.
inline void check_task(const TrainedFolder& folder, std::string_view task, std::string_view model_class) {
  folder.check(task.empty() || task == "SEQ_CLS" || task == "FEATURE_EXTRACTION", "is of the task_type ", in_quotes(task),
               ", expected SEQ_CLS: only classifiers and regressions of whole texts are read");
  folder.check(model_class.find("For") == model_class.npos || model_class.ends_with("ForSequenceClassification"), "is of a ",
               in_quotes(model_class), ", expected one ForSequenceClassification: only classifiers and regressions of whole texts are read");
}
/// The same for a whole model, by its config.json.
inline void check_architecture(const TrainedFolder& folder) {
  const nlohmann::json config = io::read_json(folder.path / "config.json");
  if (!config.is_object() || !config.contains("architectures") || !config["architectures"].is_array()) return;
  for (const nlohmann::json& name : config["architectures"])
    if (name.is_string()) check_task(folder, "", name.get<std::string>());
}

/// Adapters and what was trained in full beside them.
inline void read_adapter(TrainedFolder& folder) {
  formats::AdapterFolder<float> adapter = formats::read_adapter_folder<float>(folder.path, {.plain_lora = true});
  folder.check(!adapter.native || folder.own, "is an adapter of lorasb without its classifier.json, which says what its outputs "
               "mean: copy that file, too");
  check_task(folder, adapter.task_type, adapter.model_class);
  folder.tensors = std::move(adapter.full_tensors);
  folder.method = adapter.plain_lora                             ? Method::lora
                  : folder.own && folder.own->method == "lora-xs" ? Method::lora_xs
                                                                  : Method::lora_sb;
  folder.adapters = std::move(adapter.adapters);
  folder.base = std::move(adapter.base_model);
  folder.check(!adapter.fan_in_fan_out,
               "has fan_in_fan_out: it is of a model whose weights are stored transposed, which no encoder here is");
}

/// Whether one of the modules that can be the head's last layer is there; it is named in `head`.
inline bool names_head(TrainedFolder& folder) {
  for (const std::string_view module : head_modules)
    if (folder.tensor(std::string(module) + ".weight") != nullptr) {
      folder.head = module;
      return true;
    }
  return false;
}
/// The head's last layer must be there, with numbers, and a bias of its size or none.
inline void find_head(TrainedFolder& folder) {
  names_head(folder);
  const formats::NamedTensor<float>* const weight = folder.tensor(folder.head + ".weight");
  const formats::NamedTensor<float>* const bias = folder.tensor(folder.head + ".bias");
  folder.check(weight != nullptr, "has no ", folder.head, ".weight: it is no classifier");
  folder.check(weight->shape.size() == 2, "has a ", folder.head, ".weight of ", weight->shape.size(), " dimensions, expected 2");
  folder.check(!weight->values.empty(), "has a ", folder.head, ".weight of ", weight->shape[0], " x ", weight->shape[1],
               ", which holds no numbers");
  folder.check(bias == nullptr || std::ssize(bias->values) == folder.classes(), "has a ", folder.head,
               ".bias of another size than its weight");
}

}  // namespace detail

/// Reads a folder that lorasb-finetune or lorasb-federate wrote (also adapter/ or folded/ in it, or a merged one), a folder of
/// PEFT for the classification of sequences, or a whole classifier of transformers, which is its own base. The base model itself
/// is not opened, and labels, problem and a head that the adapter lacks are left to settle_outputs(), since they may be the base's. `reader` begins the
/// messages. Throws what readers throw, and ErrorId::adapter_folder for a folder that is no classifier.
inline TrainedFolder read_trained_folder(const std::filesystem::path& path, std::string reader = "read_trained_folder") {
  TrainedFolder folder{.reader = std::move(reader), .path = path};
  folder.check(!std::filesystem::is_regular_file(path), "is a file: name the folder that it lies in");
  if (io::is_there(path / "adapter" / "adapter_config.json")) folder.path /= "adapter";
  const bool has_adapter = io::is_there(folder.path / "adapter_config.json");
  folder.is_whole = !has_adapter && io::is_there(folder.path / "config.json");
  folder.own = read_classifier_file(folder.path, folder.reader);
  folder.check(has_adapter || !io::is_there(folder.path / "adapter_model.safetensors"),
               "holds adapter_model.safetensors without its adapter_config.json");
  for (const std::filesystem::path& mixture : {path, path / "mixture"})
    folder.check(has_adapter || folder.own || folder.is_whole || !io::is_there(mixture / "mixture.json"),
                 "holds a mixture of experts, as lorasb-mix writes it, and no single classifier");
  folder.check(has_adapter || folder.own || folder.is_whole,
               "holds neither an adapter, nor classifier.json, nor a whole model with config.json",
               detail::adapters_below(folder.path));
  std::vector<std::filesystem::path> files{folder.path / (has_adapter ? "adapter_model.safetensors" : "model.safetensors")};
  if (folder.is_whole) files = models::detail::encoder_files(folder.path);
  if (folder.is_whole && !folder.own) detail::check_architecture(folder);
  if (has_adapter) {
    detail::read_adapter(folder);
  } else if (!folder.is_whole) {
    folder.tensors = detail::read_tensors(files.front());
  } else if (io::is_there(folder.path / merged_head_file)) {
    folder.tensors = detail::read_tensors(folder.path / merged_head_file);
  } else {
    for (const std::filesystem::path& file : files)
      for (auto& t : detail::read_tensors(file, true)) folder.tensors.push_back(std::move(t));
  }
  Sha256 sha;
  for (const std::filesystem::path& file : files) sha.update(io::MappedFile(file).bytes());
  folder.checksum = hex(sha.digest());
  folder.lacks_head = has_adapter && !folder.own && !detail::names_head(folder);
  if (!folder.lacks_head) detail::find_head(folder);
  if (folder.own) folder.written_by = folder.own->method;
  const bool changed_weights =
      folder.written_by == "full" || folder.written_by == "fedex-lora" || folder.written_by == "flora";
  if (!has_adapter && changed_weights) folder.method = Method::full;
  if (folder.is_whole)
    folder.base = folder.path.string();
  else if (folder.own)
    folder.base = folder.own->model;
  return folder;
}

}  // namespace lorasb::classify
