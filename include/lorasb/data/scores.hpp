// The numbers that tell how well a model does, by what its outputs mean.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "lorasb/data/metrics.hpp"
#include "lorasb/nn/problem.hpp"

namespace lorasb::data {

using nn::ProblemType;

struct Score {
  const char* key;      // in files
  const char* heading;  // of tables
  double value = 0;
  bool in_percent = false;  // as people write it
};

/// By problem: accuracy, macro F1 and Matthews of classes; micro F1, macro F1 and the share of exact sets of labels; Pearson,
/// Spearman and the mean squared error of numbers. The first is the one that epochs are compared by.
using Scores = std::array<Score, 3>;

inline Scores scores_of(const ConfusionMatrix& m) {
  return {Score{"test_accuracy", "test acc.", accuracy(m), true}, Score{"macro_f1", "macro F1", macro_f1(m)},
          Score{"matthews", "Matthews", matthews(m)}};
}

/// Of a regression's numbers, 1 x examples.
inline Scores regression_scores(ConstMatrixView<float> found, ConstMatrixView<float> truth) {
  const std::vector<double> x(found.data(), found.data() + found.cols()), y(truth.data(), truth.data() + truth.cols());
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) squares += (x[i] - y[i]) * (x[i] - y[i]);
  return {Score{"pearson", "Pearson", pearson(x, y)}, Score{"spearman", "Spearman", spearman(x, y)},
          Score{"mean_squared_error", "MSE", x.empty() ? 0 : squares / double(x.size())}};
}

/// Of label sets, labels x examples; a label is given where its logit is above 0. As scikit-learn's f1_score with average "micro"
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

/// How often each class was taken for each other one: of examples with one label each, by the largest of their logits, classes x
/// examples. Throws what ConfusionMatrix throws.
inline ConfusionMatrix confusion_of(std::span<const std::int32_t> labels, ConstMatrixView<float> logits) {
  std::vector<std::int32_t> best(static_cast<std::size_t>(logits.cols()));
  nn::best_classes<float>(logits, best);
  return ConfusionMatrix(logits.rows(), labels, best);
}

/// Of what a head gives before softmax or sigmoid, outputs x examples.
///
///     const data::Scores found = data::scores_of(texts.targets(), models::outputs(classifier, texts, parts, threads));
///     found[0].value;   // accuracy of classes, micro F1 of labels, Pearson's correlation of numbers
///
/// Throws ErrorId::shape for another number of outputs than the targets have, and ErrorId::not_finite for outputs that are not.
inline Scores scores_of(const nn::Targets<float>& targets, ConstMatrixView<float> outputs) {
  require_finite(outputs, "scores_of", "the outputs, a column for each example,");
  if (targets.problem == ProblemType::single_label) return scores_of(confusion_of(targets.labels, outputs));
  require_shape(outputs, targets.values.rows(), targets.values.cols(), "scores_of", "outputs", "as the targets");
  return targets.problem == ProblemType::regression ? regression_scores(outputs, targets.values)
                                                    : label_set_scores(outputs, targets.values);
}

}  // namespace lorasb::data
