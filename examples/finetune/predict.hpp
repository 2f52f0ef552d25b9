// A classifier that was trained earlier, here or by PEFT: labels for new texts, and its accuracy on labelled ones.
#pragma once

#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "examples/common/json_file.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/common/tsv.hpp"
#include "examples/common/tuned_model.hpp"
#include "examples/finetune/base_tensors.hpp"
#include "examples/finetune/merged.hpp"
#include "examples/finetune/options.hpp"
#include "lorasb/formats/peft_reader.hpp"

namespace lorasb::examples {

/// What a written folder says of itself beside its tensors, in classifier.json.
inline void write_classifier_file(const std::filesystem::path& folder, std::string_view method, const std::vector<std::string>& labels,
                                  const CommonOptions& options) {
  const bool has_name = options.model == "use-lite" || options.model == "minilm";
  nlohmann::json json = {{"labels", labels},
                         {"method", method},
                         {"model", has_name ? options.model : std::filesystem::absolute(options.model).string()},
                         {"pool", pool_names[static_cast<std::size_t>(options.pool)]}};
  if (options.pairs) json["pairs"] = true;
  if (options.max_tokens > 0) json["max_tokens"] = options.max_tokens;
  write_json(folder / "classifier.json", json);
}

/// A trained classifier that nothing more is trained of.
class LoadedClassifier {
 public:
  /// `options.load` is a folder that lorasb-finetune wrote (--out, or adapter/ or folded/ in it, or --write-merged), a folder
  /// of PEFT for the classification of sequences, or a whole classifier of transformers. Its model is what --model names, else
  /// the one that the folder names, or is. Throws what readers throw, and ErrorId::adapter_folder for a folder that is no
  /// classifier of this model.
  explicit LoadedClassifier(FinetuneOptions options) : folder_(options.load) {
    if (std::filesystem::exists(folder_ / "adapter" / "adapter_config.json")) folder_ /= "adapter";
    const bool has_adapter = std::filesystem::exists(folder_ / "adapter_config.json");
    const bool is_ours = std::filesystem::exists(folder_ / "classifier.json");
    const bool is_whole = !has_adapter && std::filesystem::exists(folder_ / "config.json");
    check(has_adapter || is_ours || is_whole,
          "holds neither an adapter, nor classifier.json, nor a whole model with config.json");
    std::vector<formats::NamedTensor<float>> tensors;
    formats::AdapterFolder<float> adapter;
    if (has_adapter) {
      adapter = formats::read_adapter_folder<float>(folder_, {.plain_lora = true});
      tensors = std::move(adapter.full_tensors);
    } else if (!is_whole) {
      tensors = read_tensors(folder_ / "model.safetensors");
    }
    nlohmann::json ours;
    if (is_ours) ours = io::read_json(folder_ / "classifier.json");
    if (is_whole) {
      options.model = folder_.string();
    } else if (!options.model_given) {
      if (is_ours) options.model = ours.at("model").get<std::string>();
      else if (adapter.base_model.ends_with("all-MiniLM-L6-v2")) options.model = "minilm";
      else if (adapter.base_model.find("model-embeddings-en") != std::string::npos) options.model = "use-lite";
      else if (!adapter.base_model.empty()) options.model = adapter.base_model;
    }
    if (is_ours) {
      const auto pool = std::ranges::find(pool_names, ours.at("pool").get<std::string>());
      check(pool != pool_names.end(), "has the pooling ", ours.at("pool").dump(), " in classifier.json, which is not known");
      options.pool = static_cast<models::Pooling>(pool - pool_names.begin());
      const bool pairs = ours.value("pairs", false);
      check(pairs || !options.pairs, "was trained on single texts: leave --pairs out");
      options.pairs = pairs;
      if (options.max_tokens == 0) options.max_tokens = ours.value("max_tokens", Index{0});
    } else if (!is_use_lite(options)) {
      options.pool = models::Pooling::pooler;  // as transformers' classifier of sequences has it
    }
    base_ = read_base_model(options, Dtype::f32, ModelUse::load);
    pool_ = options.pool;
    pairs_ = options.pairs;
    max_tokens_ = options.max_tokens;
    if (is_whole) tensors = head_of_whole();
    const formats::NamedTensor<float>* const weight = tensor_named(tensors, base_.head + ".weight");
    const formats::NamedTensor<float>* const bias = tensor_named(tensors, base_.head + ".bias");
    check(weight != nullptr && weight->shape.size() == 2, "has no ", base_.head, ".weight: it is no classifier");
    const Index classes = weight->shape[0];
    check(bias == nullptr || std::ssize(bias->values) == classes, "has a ", base_.head,
          ".bias of another size than its weight");
    check(weight->shape[1] == base_.features, "has a classifier of ", weight->shape[1], " features, but the vectors of ", base_.name, " have ",
          base_.features);
    ParameterLayout layout;
    models::append_head(classes, base_.features, layout);
    Parameters<float> head(layout);
    std::ranges::copy(weight->values, head.flat("classifier.weight").begin());
    if (bias != nullptr) std::ranges::copy(bias->values, head.flat("classifier.bias").begin());
    std::erase_if(tensors, [&](const auto& t) { return formats::detail::module_of(t.name) == base_.head; });
    replace_base_tensors(base_, std::move(tensors), "--load: " + in_quotes(folder_.string()));
    bind(std::move(adapter.adapters), head);
    name_labels(ours, options, classes);
  }

  const std::vector<std::string>& labels() const { return labels_; }
  const BaseModel& base() const { return base_; }
  bool pairs() const { return pairs_; }
  /// The whole model as a Hugging Face folder.
  void write_merged(const std::filesystem::path& folder) const {
    examples::write_merged(folder, base_, base_.weights, adapters_, *model_.values, labels_,
                           {.pool = pool_, .pairs = pairs_, .max_tokens = max_tokens_});
  }

  /// Probabilities, classes x texts.
  Matrix<float> probabilities(const TokenizedTexts& texts, Index parts, int threads) {
    Classifier classifier = make_classifier(base_, model_.weights, model_.layers, *model_.values, parts);
    const models::Head<float> head(*model_.values, classifier.encoder().head_scale());
    Matrix<float> all(std::ssize(labels_), texts.size());
    models::for_pieces(texts.size(), parts, threads, [&](Index part, Index first, std::span<const Index> piece) {
      MatrixView<float> P = MatrixView<float>(&all(0, first), all.rows(), std::ssize(piece));
      head.forward(classifier.encode(texts, piece, part), P);
      for (Index i = 0; i < P.cols(); ++i) {
        P.col(i) = (P.col(i).array() - P.col(i).maxCoeff()).exp();
        P.col(i) /= P.col(i).sum();
      }
    });
    return all;
  }

 private:
  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, "--load: \"", folder_.string(), "\" ", parts...);
  }
  /// Those of one module, or all.
  static std::vector<formats::NamedTensor<float>> read_tensors(const std::filesystem::path& path,
                                                               std::string_view module = {}) {
    const io::SafetensorsFile file(path);
    std::vector<formats::NamedTensor<float>> tensors;
    for (const io::TensorInfo& t : file.tensors()) {
      if (!module.empty() && formats::detail::module_of(t.name) != module) continue;
      tensors.push_back({.name = t.name, .shape = t.shape, .values = std::vector<float>(static_cast<std::size_t>(t.elements()))});
      file.read<float>(t.name, tensors.back().values);
    }
    return tensors;
  }
  /// The last layer of the head: beside the tensors of a whole model, or in a file of its own where transformers has no such
  /// head.
  std::vector<formats::NamedTensor<float>> head_of_whole() const {
    if (std::filesystem::exists(folder_ / merged_head_file)) return read_tensors(folder_ / merged_head_file);
    std::vector<formats::NamedTensor<float>> head;
    for (const std::filesystem::path& file : models::detail::encoder_files(folder_))
      for (auto& t : read_tensors(file, base_.head)) head.push_back(std::move(t));
    return head;
  }
  static const formats::NamedTensor<float>* tensor_named(const std::vector<formats::NamedTensor<float>>& tensors, std::string_view name) {
    const auto at = std::ranges::find_if(tensors, [&](const auto& t) { return t.name == name; });
    return at == tensors.end() ? nullptr : &*at;
  }

  /// The model with its adapters on.
  void bind(AdapterSet<float> adapters, const Parameters<float>& head) {
    model_ = train::tune_head<float>(base_.weights, base_.modules, head);
    for (auto& entry : adapters) {  // no binding: clang 14 does not capture one
      const std::string& name = entry.first;
      LowRankAdapter<float>& adapter = entry.second;
      const auto at = std::ranges::find_if(base_.modules, [&](const Module<float>& m) { return formats::names_module(name, m.name); });
      check(at != base_.modules.end(), "adapts ", in_quotes(name), ", which ", base_.name, " does not have");
      check(adapter.out_features() == at->W0.rows() && adapter.in_features() == at->W0.cols(), "adapts ", in_quotes(name), " as ",
            adapter.out_features(), " x ", adapter.in_features(), ", but in ", base_.name, " it is ", at->W0.rows(), " x ", at->W0.cols());
      adapters_.add(at->name, std::move(adapter));
    }
    for (std::size_t m = 0; m < base_.modules.size(); ++m)
      if (adapters_.contains(base_.modules[m].name))
        model_.layers[m] = std::move(train::started_layers<float>({base_.modules[m]}, adapters_).front());
  }
  void name_labels(const nlohmann::json& ours, const FinetuneOptions& options, Index classes) {
    if (ours.is_object()) {
      labels_ = ours.at("labels").get<std::vector<std::string>>();
      check(std::ssize(labels_) == classes, "names ", labels_.size(), " labels for ", classes, " classes");
      return;
    }
    for (Index c = 0; c < classes; ++c) labels_.push_back("LABEL_" + std::to_string(c));  // as transformers names them
    const std::filesystem::path config = model_folder(options) / "config.json";
    if (!std::filesystem::exists(config)) return;
    const nlohmann::json json = io::read_json(config);
    if (!json.contains("id2label") || std::ssize(json["id2label"]) != classes) return;
    for (const auto& [id, label] : json["id2label"].items()) {
      const int place = std::atoi(id.c_str());
      if (label.is_string() && place >= 0 && place < classes) labels_[static_cast<std::size_t>(place)] = label.get<std::string>();
    }
  }

  std::filesystem::path folder_;
  BaseModel base_;
  AdapterSet<float> adapters_;  // what the layers view
  train::TunedModel<float> model_;
  std::vector<std::string> labels_;
  models::Pooling pool_ = models::Pooling::mean;
  bool pairs_ = false;
  Index max_tokens_ = 0;
};

namespace detail {

/// A text, or a pair of texts, per line. Throws ErrorId::data and ErrorId::text, with the line.
inline std::vector<std::string> read_lines(const std::filesystem::path& path, bool pairs) {
  std::ifstream file(path, std::ios::binary);
  require(file.good() && !std::filesystem::is_directory(path), ErrorId::data, "--predict: cannot open \"", path.string(), "\"");
  std::vector<std::string> lines;
  std::string line;
  while (std::getline(file, line)) {
    if (lines.empty() && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    require(!text::invalid_utf8(line), ErrorId::text, "--predict: \"", path.string(), "\", line ", lines.size() + 1, " is not UTF-8");
    require(!pairs || is_pair(line), ErrorId::data, "--predict: \"", path.string(), "\", line ", lines.size() + 1,
            " has no two texts, expected text<TAB>text");
    lines.push_back(line);
  }
  return lines;
}

}  // namespace detail

/// --predict: for every line of the file its label and that label's probability, in order, on standard output. A line in which the
/// vocabulary finds no token has an empty label with the probability 0.
inline void predict(LoadedClassifier& classifier, const FinetuneOptions& options) {
  TokenizedTexts texts;
  std::vector<Index> place;  // of a line among the texts; -1: it has no tokens
  // lines with the same tokens share a place: rounding depends on where in a batch a text stands
  std::map<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>, Index> places;
  Index cut = 0;
  for (const std::string& line : detail::read_lines(options.predict, classifier.pairs())) {
    text::Encoding found = classifier.base().encode(line);
    cut += found.cut;
    if (found.ids.empty()) {
      place.push_back(-1);
      continue;
    }
    const auto [known, is_new] = places.try_emplace({found.ids, found.types}, texts.size());
    place.push_back(known->second);
    if (!is_new) continue;
    texts.ids.push_back(std::move(found.ids));
    texts.types.push_back(std::move(found.types));
    texts.labels.push_back(0);
  }
  if (cut > 0) std::fprintf(stderr, "%td texts cut to the %td tokens that the encoder reads\n", cut, classifier.base().max_tokens);
  const Matrix<float> P = classifier.probabilities(texts, options.parts, options.threads);
  for (const Index i : place) {
    Index best = -1;
    if (i >= 0) P.col(i).maxCoeff(&best);
    const std::string label = best < 0 ? "" : classifier.labels()[static_cast<std::size_t>(best)];
    const double probability = best < 0 ? 0 : double(P(best, i));
    if (options.json) {
      nlohmann::json line = {{"label", label}, {"probability", probability}, {"probabilities", nlohmann::json::object()}};
      for (Index c = 0; i >= 0 && c < P.rows(); ++c) line["probabilities"][classifier.labels()[static_cast<std::size_t>(c)]] = P(c, i);
      std::printf("%s\n", line.dump().c_str());
    } else {
      std::printf("%s\t%.6f\n", label.c_str(), probability);
    }
  }
}

/// --test: accuracy on a file with lines label<TAB>text, on standard output.
inline void test(LoadedClassifier& classifier, const FinetuneOptions& options) {
  std::vector<Example> examples;
  for (Row& row : read_tsv_file(options.test, options.header, nullptr, classifier.pairs())) {
    const auto label = std::ranges::find(classifier.labels(), row.label);
    require(label != classifier.labels().end(), ErrorId::data, "--test: \"", options.test.string(), "\", line ", examples.size() + 1 + options.header,
            " has the label \"", row.label, "\", which the classifier does not know");
    examples.push_back({std::move(row.text), static_cast<std::int32_t>(label - classifier.labels().begin()), {}});
  }
  Index cut = 0, right = 0;
  const TokenizedTexts texts = tokenize(examples, classifier.base(), options.threads, cut);
  if (cut > 0)
    std::fprintf(stderr, "%td texts cut to the %td tokens that the encoder reads\n", cut, classifier.base().max_tokens);
  const Matrix<float> P = classifier.probabilities(texts, options.parts, options.threads);
  for (Index i = 0; i < P.cols(); ++i) {
    Index best = 0;
    P.col(i).maxCoeff(&best);
    right += best == texts.labels[static_cast<std::size_t>(i)];
  }
  const double accuracy = double(right) / double(P.cols());
  if (options.json)
    std::printf("%s\n", nlohmann::json{{"test_accuracy", accuracy}, {"test_examples", P.cols()}}.dump().c_str());
  else
    std::printf("accuracy %.2f %% of %td texts\n", 100 * accuracy, P.cols());
}

}  // namespace lorasb::examples
