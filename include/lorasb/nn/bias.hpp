// A bias for each feature.
#pragma once

#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::nn {

/// y_t += b for every column, in place. Y: d x tokens, b: d numbers.
template <Real S>
void add_bias(MatrixView<S> Y, std::span<const S> b) {
  require_rows(Y, std::ssize(b), "add_bias", "Y", "numbers in b");
  Y.colwise() += as_vector(b);
}

/// db += Σ_t dy_t, added. dY is the gradient of what came in, too.
template <Real S>
void add_bias_backward_parameters(ConstMatrixView<S> dY, std::span<S> db) {
  require_rows(dY, std::ssize(db), "add_bias_backward_parameters", "dY", "numbers in db");
  Eigen::Map<Vector<S>> sum = as_vector(db);
  for (Index t = 0; t < dY.cols(); ++t) sum += dY.col(t);
}

}  // namespace lorasb::nn
