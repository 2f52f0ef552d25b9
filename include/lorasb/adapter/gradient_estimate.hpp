// The mean gradient of a weight over a few training examples, from which an adapter is initialised.
#pragma once

#include <string>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb {

/// G = (1 / N) Σ_i dL_i/dW0, out x in, over N examples (arXiv 2411.19557, section 3.2). Batches are added as they come, with dY
/// the gradient of their *summed* loss, so that every example has the same weight whatever the batch it came in; sums of
/// several estimates (threads, clients) add up. Memory: out x in numbers.
///
///     GradientEstimate<float> estimate(out, in);
///     estimate.add(dY, X, examples);   // as often as you like
///     auto [adapter, report] = initialize(estimate, {.rank = 16, .learning_rate = 1e-4});
template <Real S>
class LORASB_OWNS_MEMORY GradientEstimate {
 public:
  /// `name` is only for messages. Throws ErrorId::value for a size below 1.
  GradientEstimate(Index out_features, Index in_features, std::string name = "layer") : name_(std::move(name)) {
    require(out_features >= 1 && in_features >= 1, ErrorId::value, "GradientEstimate: \"", name_, "\" is ", out_features, " x ",
            in_features, ", expected at least 1 x 1");
    sum_ = Weight<S>::Zero(out_features, in_features);
  }

  /// Adds dY Xᵀ, for a batch of `examples` examples. X: in x tokens, the input of the layer; dY: out x tokens, the
  /// gradient of the batch's summed loss with respect to the output Y. Throws ErrorId::shape, not_finite, and value for examples
  /// < 1.
  void add(ConstMatrixView<S> dY, ConstMatrixView<S> X, Index examples) {
    check(dY, X);
    count(examples);
    linalg::multiply(dY, linalg::transposed(X), sum_, 1, 1);
  }

  /// Adds dY Xᵀ but counts no examples; call count() once for all such calls. For weights that are applied several times per
  /// example, and for passes that know the number of examples only at their end.
  void add_uncounted(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
    check(dY, X);
    linalg::multiply(dY, linalg::transposed(X), sum_, 1, 1);
  }
  /// Throws ErrorId::value for examples < 1.
  void count(Index examples) {
    require(examples >= 1, ErrorId::value, "GradientEstimate: examples is ", examples, ", expected at least 1 (\"", name_,
            "\")");
    examples_ += examples;
  }

  /// Adds a gradient that a trainer has formed itself: dW, out x in, of the summed loss of `examples` examples.
  void add(ConstWeightView<S> dW, Index examples) {
    require_shape(dW, out_features(), in_features(), "GradientEstimate::add", "dW", name_);
    require_finite(dW, "GradientEstimate::add", "dW of \"", name_, "\"");
    count(examples);
    sum_ += dW;
  }

  /// Adds all examples of another estimate of the same weight.
  void add(const GradientEstimate& other) {
    require_shape(other.sum_, out_features(), in_features(), "GradientEstimate::add", "the other estimate", name_);
    examples_ += other.examples_;
    sum_ += other.sum_;
  }

  /// Σ_i dL_i/dW0, out x in: N times the mean.
  const Weight<S>& sum() const { return sum_; }
  Index examples() const { return examples_; }
  Index out_features() const { return sum_.rows(); }
  Index in_features() const { return sum_.cols(); }
  const std::string& name() const { return name_; }

 private:
  void check(ConstMatrixView<S> dY, ConstMatrixView<S> X) const {
    require_shape(X, in_features(), dY.cols(), "GradientEstimate::add", "X", "in_features of \"", name_, "\" x columns of dY");
    require_rows(dY, out_features(), "GradientEstimate::add", "dY", "out_features of \"", name_, "\"");
    require_finite(dY, "GradientEstimate::add", "dY of \"", name_, "\"");
    require_finite(X, "GradientEstimate::add", "X of \"", name_, "\"");
  }

  Weight<S> sum_;
  Index examples_ = 0;
  std::string name_;
};

}  // namespace lorasb
