// The numbers that tell how well a model does, by what its outputs mean.
#pragma once

#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "examples/common/metrics.hpp"
#include "lorasb/models/tokenized_texts.hpp"
#include "lorasb/nn/problem.hpp"

namespace lorasb::examples {

using nn::ProblemType;

/// What --task says, in the order of nn::ProblemType.
inline constexpr std::array<std::string_view, 3> task_names{"classification", "multilabel", "regression"};
inline std::string_view name_of(ProblemType problem) { return task_names[static_cast<std::size_t>(problem)]; }

struct Score {
  const char* key;      // in metrics.json
  const char* heading;  // of tables
  double value = 0;
  bool in_percent = false;

  /// "93.75 %" or "0.9375".
  std::string text() const {
    if (std::isnan(value)) return "nan";  // without a sign
    const bool has_unit = std::string_view(key) == "mean_squared_error";  // that of the numbers, squared
    char out[32];
    std::snprintf(out, sizeof out, in_percent ? "%.2f %%" : has_unit ? "%.5g" : "%.4f", in_percent ? 100 * value : value);
    return out;
  }
};

/// The first is the one that epochs are compared by.
using Scores = std::array<Score, 3>;

/// The name in metrics.json of the first score on validation texts.
inline std::string validation_key(ProblemType problem) {
  return problem == ProblemType::single_label ? "validation_accuracy"
         : problem == ProblemType::multi_label ? "validation_micro_f1"
                                               : "validation_pearson";
}

inline Scores scores_of(const ConfusionMatrix& m) {
  return {Score{"test_accuracy", "test acc.", accuracy(m), true}, Score{"macro_f1", "macro F1", macro_f1(m)},
          Score{"matthews", "Matthews", matthews(m)}};
}

/// Of a regression's numbers, 1 x texts.
inline Scores regression_scores(ConstMatrixView<float> found, ConstMatrixView<float> truth) {
  const std::vector<double> x(found.data(), found.data() + found.cols()), y(truth.data(), truth.data() + truth.cols());
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) squares += (x[i] - y[i]) * (x[i] - y[i]);
  return {Score{"pearson", "Pearson", pearson(x, y)}, Score{"spearman", "Spearman", spearman(x, y)},
          Score{"mean_squared_error", "MSE", x.empty() ? 0 : squares / double(x.size())}};
}

/// Of label sets, labels x texts; a label is given where its logit is above 0. As scikit-learn's f1_score with average "micro"
/// and "macro", and accuracy_score, which asks for exactly the same labels.
inline Scores label_set_scores(ConstMatrixView<float> logits, ConstMatrixView<float> truth) {
  Index exact = nn::count_exact_label_sets<float>(logits, truth), all_hits = 0, all = 0;
  double macro = 0;
  for (Index c = 0; c < logits.rows(); ++c) {
    Index hits = 0, given = 0, there = 0;
    for (Index i = 0; i < logits.cols(); ++i) {
      const bool is_given = logits(c, i) > 0, is_there = truth(c, i) > 0.5f;
      given += is_given;
      there += is_there;
      hits += is_given && is_there;
    }
    macro += given + there == 0 ? 0 : 2 * double(hits) / double(given + there);
    all_hits += hits;
    all += given + there;
  }
  return {Score{"micro_f1", "micro F1", all == 0 ? 0 : 2 * double(all_hits) / double(all)},
          Score{"macro_f1", "macro F1", logits.rows() == 0 ? 0 : macro / double(logits.rows())},
          Score{"test_accuracy", "exact", logits.cols() == 0 ? 0 : double(exact) / double(logits.cols()), true}};
}

/// How often each class was taken for each other one: of texts with one label each.
inline ConfusionMatrix confusion_of(const models::TokenizedTexts& texts, ConstMatrixView<float> outputs) {
  std::vector<std::int32_t> best(static_cast<std::size_t>(outputs.cols()));
  nn::best_classes<float>(outputs, best);
  return ConfusionMatrix(outputs.rows(), texts.labels, best);
}
/// Of what the head gives for the texts, outputs x texts.
inline Scores scores_of(const models::TokenizedTexts& texts, ConstMatrixView<float> outputs) {
  if (texts.problem == ProblemType::regression) return regression_scores(outputs, texts.values);
  if (texts.problem == ProblemType::multi_label) return label_set_scores(outputs, texts.values);
  return scores_of(confusion_of(texts, outputs));
}

}  // namespace lorasb::examples
