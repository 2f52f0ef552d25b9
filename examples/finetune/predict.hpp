// What --predict, --test and --write-merged do with the classifier of --load.
#pragma once

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/finetune/options.hpp"
#include "lorasb/classify/loaded_classifier.hpp"

namespace lorasb::examples {

/// `folder` is what read_trained_folder(options) found, over the base model of the options.
inline LoadedClassifier load_classifier(const TrainedFolder& folder, const FinetuneOptions& options) {
  folder.check(folder.method != Method::full || options.weights == WeightType::f32,
               "was trained in full: its weights stay f32 (--weights)");
  return LoadedClassifier(folder, read_base_model(options, dtype_of(options.weights), ModelUse::load), form_of(options));
}

namespace detail {

/// What --predict says of a text.
inline std::string prediction_line(const LoadedClassifier& classifier, const Prediction& found, bool json) {
  const std::vector<std::string>& labels = classifier.labels();
  const std::vector<float>& p = found.values;
  char number[32];
  const auto format = [&](const char* how, double x) { return std::snprintf(number, sizeof number, how, x), std::string(number); };
  if (classifier.problem() == ProblemType::regression) {
    if (json) return nlohmann::json{{"value", p.empty() ? nlohmann::json() : nlohmann::json(p[0])}}.dump();
    return p.empty() ? "" : format("%.7g", double(p[0]));
  }
  std::vector<std::string> given;
  std::string names, probabilities;
  for (const Index c : found.given) {
    const char* const comma = given.empty() ? "" : ",";
    given.push_back(labels[static_cast<std::size_t>(c)]);
    names += comma + without_controls(given.back());  // a tab in it would end it
    probabilities += comma + format("%.6f", double(p[static_cast<std::size_t>(c)]));
  }
  const bool many = classifier.problem() == ProblemType::multi_label;
  if (!json) return names + "\t" + (given.empty() && !many ? "0.000000" : probabilities);
  nlohmann::json all = nlohmann::json::object();
  for (std::size_t c = 0; c < p.size(); ++c) all[labels[c]] = p[c];
  if (many) return nlohmann::json{{"labels", given}, {"probabilities", all}}.dump();
  const double probability = given.empty() ? 0 : double(p[static_cast<std::size_t>(found.given[0])]);
  return nlohmann::json{{"label", given.empty() ? "" : given[0]}, {"probability", probability}, {"probabilities", all}}.dump();
}

}  // namespace detail

/// --predict: for every line of the file, in order, on standard output its label and that label's probability; with several labels
/// those above one half and their probabilities, with commas between them; of a regression the number. A line in which the
/// vocabulary finds no token has an empty label with the probability 0, no labels, or no number.
inline void predict(const LoadedClassifier& classifier, const FinetuneOptions& options) {
  const std::vector<std::string> lines = read_text_lines(options.predict, classifier.pairs(), "--predict");
  const auto is_labelled = [&](std::string_view line) {
    const std::size_t tab = line.find('\t');
    return tab != line.npos && std::ranges::count(classifier.labels(), data::clean_label(line.substr(0, tab)).first) > 0;
  };
  if (!lines.empty() && std::ranges::all_of(lines, is_labelled))
    std::fprintf(stderr, "--predict: every line of \"%s\" begins with a label and a tab, which are read as words of the text; --test "
                         "reads label<TAB>text\n", options.predict.c_str());
  TextCounts counts;
  const std::vector<Prediction> found = classifier.predict(lines, {options.parts, options.threads}, &counts);
  std::vector<std::string> notes;
  counts.add_notes(classifier.base(), notes);
  for (const std::string& note : notes) std::fprintf(stderr, "%s\n", note.c_str());
  for (const Prediction& line : found) std::printf("%s\n", detail::prediction_line(classifier, line, options.json).c_str());
}

/// --test: the scores on a file with lines label<TAB>text, on standard output.
inline void test(const LoadedClassifier& classifier, const FinetuneOptions& options) {
  const std::vector<Example> examples =
      read_labelled_file(options.test, classifier.labels(), tsv_options(options.header, classifier.pairs(), classifier.problem()), "--test");
  TextCounts counts;
  const TokenizedTexts texts = tokenize(examples, classifier.base(), options.threads, counts, classifier.problem());
  const Scores found = scores_of(texts.targets(), classifier.outputs(texts, {options.parts, options.threads}));
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
