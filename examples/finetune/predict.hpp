// A classifier or regression that was trained earlier, here or by PEFT: its predictions for new texts, and its scores on labelled ones.
#pragma once

#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/common/tuned_model.hpp"
#include "examples/finetune/base_tensors.hpp"
#include "examples/finetune/merged.hpp"
#include "examples/finetune/options.hpp"

namespace lorasb::examples {

/// A trained classifier that nothing more is trained of.
class LoadedClassifier {
 public:
  /// `folder` is what read_trained_folder(options) found. Throws what the readers of models throw, and ErrorId::adapter_folder
  /// for a folder that is of another model.
  LoadedClassifier(const TrainedFolder& folder, const FinetuneOptions& options)
      : base_(read_base_model(options, dtype_of(options.weights), ModelUse::load)),
        labels_(folder.labels),
        form_(form_of(options)) {
    folder.check(folder.method != Method::full || options.weights == WeightType::f32,
                 "was trained in full: its weights stay f32 (--weights)");
    ParameterLayout layout;
    models::append_head(folder.classes(), base_.features, layout);
    const Parameters<float> head = loaded_head(folder, base_, Parameters<float>(std::move(layout)));
    replace_base_tensors(base_, folder.beside_head(), concat("--load: ", in_quotes(folder.path.string())));
    AdapterSet<float> adapters = fit_adapters(folder, base_);
    model_ = adapters.empty() ? train::tune_head<float>(base_.weights, base_.modules, head)
                              : tune_loaded(folder, base_, std::move(adapters), head);
  }

  const std::vector<std::string>& labels() const { return labels_; }
  const BaseModel& base() const { return base_; }
  bool pairs() const { return form_.texts.pairs; }
  /// The whole model as a Hugging Face folder.
  void write_merged(const std::filesystem::path& folder) const {
    examples::write_merged(folder, base_, base_.weights, trained_adapters(model_, base_.modules), *model_.values, labels_, form_);
  }

  ProblemType problem() const { return form_.problem; }
  /// What the head gives, before softmax or sigmoid: outputs x texts.
  Matrix<float> outputs(const TokenizedTexts& texts, Index parts, int threads) const {
    Classifier classifier = make_classifier(base_, model_.weights, model_.layers, *model_.values, parts);
    return models::outputs(classifier, texts, parts, threads);
  }
  /// Probabilities, classes or labels x texts; the numbers of a regression as they are.
  Matrix<float> predictions(const TokenizedTexts& texts, Index parts, int threads) const {
    Matrix<float> P = outputs(texts, parts, threads);
    if (problem() == ProblemType::multi_label) P = P.unaryExpr([](float z) { return static_cast<float>(nn::sigmoid(z)); }).eval();
    if (problem() != ProblemType::single_label) return P;
    for (Index i = 0; i < P.cols(); ++i) {
      P.col(i) = (P.col(i).array() - P.col(i).maxCoeff()).exp();
      P.col(i) /= P.col(i).sum();
    }
    return P;
  }

 private:
  BaseModel base_;
  train::TunedModel<float> model_;
  std::vector<std::string> labels_;
  ClassifierForm form_;
};

namespace detail {

/// What --predict says of a text; `p` are its predictions, none of a text without tokens.
inline std::string prediction_line(const LoadedClassifier& classifier, std::span<const float> p, bool json) {
  const std::vector<std::string>& labels = classifier.labels();
  char number[32];
  const auto format = [&](const char* how, double x) { return std::snprintf(number, sizeof number, how, x), std::string(number); };
  if (classifier.problem() == ProblemType::regression) {
    if (json) return nlohmann::json{{"value", p.empty() ? nlohmann::json() : nlohmann::json(p[0])}}.dump();
    return p.empty() ? "" : format("%.7g", double(p[0]));
  }
  const auto all = [&] {
    nlohmann::json by_label = nlohmann::json::object();
    for (std::size_t c = 0; c < p.size(); ++c) by_label[labels[c]] = p[c];
    return by_label;
  };
  if (classifier.problem() == ProblemType::multi_label) {
    std::vector<std::string> given;
    std::string names, probabilities;
    for (std::size_t c = 0; c < p.size(); ++c) {
      if (!(p[c] > 0.5f)) continue;
      const char* const comma = given.empty() ? "" : ",";
      names += comma + without_controls(labels[c]);
      probabilities += comma + format("%.6f", double(p[c]));
      given.push_back(labels[c]);
    }
    if (json) return nlohmann::json{{"labels", given}, {"probabilities", all()}}.dump();
    return names + "\t" + probabilities;
  }
  const auto best = std::ranges::max_element(p);
  const std::string label = p.empty() ? "" : labels[static_cast<std::size_t>(best - p.begin())];
  const double probability = p.empty() ? 0 : double(*best);
  if (json) return nlohmann::json{{"label", label}, {"probability", probability}, {"probabilities", all()}}.dump();
  return without_controls(label) + "\t" + format("%.6f", probability);  // a tab in it would end it
}

}  // namespace detail

/// --predict: for every line of the file, in order, on standard output its label and that label's probability; with several labels
/// those above one half and their probabilities, with commas between them; of a regression the number. A line in which the
/// vocabulary finds no token has an empty label with the probability 0, no labels, or no number.
inline void predict(const LoadedClassifier& classifier, const FinetuneOptions& options) {
  TokenizedTexts texts;
  std::vector<Index> place;  // of a line among the texts; -1: it has no tokens
  // lines with the same tokens share a place: rounding depends on where in a batch a text stands
  std::map<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>, Index> places;
  TextCounts counts;
  for (const std::string& line : read_text_lines(options.predict, classifier.pairs(), "--predict")) {
    text::Encoding found = classifier.base().encode(line);
    counts.cut += found.cut;
    counts.unknown += found.unknown && !found.ids.empty();  // a line without tokens has an answer of its own
    if (found.ids.empty()) {
      place.push_back(-1);
      continue;
    }
    const auto [known, is_new] = places.try_emplace({found.ids, found.types}, texts.size());
    place.push_back(known->second);
    if (!is_new) continue;
    texts.ids.push_back(std::move(found.ids));
    texts.types.push_back(std::move(found.types));
  }
  std::vector<std::string> notes;
  counts.add_notes(classifier.base(), notes);
  for (const std::string& note : notes) std::fprintf(stderr, "%s\n", note.c_str());
  const Matrix<float> P = classifier.predictions(texts, options.parts, options.threads);
  for (const Index i : place) {
    const std::span<const float> p = i < 0 ? std::span<const float>() : std::span(&P(0, i), static_cast<std::size_t>(P.rows()));
    std::printf("%s\n", detail::prediction_line(classifier, p, options.json).c_str());
  }
}

/// --test: the scores on a file with lines label<TAB>text, on standard output.
inline void test(const LoadedClassifier& classifier, const FinetuneOptions& options) {
  const std::vector<Example> examples =
      read_labelled_file(options.test, classifier.labels(), tsv_options(options.header, classifier.pairs(), classifier.problem()), "--test");
  TextCounts counts;
  const TokenizedTexts texts = tokenize(examples, classifier.base(), options.threads, counts, classifier.problem());
  const Scores found = scores_of(texts.targets(), classifier.outputs(texts, options.parts, options.threads));
  if (options.json) {
    nlohmann::json line = {{"test_examples", texts.size()}};
    for (const Score& score : found) line[score.key] = score.value;
    std::printf("%s\n", line.dump().c_str());
  } else if (classifier.problem() == ProblemType::single_label) {
    std::printf("accuracy %s of %td texts, macro F1 %s\n", score_text(found[0]).c_str(), texts.size(), score_text(found[1]).c_str());
  } else {
    for (const Score& score : found) std::printf("%s %s, ", score.heading, score_text(score).c_str());
    std::printf("%td texts\n", texts.size());
  }
}

}  // namespace lorasb::examples
