// The mean gradient of a weight over training examples, from which an adapter is initialised.
#pragma once

#include <string>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb {

/// What a GradientEstimate keeps: Σ G_b over minibatches b alone, or Σ G_b² (entry by entry) as well.
enum class GradientMoments { first, first_and_second };

/// G = (1 / N) Σ_i dL_i/dW0, out x in, over N examples (arXiv 2411.19557, section 3.2). Batches are added as they come, with dY
/// the gradient of their *summed* loss, so that every example has the same weight whatever the batch it came in; sums of
/// several estimates (threads, clients) add up. Memory: out x in numbers; three times as many with second moments, which
/// FirstStep::moments needs. Every call of add is a minibatch to those, so give batches of one size.
///
///     GradientEstimate<float> estimate(out, in);
///     estimate.add(dY, X, examples);   // as often as you like
///     auto [adapter, report] = initialize(estimate, {.rank = 16, .learning_rate = 1e-4});
template <Real S>
class LORASB_OWNS_MEMORY GradientEstimate {
 public:
  /// `name` is only for messages. Throws ErrorId::value for a size below 1.
  GradientEstimate(Index out_features, Index in_features, std::string name = "layer",
                   GradientMoments moments = GradientMoments::first)
      : name_(std::move(name)) {
    require(out_features >= 1 && in_features >= 1, ErrorId::value, "GradientEstimate: \"", name_, "\" is ", out_features, " x ",
            in_features, ", expected at least 1 x 1");
    sum_ = Weight<S>::Zero(out_features, in_features);
    if (moments == GradientMoments::first_and_second) sum_of_squares_ = batch_ = sum_;
  }

  /// From sums that were formed elsewhere, such as the exact ones over clients: Σ G_b over `batches` minibatches of `examples`
  /// examples in all, and Σ G_b² or an empty matrix. Throws ErrorId::shape, value, not_finite.
  static GradientEstimate from_sums(Weight<S> sum, Weight<S> sum_of_squares, Index examples, Index batches,
                                    std::string name = "layer") {
    const bool second = sum_of_squares.size() > 0;
    GradientEstimate estimate(sum.rows(), sum.cols(), std::move(name),
                              second ? GradientMoments::first_and_second : GradientMoments::first);
    if (second) require_shape(sum_of_squares, sum.rows(), sum.cols(), "GradientEstimate::from_sums", "the sum of squares", estimate.name_);
    require(examples >= batches && batches >= 1, ErrorId::value, "GradientEstimate::from_sums: ", examples, " examples in ", batches,
            " minibatches (\"", estimate.name_, "\")");
    require_finite(sum, "GradientEstimate::from_sums", "the sum of \"", estimate.name_, "\"");
    estimate.sum_ = std::move(sum);
    estimate.sum_of_squares_ = std::move(sum_of_squares);
    estimate.examples_ = examples;
    estimate.batches_ = batches;
    return estimate;
  }

  /// Adds dY Xᵀ, for a batch of `examples` examples. X: in x tokens, the input of the layer; dY: out x tokens, the
  /// gradient of the batch's summed loss with respect to the output Y. Throws ErrorId::shape, not_finite, and value for examples
  /// < 1.
  void add(ConstMatrixView<S> dY, ConstMatrixView<S> X, Index examples) {
    check(dY, X);
    count(examples);
    accumulate(dY, X);
  }

  /// Adds dY Xᵀ but counts no examples; call count() once for all such calls. For weights that are applied several times per
  /// example, and for passes that know the number of examples only at their end.
  void add_uncounted(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
    check(dY, X);
    accumulate(dY, X);
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
    if (has_second_moments()) sum_of_squares_ += dW.cwiseAbs2();
    ++batches_;
  }

  /// Adds all examples of another estimate of the same weight. Throws ErrorId::shape, and ErrorId::value when one of them has
  /// second moments and the other has not.
  void add(const GradientEstimate& other) {
    require_shape(other.sum_, out_features(), in_features(), "GradientEstimate::add", "the other estimate", name_);
    require(has_second_moments() == other.has_second_moments(), ErrorId::value, "GradientEstimate::add: one estimate of \"", name_,
            "\" has second moments and the other has not");
    examples_ += other.examples_;
    batches_ += other.batches_;
    sum_ += other.sum_;
    sum_of_squares_ += other.sum_of_squares_;
  }

  /// Σ_i dL_i/dW0, out x in: N times the mean.
  const Weight<S>& sum() const { return sum_; }
  /// Σ_b G_b², entry by entry, of the summed gradient of each minibatch; empty without second moments.
  const Weight<S>& sum_of_squares() const { return sum_of_squares_; }
  bool has_second_moments() const { return sum_of_squares_.size() > 0; }
  Index examples() const { return examples_; }
  Index batches() const { return batches_; }
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

  void accumulate(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
    ++batches_;
    if (!has_second_moments()) return linalg::multiply(dY, linalg::transposed(X), sum_, 1, 1);
    linalg::multiply(dY, linalg::transposed(X), batch_);
    sum_ += batch_;
    sum_of_squares_ += batch_.cwiseAbs2();
  }

  Weight<S> sum_, sum_of_squares_, batch_;
  Index examples_ = 0, batches_ = 0;
  std::string name_;
};

}  // namespace lorasb
