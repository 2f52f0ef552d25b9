// Layer normalisation.
#pragma once

#include <cmath>
#include <span>
#include <string_view>

#include "lorasb/core/buffer.hpp"
#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"

namespace lorasb::nn {

/// What forward keeps for backward.
template <Real S>
struct LORASB_OWNS_MEMORY LayerNormCache {
  Buffer<S> mean;               // 1 x tokens
  Buffer<S> inverse_deviation;  // 1 x tokens
};

/// For each column x of X, with d features, mean μ and variance σ² = Σ (x - μ)² / d:
///
///     x̂ = (x - μ) / √(σ² + ε),    y = scale ∘ x̂ + bias
///
/// X, Y: d x tokens; scale, bias: d numbers. Overwrites Y and the cache. All sums are in S; the variance is summed after the
/// mean is known, so a large mean does not cancel it.
template <Real S>
void layer_norm(ConstMatrixView<S> X, std::span<const S> scale, std::span<const S> bias, double epsilon, MatrixView<S> Y,
                LayerNormCache<S>& cache) {
  require_rows(X, std::ssize(scale), "layer_norm", "X", "numbers in scale");
  require_rows(X, std::ssize(bias), "layer_norm", "X", "numbers in bias");
  require_shape(Y, X.rows(), X.cols(), "layer_norm", "Y", "the shape of X");
  require(epsilon >= 0, ErrorId::value, "layer_norm: epsilon is ", epsilon, ", expected at least 0");
  const Eigen::Map<const Vector<S>> a = as_vector(scale), b = as_vector(bias);
  MatrixView<S> means = cache.mean.reshape(1, X.cols()), inverses = cache.inverse_deviation.reshape(1, X.cols());
  const S d = static_cast<S>(X.rows());
  for (Index t = 0; t < X.cols(); ++t) {
    const S mean = X.col(t).sum() / d;
    const S variance = (X.col(t).array() - mean).square().sum() / d;
    const S inverse = 1 / std::sqrt(variance + static_cast<S>(epsilon));
    Y.col(t).array() = (X.col(t).array() - mean) * inverse * a.array() + b.array();
    means(0, t) = mean;
    inverses(0, t) = inverse;
  }
}

/// With g = scale ∘ dy:    dx = (g - mean(g) - x̂ mean(g ∘ x̂)) / √(σ² + ε)
/// Overwrites dX, d x tokens, which may be dY itself.
template <Real S>
void layer_norm_backward_input(ConstMatrixView<S> dY, ConstMatrixView<S> X, std::span<const S> scale,
                               const LayerNormCache<S>& cache, MatrixView<S> dX) {
  constexpr std::string_view where = "layer_norm_backward_input";
  require_rows(X, std::ssize(scale), where, "X", "numbers in scale");
  require_shape(dY, X.rows(), X.cols(), where, "dY", "the shape of X");
  require_shape(dX, X.rows(), X.cols(), where, "dX", "the shape of X");
  require_shape(cache.mean.view(), 1, X.cols(), where, "cache", "columns of X");
  const Eigen::Map<const Vector<S>> a = as_vector(scale);
  const S d = static_cast<S>(X.rows());
  for (Index t = 0; t < X.cols(); ++t) {
    const S mean = cache.mean.view()(0, t), inverse = cache.inverse_deviation.view()(0, t);
    const S mean_g = (dY.col(t).array() * a.array()).sum() / d;
    const S mean_g_x_hat = (dY.col(t).array() * a.array() * (X.col(t).array() - mean)).sum() * inverse / d;
    dX.col(t).array() =
        inverse * (dY.col(t).array() * a.array() - mean_g - (X.col(t).array() - mean) * (inverse * mean_g_x_hat));
  }
}

/// dscale += Σ_t dy_t ∘ x̂_t,    dbias += Σ_t dy_t. Adds to both, d numbers each.
template <Real S>
void layer_norm_backward_parameters(ConstMatrixView<S> dY, ConstMatrixView<S> X, const LayerNormCache<S>& cache,
                                    std::span<S> dscale, std::span<S> dbias) {
  constexpr std::string_view where = "layer_norm_backward_parameters";
  require_rows(X, std::ssize(dscale), where, "X", "numbers in dscale");
  require_rows(X, std::ssize(dbias), where, "X", "numbers in dbias");
  require_shape(dY, X.rows(), X.cols(), where, "dY", "the shape of X");
  require_shape(cache.mean.view(), 1, X.cols(), where, "cache", "columns of X");
  Eigen::Map<Vector<S>> da = as_vector(dscale), db = as_vector(dbias);
  for (Index t = 0; t < X.cols(); ++t) {
    const S mean = cache.mean.view()(0, t), inverse = cache.inverse_deviation.view()(0, t);
    da.array() += dY.col(t).array() * (X.col(t).array() - mean) * inverse;
    db += dY.col(t);
  }
}

}  // namespace lorasb::nn
