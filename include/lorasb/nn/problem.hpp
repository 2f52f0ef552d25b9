// What the outputs of a head mean, and the loss that goes with it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/nn/binary_cross_entropy.hpp"
#include "lorasb/nn/cross_entropy.hpp"
#include "lorasb/nn/mean_squared_error.hpp"
#include "lorasb/nn/pass_result.hpp"

namespace lorasb::nn {

/// As transformers' problem_type has it, with its losses: softmax cross-entropy, binary cross-entropy, mean squared error.
enum class ProblemType { single_label, multi_label, regression };
inline constexpr std::array<std::string_view, 3> problem_names{"single_label_classification", "multi_label_classification",
                                                               "regression"};

/// What examples should come out as: a class each, or a column of `values` each (k x n), 1 for its labels and 0 for others, or
/// the numbers of a regression. A view.
template <Real S>
struct Targets {
  ProblemType problem = ProblemType::single_label;
  std::span<const std::int32_t> labels = {};
  ConstMatrixView<S> values{nullptr, 0, 0};

  Index size() const { return problem == ProblemType::single_label ? std::ssize(labels) : values.cols(); }
};

/// Targets of a batch, copied from those of a set.
template <Real S>
class LORASB_OWNS_MEMORY TargetBatch {
 public:
  /// Those of the examples in `order`. `From` is the scalar of the set.
  template <Real From>
  Targets<S> gather(const Targets<From>& all, std::span<const Index> order) {
    labels_.clear();
    if (all.problem == ProblemType::single_label) {
      for (const Index i : order) labels_.push_back(all.labels[static_cast<std::size_t>(i)]);
      return {.problem = all.problem, .labels = labels_};
    }
    values_.resize(all.values.rows(), std::ssize(order));
    for (Index i = 0; i < values_.cols(); ++i)
      values_.col(i) = all.values.col(order[static_cast<std::size_t>(i)]).template cast<S>();
    return {.problem = all.problem, .values = values_};
  }

 private:
  std::vector<std::int32_t> labels_;
  Matrix<S> values_;
};

/// The summed loss of `outputs` (k x n) and how many of the n examples are right: their class, or exactly their labels; 0 for a
/// regression. `outputs` are overwritten by the gradient of the sum. `class_weights` are cross_entropy()'s. Throws what the
/// losses throw.
template <Real S>
PassResult differentiate_loss(MatrixView<S> outputs, const Targets<S>& targets, std::span<const double> class_weights = {}) {
  switch (targets.problem) {
    case ProblemType::single_label:
      break;
    case ProblemType::multi_label: {
      const Index exact = count_exact_label_sets<S>(outputs, targets.values);
      return {.loss = binary_cross_entropy<S>(outputs, targets.values, outputs), .correct = exact};
    }
    case ProblemType::regression:
      return {.loss = mean_squared_error<S>(outputs, targets.values, outputs)};
  }
  const Index correct = count_correct<S>(outputs, targets.labels);
  return {.loss = cross_entropy<S>(outputs, targets.labels, outputs, {}, class_weights), .correct = correct};
}

}  // namespace lorasb::nn
