// Mean squared error of the outputs of a regression.
#pragma once

#include <limits>
#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::nn {

/// Σ_i loss_i,  loss_i = 1/k Σ_c (y_ci - t_ci)²,  with the gradient of that *sum*:
///
///     dy_i = 2/k (y_i - t_i)
///
/// outputs, targets, doutputs: k x n, in double or float. Overwrites doutputs, which may be outputs, and `losses` (n numbers)
/// unless it is empty. Divided by n it is PyTorch's MSELoss() of all entries, and so is its gradient. Throws ErrorId::shape.
///
/// An example with an output that is NaN or infinite has loss and gradient NaN, as in cross_entropy().
template <Real S>
double mean_squared_error(ConstMatrixView<S> outputs, ConstMatrixView<S> targets, MatrixView<S> doutputs,
                          std::span<double> losses = {}) {
  require_shape(targets, outputs.rows(), outputs.cols(), "mean_squared_error", "targets", "the shape of outputs");
  require_shape(doutputs, outputs.rows(), outputs.cols(), "mean_squared_error", "doutputs", "the shape of outputs");
  require(losses.empty() || std::ssize(losses) == outputs.cols(), ErrorId::shape, "mean_squared_error: losses holds ",
          losses.size(), " numbers, expected ", outputs.cols(), ", the columns of outputs");
  const double k = double(outputs.rows());
  double total = 0;
  for (Index i = 0; i < outputs.cols(); ++i) {
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (all_finite(outputs.data() + i * outputs.outerStride(), outputs.rows())) {
      doutputs.col(i) = outputs.col(i) - targets.col(i);
      loss = doutputs.col(i).template cast<double>().squaredNorm() / k;
      doutputs.col(i) *= static_cast<S>(2 / k);
    } else {
      doutputs.col(i).setConstant(std::numeric_limits<S>::quiet_NaN());
    }
    if (!losses.empty()) losses[static_cast<std::size_t>(i)] = loss;
    total += loss;
  }
  return total;
}

}  // namespace lorasb::nn
