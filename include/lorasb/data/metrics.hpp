// What GLUE reports of predictions: accuracy, macro F1 and Matthews of classes, Pearson and Spearman of numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"

namespace lorasb::data {

/// How many examples of each true class were given each class.
class ConfusionMatrix {
 public:
  /// Throws ErrorId::value for fewer than one class.
  explicit ConfusionMatrix(Index classes) : classes_(classes) {
    require(classes >= 1, ErrorId::value, "ConfusionMatrix: ", classes, " classes, expected at least 1");
    truths_.resize(static_cast<std::size_t>(classes));
    predictions_.resize(static_cast<std::size_t>(classes));
  }
  /// Throws ErrorId::shape for spans of two lengths, ErrorId::value for a class out of range.
  ConfusionMatrix(Index classes, std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted) : ConfusionMatrix(classes) {
    require(truth.size() == predicted.size(), ErrorId::shape, "ConfusionMatrix: ", truth.size(), " labels and ", predicted.size(),
            " predictions");
    for (std::size_t i = 0; i < truth.size(); ++i) add(truth[i], predicted[i]);
  }

  void add(Index truth, Index predicted) {
    for (const Index c : {truth, predicted})
      require(c >= 0 && c < classes_, ErrorId::value, "ConfusionMatrix: class ", c, ", expected 0 to ", classes_ - 1);
    ++cells_[{truth, predicted}];
    ++truths_[static_cast<std::size_t>(truth)];
    ++predictions_[static_cast<std::size_t>(predicted)];
    ++total_;
    correct_ += truth == predicted;
  }

  Index classes() const { return classes_; }
  Index at(Index truth, Index predicted) const {
    const auto cell = cells_.find({truth, predicted});
    return cell == cells_.end() ? 0 : cell->second;
  }
  /// The counts that are not 0, by true and given class.
  const std::map<std::pair<Index, Index>, Index>& cells() const { return cells_; }
  /// Examples with this label, and with this prediction.
  Index of_truth(Index c) const { return truths_[static_cast<std::size_t>(c)]; }
  Index of_prediction(Index c) const { return predictions_[static_cast<std::size_t>(c)]; }
  Index correct() const { return correct_; }
  Index total() const { return total_; }

 private:
  Index classes_, correct_ = 0, total_ = 0;
  std::map<std::pair<Index, Index>, Index> cells_;  // a set of 10,000 classes has 10^8 of them, most of them 0
  std::vector<Index> truths_, predictions_;         // sums over rows and columns
};

/// The share of examples that were given their own class; 0 for no examples.
inline double accuracy(const ConfusionMatrix& m) { return m.total() == 0 ? 0 : double(m.correct()) / double(m.total()); }

/// F1 = 2 TP / (2 TP + FP + FN) of a class; 0 when it is neither there nor predicted.
inline double f1(const ConfusionMatrix& m, Index c) {
  const Index both = m.of_truth(c) + m.of_prediction(c);
  return both == 0 ? 0 : 2 * double(m.at(c, c)) / double(both);
}
/// The mean of F1 over the classes that have an example or a prediction, as scikit-learn's f1_score(average="macro"); 0 for no examples.
inline double macro_f1(const ConfusionMatrix& m) {
  double sum = 0;
  Index seen = 0;
  for (Index c = 0; c < m.classes(); ++c)
    if (m.of_truth(c) + m.of_prediction(c) > 0) {
      sum += f1(m, c);
      ++seen;
    }
  return seen == 0 ? 0 : sum / double(seen);
}

/// Matthews' correlation of any number of classes (Gorodkin 2004, R_K). With n examples, c of them correct, t_k of class k and p_k
/// given it:    (n c - Σ t_k p_k) / √((n² - Σ p_k²) (n² - Σ t_k²)),    and 0 where all labels or all predictions are the same.
inline double matthews(const ConfusionMatrix& m) {
  const double n = double(m.total());
  double tp = 0, pp = 0, tt = 0;
  for (Index c = 0; c < m.classes(); ++c) {
    const double t = double(m.of_truth(c)), p = double(m.of_prediction(c));
    tp += t * p;
    pp += p * p;
    tt += t * t;
  }
  const double spread = (n * n - pp) * (n * n - tt);
  return spread == 0 ? 0 : (n * double(m.correct()) - tp) / std::sqrt(spread);
}

/// Pearson's correlation; NaN, as in scipy, for fewer than two pairs or when either side is constant. Throws ErrorId::shape.
inline double pearson(std::span<const double> x, std::span<const double> y) {
  require(x.size() == y.size(), ErrorId::shape, "pearson: ", x.size(), " numbers and ", y.size(), " numbers");
  const auto mean_of = [](std::span<const double> v) { return std::accumulate(v.begin(), v.end(), 0.0) / double(v.size()); };
  const double mean_x = mean_of(x), mean_y = mean_of(y);
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x, dy = y[i] - mean_y;
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return std::clamp(xy / (std::sqrt(xx) * std::sqrt(yy)), -1.0, 1.0);
}

/// Places from 1 in ascending order; equal numbers share the mean of theirs.
inline std::vector<double> ranks(std::span<const double> x) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return x[i]; });
  std::vector<double> rank(x.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first + 1;
    while (end < order.size() && x[order[end]] == x[order[first]]) ++end;
    for (std::size_t i = first; i < end; ++i) rank[order[i]] = double(first + 1 + end) / 2;
    first = end;
  }
  return rank;
}
/// Spearman's: Pearson's correlation of the ranks.
inline double spearman(std::span<const double> x, std::span<const double> y) { return pearson(ranks(x), ranks(y)); }

}  // namespace lorasb::data
