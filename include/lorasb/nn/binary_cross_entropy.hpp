// Binary cross-entropy of logits, for examples that have any number of labels.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::nn {

/// 1 / (1 + exp(-z)), which overflows for no z.
inline double sigmoid(double z) {
  const double e = std::exp(-std::abs(z));
  return (z >= 0 ? 1 : e) / (1 + e);
}

/// Σ_i loss_i,  loss_i = -1/k Σ_c [t_ci log σ(z_ci) + (1 - t_ci) log(1 - σ(z_ci))],  with the gradient of that *sum*:
///
///     dz_i = 1/k (σ(z_i) - t_i),    σ(z) = 1 / (1 + exp(-z))
///
/// logits, targets, dlogits: k x n; a target is 1 for a label that the example has and 0 for another (from 0 to 1, else
/// ErrorId::value). Overwrites dlogits, which may be logits, and `losses` (n numbers) unless it is empty. Divided by n it is
/// PyTorch's BCEWithLogitsLoss() of all entries, and so is its gradient; the loss is computed as there,
/// max(z, 0) - z t + log(1 + exp(-|z|)). Throws ErrorId::shape.
///
/// An example with a logit that is NaN or infinite has loss and gradient NaN, as in cross_entropy().
template <Real S>
double binary_cross_entropy(ConstMatrixView<S> logits, ConstMatrixView<S> targets, MatrixView<S> dlogits,
                            std::span<double> losses = {}) {
  require_shape(targets, logits.rows(), logits.cols(), "binary_cross_entropy", "targets", "the shape of logits");
  require_shape(dlogits, logits.rows(), logits.cols(), "binary_cross_entropy", "dlogits", "the shape of logits");
  require(losses.empty() || std::ssize(losses) == logits.cols(), ErrorId::shape, "binary_cross_entropy: losses holds ",
          losses.size(), " numbers, expected ", logits.cols(), ", the columns of logits");
  const double k = double(logits.rows());
  double total = 0;
  for (Index i = 0; i < logits.cols(); ++i) {
    const bool finite = all_finite(logits.data() + i * logits.outerStride(), logits.rows());
    double loss = finite ? 0 : std::numeric_limits<double>::quiet_NaN();
    for (Index c = 0; c < logits.rows(); ++c) {
      const double z = double(logits(c, i)), t = double(targets(c, i));
      require(t >= 0 && t <= 1, ErrorId::value, "binary_cross_entropy: example ", i, " has the target ", t, " for label ", c,
              ", expected 0 to 1");
      if (finite) loss += (std::max(z, 0.0) - z * t + std::log1p(std::exp(-std::abs(z)))) / k;
      dlogits(c, i) = finite ? static_cast<S>((sigmoid(z) - t) / k) : std::numeric_limits<S>::quiet_NaN();
    }
    if (!losses.empty()) losses[static_cast<std::size_t>(i)] = loss;
    total += loss;
  }
  return total;
}

/// How many examples are given exactly their labels: a label is given where its logit is above 0, the probability above one half.
template <Real S>
Index count_exact_label_sets(ConstMatrixView<S> logits, ConstMatrixView<S> targets) {
  require_shape(targets, logits.rows(), logits.cols(), "count_exact_label_sets", "targets", "the shape of logits");
  Index exact = 0;
  for (Index i = 0; i < logits.cols(); ++i) {
    bool same = true;
    for (Index c = 0; c < logits.rows(); ++c) same = same && (logits(c, i) > 0) == (targets(c, i) > S(0.5));
    exact += same;
  }
  return exact;
}

}  // namespace lorasb::nn
