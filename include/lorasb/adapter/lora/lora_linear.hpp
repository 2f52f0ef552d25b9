// A frozen linear layer with a plain LoRA adapter: both factors are trained, or B alone.
#pragma once

#include <string>
#include <utility>

#include "lorasb/adapter/input_gradient.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb {

/// Which factors of plain LoRA a layer has gradients for.
enum class TrainedFactors {
  B_and_A,
  B_only,  // A stays as it was drawn (FFA-LoRA, Sun et al., arXiv 2403.12313): means of B over one A are exact
};

/// Y = W0 X + s B A X,    forward keeps Z = A X (rank x tokens); backward, with P = s Bᵀ dY (rank x tokens):
///     dB += s dY Zᵀ,    dA += P Xᵀ,    dX = W0ᵀ dY + Aᵀ P
/// With LinearCache::dropout A reads X' in the place of X, as PEFT's lora_dropout has it, and its part of dX goes through the
/// same mask.
///
/// The gradient is that of B and then that of A, each row-major; with TrainedFactors::B_only it is that of B alone, and dA is
/// not computed. Views must outlive the layer.
template <Real S>
class LoraLinear final : public LinearLayer<S> {
 public:
  /// B: out x rank and A: rank x in, often in a flat buffer of parameters. Throws ErrorId::shape, rank, value.
  LoraLinear(FrozenWeight<S> W0 LORASB_LIFETIMEBOUND, ConstWeightView<S> B LORASB_LIFETIMEBOUND,
             ConstWeightView<S> A LORASB_LIFETIMEBOUND, S scale, std::string name = "layer",
             TrainedFactors trained = TrainedFactors::B_and_A)
      : LinearLayer<S>("LoraLinear", std::move(name), W0.rows(), W0.cols(),
                       B.size() + (trained == TrainedFactors::B_and_A ? A.size() : 0)),
        W0_(W0), B_(B), A_(A), scale_(scale), trains_A_(trained == TrainedFactors::B_and_A) {
    require(A.rows() >= 1, ErrorId::rank, "LoraLinear: rank is 0 (", this->name(), ")");
    require(is_finite(scale) && scale != 0, ErrorId::value, "LoraLinear: scale is ", scale, ", expected finite and not 0 (",
            this->name(), ")");
    require_shape(B, W0.rows(), A.rows(), "LoraLinear", "B", "rows of W0 x rows of A, ", this->name());
    require_shape(A, A.rows(), W0.cols(), "LoraLinear", "A", "columns of W0, ", this->name());
  }

 private:
  enum Slot : std::size_t { z, p, dropped, d_dropped };

  void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const override {
    MatrixView<S> Z = cache.buffer(z).reshape(A_.rows(), X.cols());
    linalg::multiply(A_, cache.dropout.input(X, cache.buffer(dropped)), Z);
    linalg::multiply(W0_, X, Y);
    linalg::multiply(B_, Z, Y, scale_, 1);
  }
  void run_backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache, const LayerGradient<S>& gradient,
                    const InputGradient<S>& dX) const override {
    MatrixView<S> P = cache.buffer(p).reshape(B_.cols(), dY.cols());
    if (dX.wanted() || (trains_A_ && gradient.wanted())) linalg::multiply(linalg::transposed(B_), dY, P, scale_);
    const ConstMatrixView<S> Z = std::as_const(cache.buffer(z)).view();
    const ConstMatrixView<S> input = cache.dropout.drops() ? std::as_const(cache.buffer(dropped)).view() : X;
    gradient.for_each(dY.cols(), [&](Index first, Index count, std::span<S> to) {
      WeightView<S> dB(to.data(), B_.rows(), B_.cols());  // dB += s dY Zᵀ
      linalg::multiply(dY.middleCols(first, count), linalg::transposed(Z.middleCols(first, count)), dB, scale_, 1);
      if (!trains_A_) return;
      WeightView<S> dA(to.data() + B_.size(), A_.rows(), A_.cols());  // dA += P Xᵀ
      linalg::multiply(P.middleCols(first, count), linalg::transposed(input.middleCols(first, count)), dA, 1, 1);
    });
    if (!dX.wanted()) return;
    linalg::multiply_transposed(W0_, dY, dX.view());
    detail::add_adapter_input_gradient<S>(A_, P, cache.dropout, cache.buffer(d_dropped), dX.view());
  }

  FrozenWeight<S> W0_;
  ConstWeightView<S> B_;
  ConstWeightView<S> A_;
  S scale_;
  bool trains_A_;
};

}  // namespace lorasb
