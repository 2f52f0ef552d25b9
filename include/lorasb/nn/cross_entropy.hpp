// Softmax cross-entropy of class logits, and how many examples are classified right.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::nn {
namespace detail {

template <Real S>
void require_labels(ConstMatrixView<S> logits, std::span<const std::int32_t> labels, std::string_view where) {
  require(std::ssize(labels) == logits.cols(), ErrorId::shape, where, ": labels holds ", labels.size(), " numbers, expected ",
          logits.cols(), ", the columns of logits");
  for (std::size_t i = 0; i < labels.size(); ++i)
    require(labels[i] >= 0 && labels[i] < logits.rows(), ErrorId::value, where, ": example ", i, " has label ", labels[i],
            ", expected 0 to ", logits.rows() - 1, " (", logits.rows(), " classes)");
}

template <Real S>
void require_class_weights(ConstMatrixView<S> logits, std::span<const double> weights, std::string_view where) {
  require(weights.empty() || std::ssize(weights) == logits.rows(), ErrorId::shape, where, ": class_weights holds ",
          weights.size(), " numbers, expected ", logits.rows(), ", one for each class");
}

}  // namespace detail

/// Σ_i loss_i,  loss_i = log Σ_c exp(z_ci) - z_{label i, i},  with the gradient of that *sum*:
///
///     dz_i = softmax(z_i) - onehot(label i)
///
/// logits, dlogits: classes x n, labels: n numbers of 0 to classes - 1 (else ErrorId::value). Overwrites dlogits, which may be
/// logits, and `losses` (n numbers) unless it is empty. Divide both by n for the mean over a batch.
///
/// `class_weights`, one for each class unless it is empty, multiply loss and gradient of every example by the weight of its
/// label, as PyTorch's cross_entropy(weight=..., reduction="sum") does.
///
/// An example with a logit that is NaN or infinite has loss and gradient NaN: look at the sum before you step.
template <Real S>
double cross_entropy(ConstMatrixView<S> logits, std::span<const std::int32_t> labels, MatrixView<S> dlogits,
                     std::span<double> losses = {}, std::span<const double> class_weights = {}) {
  require_shape(dlogits, logits.rows(), logits.cols(), "cross_entropy", "dlogits", "the shape of logits");
  require(losses.empty() || std::ssize(losses) == logits.cols(), ErrorId::shape, "cross_entropy: losses holds ", losses.size(),
          " numbers, expected ", logits.cols(), ", the columns of logits");
  detail::require_labels(logits, labels, "cross_entropy");
  detail::require_class_weights(logits, class_weights, "cross_entropy");
  double total = 0;
  for (Index i = 0; i < logits.cols(); ++i) {
    const Index label = labels[static_cast<std::size_t>(i)];
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (all_finite(logits.data() + i * logits.outerStride(), logits.rows())) {
      const S largest = logits.col(i).maxCoeff();
      const double below = static_cast<double>(largest) - static_cast<double>(logits(label, i));
      dlogits.col(i).array() = (logits.col(i).array() - largest).exp();
      const double sum = dlogits.col(i).template cast<double>().sum();
      dlogits.col(i) *= static_cast<S>(1 / sum);
      dlogits(label, i) -= 1;
      loss = std::log(sum) + below;
    } else {
      dlogits.col(i).setConstant(std::numeric_limits<S>::quiet_NaN());
    }
    if (!class_weights.empty()) {
      const double weight = class_weights[static_cast<std::size_t>(label)];
      dlogits.col(i) *= static_cast<S>(weight);
      loss *= weight;
    }
    if (!losses.empty()) losses[static_cast<std::size_t>(i)] = loss;
    total += loss;
  }
  return total;
}

/// The same sum without its gradient, for measuring.
template <Real S>
double cross_entropy_loss(ConstMatrixView<S> logits, std::span<const std::int32_t> labels) {
  detail::require_labels(logits, labels, "cross_entropy_loss");
  double total = 0;
  for (Index i = 0; i < logits.cols(); ++i) {
    if (!all_finite(logits.data() + i * logits.outerStride(), logits.rows())) return std::numeric_limits<double>::quiet_NaN();
    const S largest = logits.col(i).maxCoeff();
    double sum = 0;
    for (Index c = 0; c < logits.rows(); ++c) sum += std::exp(double(logits(c, i)) - double(largest));
    total += std::log(sum) + double(largest) - double(logits(labels[static_cast<std::size_t>(i)], i));
  }
  return total;
}

/// The class with the largest logit of each example, the lowest among equals. logits: classes x n, classes at least 1.
template <Real S>
void best_classes(ConstMatrixView<S> logits, std::span<std::int32_t> best) {
  require(std::ssize(best) == logits.cols(), ErrorId::shape, "best_classes: best holds ", best.size(), " numbers, expected ",
          logits.cols(), ", the columns of logits");
  for (Index i = 0; i < logits.cols(); ++i) {
    Index found = 0;
    for (Index c = 1; c < logits.rows(); ++c)
      if (logits(c, i) > logits(found, i)) found = c;
    best[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(found);
  }
}

/// How many examples have their label as the largest logit; the lowest class wins among equals.
template <Real S>
Index count_correct(ConstMatrixView<S> logits, std::span<const std::int32_t> labels) {
  detail::require_labels(logits, labels, "count_correct");
  std::vector<std::int32_t> best(labels.size());
  best_classes<S>(logits, best);
  Index correct = 0;
  for (std::size_t i = 0; i < best.size(); ++i) correct += best[i] == labels[i];
  return correct;
}

}  // namespace lorasb::nn
