// The sum of a weight's gradients over examples, each clipped: what noise can make private, and bases be taken from.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lorasb/core/check.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/linalg/inner_products.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/privacy/noise_source.hpp"

namespace lorasb {

/// ‖dY Xᵀ‖, Frobenius, without the product: ‖dY Xᵀ‖² = Σ_tu (dYᵀ dY)_tu (Xᵀ X)_tu, over all pairs of tokens (Goodfellow,
/// arXiv 1510.01799, for one token; Li et al., arXiv 2110.05679, for sequences). dY: out x tokens, X: in x tokens. Cheaper than the
/// product when tokens (out + in) < out in. Sums in double. Throws ErrorId::shape.
template <Real S>
double gradient_norm(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
  require(dY.cols() == X.cols(), ErrorId::shape, "gradient_norm: dY has ", dY.cols(), " tokens and X has ", X.cols());
  Matrix<double> of_dY(dY.cols(), dY.cols()), of_X(X.cols(), X.cols());
  linalg::inner_products<S>(dY, dY, of_dY);
  linalg::inner_products<S>(X, X, of_X);
  double sum = 0;
  for (Index t = 0; t < of_X.size(); ++t) sum += of_dY.data()[t] * of_X.data()[t];
  return std::sqrt(std::max(sum, 0.0));  // rounding may bring a sum of nearly nothing below 0; NaN stays
}

/// Σ_i min(1, C / ‖G_i‖) G_i over examples i, with G_i = dY_i X_iᵀ the gradient of a weight, out x in. An example whose norm is not
/// finite adds nothing. One example moves the sum by at most C, so that M modules with C = c / √M each are moved by at most c
/// together: the Gaussian mechanism on all sums has the sensitivity c.
///
///     ClippedGradientSum<float> sum(out, in, c / std::sqrt(modules));
///     sum.add(dY, X);   // of one example, as often as you like
///     sum.add_noise(sigma * c, source);
template <Real S>
class LORASB_OWNS_MEMORY ClippedGradientSum {
 public:
  /// `name` is only for messages. Throws ErrorId::value for a size below 1, or a clip that is not above 0.
  ClippedGradientSum(Index out_features, Index in_features, double clip, std::string name = "layer")
      : clip_(clip), name_(std::move(name)) {
    require(out_features >= 1 && in_features >= 1, ErrorId::value, "ClippedGradientSum: \"", name_, "\" is ", out_features, " x ",
            in_features, ", expected at least 1 x 1");
    require(is_finite(clip) && clip > 0, ErrorId::value, "ClippedGradientSum: clip is ", clip, ", expected above 0 (\"", name_, "\")");
    sum_ = Weight<S>::Zero(out_features, in_features);
  }

  /// One example. X: in x tokens; dY: out x tokens, the gradient of the example's loss. Throws ErrorId::shape.
  void add(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
    require_shape(X, sum_.cols(), dY.cols(), "ClippedGradientSum::add", "X", "in_features of \"", name_, "\" x columns of dY");
    require_rows(dY, sum_.rows(), "ClippedGradientSum::add", "dY", "out_features of \"", name_, "\"");
    const double norm = gradient_norm<S>(dY, X);
    if (!is_finite(norm) || norm == 0) return;
    linalg::multiply(dY, linalg::transposed(X), sum_, static_cast<S>(std::min(1.0, clip_ / norm)), 1);
  }
  /// The name by which an ObservedLinear's estimate is called: a pass of one example.
  void add_uncounted(ConstMatrixView<S> dY, ConstMatrixView<S> X) { add(dY, X); }

  /// The examples of another sum of the same weight. Throws ErrorId::shape.
  void add(const ClippedGradientSum& other) {
    require_shape(other.sum_, sum_.rows(), sum_.cols(), "ClippedGradientSum::add", "the other sum", name_);
    sum_ += other.sum_;
  }
  /// N(0, deviation²) on every number. Throws what privacy::add_gaussian_noise does.
  void add_noise(double deviation, privacy::NoiseSource& source) {
    privacy::add_gaussian_noise<S>(flat(sum_), deviation, source);
  }

  const Weight<S>& sum() const { return sum_; }
  const std::string& name() const { return name_; }

 private:
  double clip_;
  std::string name_;
  Weight<S> sum_;
};

}  // namespace lorasb
