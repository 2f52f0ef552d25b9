// A classifier or regression that was trained earlier: its predictions for new texts, and its scores on labelled ones.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/classify/base_tensors.hpp"
#include "lorasb/classify/encode_texts.hpp"
#include "lorasb/classify/folder_outputs.hpp"
#include "lorasb/classify/make_classifier.hpp"
#include "lorasb/classify/merged_folder.hpp"
#include "lorasb/classify/trained_model.hpp"
#include "lorasb/data/scores.hpp"
#include "lorasb/nn/binary_cross_entropy.hpp"

namespace lorasb::classify {

/// What is predicted of a text.
struct Prediction {
  std::vector<float> values;  // the probability of each label, or the number of a regression; none of a text without tokens
  std::vector<Index> given;   // the most probable class, or all labels above one half, as places in labels(); none of a number
};

/// How passes over many texts are divided: the number of parts decides the bits of the results, that of threads does not.
struct PassOptions {
  Index parts = 4;
  int threads = 1;
};

/// Opened by open_classifier(). Nothing more is trained of it; threads may share it.
class LoadedClassifier {
 public:
  /// `folder` with labels and problem, over its base model, which was opened with ModelUse::load. Throws
  /// ErrorId::adapter_folder for a folder that is of another model.
  LoadedClassifier(const TrainedFolder& folder, BaseModel base, ClassifierForm form)
      : base_(std::move(base)), labels_(folder.labels), form_(form) {
    form_.problem = folder.problem;
    ParameterLayout layout;
    models::append_head(folder.classes(), base_.features, layout);
    const Parameters<float> head = loaded_head(folder, base_, Parameters<float>(std::move(layout)));
    replace_base_tensors(base_, folder.beside_head(), concat(folder.reader, ": ", in_quotes(folder.path.string())));
    AdapterSet<float> adapters = fit_adapters(folder, base_);
    model_ = adapters.empty() ? train::tune_head<float>(base_.weights, base_.modules, head)
                              : tune_loaded(folder, base_, std::move(adapters), head);
  }

  const std::vector<std::string>& labels() const { return labels_; }
  const BaseModel& base() const { return base_; }
  const ClassifierForm& form() const { return form_; }
  ProblemType problem() const { return form_.problem; }
  bool pairs() const { return form_.pairs; }

  /// What the head gives, before softmax or sigmoid: outputs x texts.
  Matrix<float> outputs(const TokenizedTexts& texts, PassOptions pass = {}) const {
    Classifier classifier = make_classifier(base_, model_.weights, model_.layers, *model_.values, pass.parts);
    return models::outputs(classifier, texts, pass.parts, pass.threads);
  }
  /// Of each text, or of each pair with a tab between its texts, in their order. Adds to `counts`. Throws ErrorId::text for what
  /// is not UTF-8 and ErrorId::data for a pair without a tab.
  std::vector<Prediction> predict(std::span<const std::string> texts, PassOptions pass = {}, TextCounts* counts = nullptr) const {
    TokenizedTexts read;
    std::vector<Index> place;  // of a text among those that are read; -1: it has no tokens
    // texts with the same tokens share a place: rounding depends on where in a batch a text stands
    std::map<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>, Index> places;
    for (const std::string& text : texts) {
      text::Encoding found = base_.encode(text);
      if (counts != nullptr) {
        counts->cut += found.cut;
        counts->unknown += found.unknown && !found.ids.empty();  // a text without tokens has an answer of its own
      }
      if (found.ids.empty()) {
        place.push_back(-1);
        continue;
      }
      const auto [known, is_new] = places.try_emplace({found.ids, found.types}, read.size());
      place.push_back(known->second);
      if (!is_new) continue;
      read.ids.push_back(std::move(found.ids));
      read.types.push_back(std::move(found.types));
    }
    const Matrix<float> P = probabilities(outputs(read, pass));
    std::vector<Prediction> all;
    for (const Index i : place) all.push_back(i < 0 ? Prediction() : prediction(P, i));
    return all;
  }
  /// Of examples whose labels are in the order of labels(), as data::read_labelled_file(path, labels(), ...) reads them.
  data::Scores scores(const std::vector<data::Example>& examples, PassOptions pass = {}) const {
    TextCounts counts;
    const TokenizedTexts texts = encode_examples(examples, base_, counts, problem(), pass.threads);
    return data::scores_of(texts.targets(), outputs(texts, pass));
  }

  /// The whole model as a Hugging Face folder; `reader` begins the messages. Throws what write_merged_folder() throws.
  void write_merged(const std::filesystem::path& folder, std::string_view reader = "write_merged") const {
    write_merged_folder(folder, base_, base_.weights, trained_adapters(model_, base_.modules), *model_.values, labels_, form_, reader);
  }

 private:
  /// Of outputs: by softmax over classes, by the sigmoid of each label; the numbers of a regression as they are.
  Matrix<float> probabilities(Matrix<float> P) const {
    if (problem() == ProblemType::multi_label)
      P = P.unaryExpr([](float z) { return static_cast<float>(nn::sigmoid(z)); }).eval();
    if (problem() != ProblemType::single_label) return P;
    for (Index i = 0; i < P.cols(); ++i) {
      P.col(i) = (P.col(i).array() - P.col(i).maxCoeff()).exp();
      P.col(i) /= P.col(i).sum();
    }
    return P;
  }
  Prediction prediction(const Matrix<float>& P, Index text) const {
    Prediction found;
    found.values.assign(P.col(text).begin(), P.col(text).end());
    const auto best = std::ranges::max_element(found.values);
    if (problem() == ProblemType::single_label) found.given = {best - found.values.begin()};
    if (problem() == ProblemType::multi_label)
      for (Index c = 0; c < std::ssize(found.values); ++c)
        if (found.values[static_cast<std::size_t>(c)] > 0.5f) found.given.push_back(c);
    return found;
  }

  BaseModel base_;
  train::TunedModel<float> model_;
  std::vector<std::string> labels_;
  ClassifierForm form_;
};

/// What a folder of PEFT or transformers does not say; a folder of this library's programs says it all but for the base.
struct OpenClassifierOptions {
  std::filesystem::path base = {};                 // folder of the base model; empty: the one that the folder names
  models::Pooling pool = models::Pooling::pooler;  // as transformers' classifiers of sequences have it; use-lite has its own
  std::optional<ProblemType> problem = {};         // where neither folder nor base says one
  bool pairs = false;
  Index max_tokens = 0;  // of a text or pair; 0: as the folder says, else as many as the model reads
};

/// Opens what read_trained_folder() reads, with its base model.
///
///     const LoadedClassifier classifier = open_classifier("lorasb-out");
///     for (const Prediction& found : classifier.predict(texts))
///       use(classifier.labels()[found.given[0]], found.values[found.given[0]]);
///
/// Throws what the readers throw, and ErrorId::adapter_folder for a folder whose base model is not there or is another one.
inline LoadedClassifier open_classifier(const std::filesystem::path& path, const OpenClassifierOptions& options = {}) {
  TrainedFolder folder = read_trained_folder(path, "open_classifier");
  const std::filesystem::path base = options.base.empty() ? std::filesystem::path(folder.base) : options.base;
  folder.check(!base.empty(), "names no base model: give OpenClassifierOptions::base");
  const bool is_use_lite = detail::is_use_lite_package(base);
  folder.check(is_use_lite || io::is_there(base / "config.json"), "is of the base model ", in_quotes(base.string()),
               ", which is no folder of a model here: give OpenClassifierOptions::base");
  settle_outputs(folder, base, options.problem);
  ClassifierForm form{.pool = is_use_lite ? models::Pooling::mean : options.pool, .pairs = options.pairs};
  if (folder.own) form = folder.own->form;
  if (options.max_tokens > 0) form.max_tokens = options.max_tokens;
  folder.check(folder.method != Method::full || form.weights == Dtype::f32, "was trained in full, but says that its weights are bf16");
  BaseModel model = open_base_model(base, {.pooling = form.pool,
                                           .modules = form.weights,
                                           .pairs = form.pairs,
                                           .max_tokens = form.max_tokens,
                                           .use = ModelUse::load});
  return LoadedClassifier(folder, std::move(model), form);
}

}  // namespace lorasb::classify
