// A layer with an auxiliary loss over its whole batch, as the smallest example of one.
#pragma once

#include "lorasb/core/layer.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::test {

/// Y = W X with W trained, and the auxiliary loss ‖m‖² / 2 of m = Σ_t y_t over all tokens t of the batch.
class BalancedLinear final : public LinearLayer<double> {
 public:
  explicit BalancedLinear(ConstWeightView<double> W, std::string name = "balanced")
      : LinearLayer<double>("BalancedLinear", std::move(name), W.rows(), W.cols(), W.size()), W_(W) {}

  Index statistics_size() const override { return out_features(); }
  double auxiliary_loss(std::span<const double> m) const override { return as_vector(m).squaredNorm() / 2; }

 private:
  void run_forward(ConstMatrixView<double> X, MatrixView<double> Y, LinearCache<double>& cache) const override {
    linalg::multiply(W_, X, Y);
    cache.statistics.assign(static_cast<std::size_t>(out_features()), 0.0);
    as_vector(std::span<double>(cache.statistics)) = Y.rowwise().sum();
  }
  void run_backward(ConstMatrixView<double> X, ConstMatrixView<double> dY, LinearCache<double>& cache,
                    const LayerGradient<double>& gradient, const InputGradient<double>& dX) const override {
    const std::span<const double> m = cache.batch_statistics.empty() ? std::span<const double>(cache.statistics)
                                                                     : cache.batch_statistics;
    MatrixView<double> D = cache.buffer(0).reshape(dY.rows(), dY.cols());  // dY + m 1ᵀ
    D = dY;
    for (Index t = 0; t < D.cols(); ++t) D.col(t) += as_vector(m);
    gradient.for_each(dY.cols(), [&](Index first, Index count, std::span<double> dW) {
      linalg::multiply(D.middleCols(first, count), linalg::transposed(X.middleCols(first, count)),
                       WeightView<double>(dW.data(), W_.rows(), W_.cols()), 1, 1);
    });
    if (dX.wanted()) linalg::multiply(linalg::transposed(W_), D, dX.view());
  }

  ConstWeightView<double> W_;
};

}  // namespace lorasb::test
