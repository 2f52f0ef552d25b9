// Columns scaled to length one.
#pragma once

#include <algorithm>
#include <cmath>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::nn {

/// The guard of TensorFlow's l2_normalize: a column shorter than 1e-6 is divided by 1e-6.
inline constexpr double l2_normalize_floor = 1e-12;

/// y = x / √max(‖x‖², 1e-12) for each column. X, Y: d x n; Y is overwritten and may be X. ‖x‖² is summed in double.
template <Real S>
void l2_normalize(ConstMatrixView<S> X, MatrixView<S> Y) {
  require_shape(Y, X.rows(), X.cols(), "l2_normalize", "Y", "the shape of X");
  for (Index i = 0; i < X.cols(); ++i) {
    const double squared = X.col(i).template cast<double>().squaredNorm();
    Y.col(i) = X.col(i) * static_cast<S>(1 / std::sqrt(std::max(squared, l2_normalize_floor)));
  }
}

/// dx = (dy - x (xᵀ dy) / ‖x‖²) / ‖x‖, and dy / 1e-6 where the guard took hold. Overwrites dX, which may be dY.
template <Real S>
void l2_normalize_backward(ConstMatrixView<S> dY, ConstMatrixView<S> X, MatrixView<S> dX) {
  require_shape(dY, X.rows(), X.cols(), "l2_normalize_backward", "dY", "the shape of X");
  require_shape(dX, X.rows(), X.cols(), "l2_normalize_backward", "dX", "the shape of X");
  for (Index i = 0; i < X.cols(); ++i) {
    const double squared = X.col(i).template cast<double>().squaredNorm();
    const double inverse = 1 / std::sqrt(std::max(squared, l2_normalize_floor));
    const double along = X.col(i).template cast<double>().dot(dY.col(i).template cast<double>());
    const double radial = squared > l2_normalize_floor ? along / squared : 0;
    dX.col(i) = static_cast<S>(inverse) * (dY.col(i) - static_cast<S>(radial) * X.col(i));
  }
}

}  // namespace lorasb::nn
