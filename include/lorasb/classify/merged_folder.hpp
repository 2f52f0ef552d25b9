// A whole model as a Hugging Face folder, with its adapters merged into its weights, for programs that know no adapters.
#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/classify/base_model.hpp"
#include "lorasb/classify/trained_folder.hpp"
#include "lorasb/io/make_folder.hpp"
#include "lorasb/io/safetensors_writer.hpp"

namespace lorasb::classify {

namespace detail {

/// transformers' class for a model_type: the classifier of sequences, or the encoder alone.
inline std::string architecture(const std::string& model_type, bool classifier) {
  const std::string name = model_type == "bert"                   ? "Bert"
                           : model_type == "roberta"              ? "Roberta"
                           : model_type == "xlm-roberta"          ? "XLMRoberta"
                           : model_type == "roberta-prelayernorm" ? "RobertaPreLayerNorm"
                                                                  : "DistilBert";
  return name + (classifier ? "ForSequenceClassification" : "Model");
}

/// config.json of the base with what a reader needs to know of the classifier. The weights are written as float32.
inline nlohmann::json merged_config(const std::filesystem::path& base, const std::vector<std::string>& labels,
                                    bool classifier, ProblemType problem) {
  nlohmann::json config = io::read_json(base / "config.json");
  config["architectures"] = {architecture(config.at("model_type").get<std::string>(), classifier)};
  config.erase("torch_dtype");
  config["dtype"] = "float32";
  nlohmann::json to_label = nlohmann::json::object(), to_id = nlohmann::json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    to_label[std::to_string(i)] = labels[i];
    to_id[labels[i]] = i;
  }
  config["id2label"] = std::move(to_label);
  config["label2id"] = std::move(to_id);
  config["num_labels"] = labels.size();
  config["problem_type"] = nn::problem_names[static_cast<std::size_t>(problem)];
  return config;
}

}  // namespace detail

/// Writes config.json, model.safetensors and copies of the tokenizer's files into `folder`, which is made. With
/// Pooling::pooler transformers loads it as AutoModelForSequenceClassification. Else no class of transformers has the head:
/// AutoModel loads the encoder, and classifier.safetensors holds the head. classifier.json says, for programs of this library,
/// what config.json has no words for. `weights` are the base's, or were trained in full; `adapters` are trained_adapters();
/// `values` has the head. Throws ErrorId::model for a base that is no Hugging Face folder, and what merge and the writers throw.
inline void write_merged_folder(const std::filesystem::path& folder, const BaseModel& base, const FrozenModel<float>& weights,
                                const AdapterSet<float>& adapters, const Parameters<float>& values,
                                const std::vector<std::string>& labels, const ClassifierForm& form,
                                std::string_view reader = "write_merged_folder") {
  require(!base.folder.empty(), ErrorId::model, reader, ": ", base.name, " is no Hugging Face folder, which could be completed");
  const bool classifier = form.pool == models::Pooling::pooler;
  const nlohmann::json config = detail::merged_config(base.folder, labels, classifier, form.problem);
  const std::string prefix = base.prefix + ".";
  // the encoder alone has names without the family's prefix
  const auto name_of = [&](const std::string& name) {
    return !classifier && name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  };
  std::deque<Weight<float>> owned;  // what is not written as it lies
  std::vector<io::TensorBytes> tensors, head;
  const auto add = [&](const ParameterLayout::Tensor& t, std::string name, const FrozenWeight<float>& weight,
                       std::vector<io::TensorBytes>& to) {
    io::TensorBytes bytes = io::tensor_bytes<float>(std::move(name), weight);
    if (is_vector(t.role)) bytes.shape = {t.cols};
    to.push_back(std::move(bytes));
  };
  for (const ParameterLayout::Tensor& t : base.layout.tensors()) {
    const FrozenWeight<float>& W0 = weights.at(t.name);
    const LowRankAdapter<float>* const adapter = t.role == Role::weight ? adapters.find(t.module) : nullptr;
    if (adapter != nullptr)
      merge<float>(*adapter, W0, owned.emplace_back(W0.rows(), W0.cols()));
    else if (!W0.is_wide())
      owned.push_back(W0.widened());
    const bool is_copy = adapter != nullptr || !W0.is_wide();
    add(t, name_of(t.name), is_copy ? FrozenWeight<float>(owned.back()) : W0, tensors);
  }
  std::deque<io::SafetensorsFile> files;
  if (!classifier)  // BERT's pooler, which the encoder has and this classifier does not use, stays as it is
    for (const std::filesystem::path& path : models::detail::encoder_files(base.folder))
      for (const io::TensorInfo& t : files.emplace_back(path).tensors())
        if (t.name.starts_with("pooler.") || t.name.starts_with(prefix + "pooler."))
          tensors.push_back({name_of(t.name), t.dtype, t.shape, files.back().bytes(t.name)});
  for (const ParameterLayout::Tensor& t : values.layout().tensors())
    if (is_head(t.role)) add(t, base.head_name(t), values[t.name], classifier ? tensors : head);

  io::make_folder(folder, reader);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                           "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model"})
    if (io::is_there(base.folder / name)) std::filesystem::copy_file(base.folder / name, folder / name);
  io::write_safetensors(folder / "model.safetensors", std::move(tensors), {{"format", "pt"}});
  if (!classifier) io::write_safetensors(folder / merged_head_file, std::move(head), {{"format", "pt"}});
  ClassifierForm written = form;
  written.weights = Dtype::f32;
  write_classifier_file(folder, {.method = "merged", .labels = labels, .model = ".", .form = written});
  io::write_json(folder / "config.json", config);  // last: it says that there is a model
}

}  // namespace lorasb::classify
