// A frozen linear layer with a low-rank adapter, of which only the core R is trained.
#pragma once

#include <string>
#include <utility>

#include "lorasb/adapter/input_gradient.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/borrowed.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb {

/// Y = W0 X + s B R A X              X: in x tokens, Y: out x tokens (LoRA-SB, arXiv 2411.19557, section 3)
/// forward keeps      Z = A X        rank x tokens
/// backward, with     P = s Bᵀ dY    rank x tokens:
///     dR += P Zᵀ,    dX = W0ᵀ dY + Aᵀ Rᵀ P
/// With LinearCache::dropout A reads X' in the place of X, and its part of dX goes through the same mask.
///
/// W0 may be stored narrower than S; everything else, and every sum, is S. The layer views W0, B, A, s and R and owns nothing:
/// it reads R as the optimizer leaves it. Everything that it views must outlive it. The gradient is dR, rank² numbers,
/// row-major; the gradient of an example needs only its columns of P and Z, so gradients per example take no further pass.
///
///     AdaptedLinear<float> layer(W0, adapter);
///     LinearCache<float> cache;
///     const ForwardPass<float> pass = layer.forward(X, Y, cache);
///     layer.backward(pass, dY, cache, dR, dX);
template <Real S>
class AdaptedLinear final : public LinearLayer<S> {
 public:
  /// R is read in the adapter, whatever matrix it holds at the time of a pass. `name` is only for messages. Throws
  /// ErrorId::shape when W0 and the adapter disagree, and what LowRankAdapter::validate_shapes throws.
  AdaptedLinear(FrozenWeight<S> W0 LORASB_LIFETIMEBOUND, Borrowed<LowRankAdapter<S>> adapter LORASB_LIFETIMEBOUND,
                std::string name = "layer")
      : LinearLayer<S>("AdaptedLinear", std::move(name), W0.rows(), W0.cols(), adapter->R.size()),
        W0_(W0), B_(&adapter->B), A_(&adapter->A), scale_(&adapter->scale), own_R_(&adapter->R), rank_(adapter->rank()),
        R_(nullptr, 0, 0) {
    adapter->validate_shapes(this->name());
    check_weight();
  }

  /// R is read where `R` looks, rank x rank: in the trainer's Parameters. Throws ErrorId::shape, and what
  /// AdapterBasis::validate_shapes throws.
  AdaptedLinear(FrozenWeight<S> W0 LORASB_LIFETIMEBOUND, Borrowed<AdapterBasis<S>> basis LORASB_LIFETIMEBOUND,
                ConstWeightView<S> R LORASB_LIFETIMEBOUND, std::string name = "layer")
      : LinearLayer<S>("AdaptedLinear", std::move(name), W0.rows(), W0.cols(), R.size()),
        W0_(W0), B_(&basis->B), A_(&basis->A), scale_(&basis->scale), rank_(basis->rank()), R_(R) {
    basis->validate_shapes(this->name());
    require_shape(R, rank_, rank_, "AdaptedLinear", "R", this->name());
    check_weight();
  }

  Index rank() const { return rank_; }

 private:
  enum Slot : std::size_t { z, p, scratch, dropped };

  void check_weight() const {
    require_shape(W0_, B_->rows(), A_->cols(), "AdaptedLinear", "W0", this->name(), ": rows of B, columns of A");
  }
  /// R as it is now. An adapter that was moved away or given matrices of another shape is an error, not a dangling view.
  ConstWeightView<S> core() const {
    const bool good = B_->rows() == this->out_features() && B_->cols() == rank_ && A_->rows() == rank_ &&
                      A_->cols() == this->in_features() &&
                      (own_R_ == nullptr || (own_R_->rows() == rank_ && own_R_->cols() == rank_));
    require(good, ErrorId::shape, "AdaptedLinear: the adapter of ", "\"", this->name(),
            "\" has other shapes than when the layer was made: was it moved, or given another matrix?");
    return own_R_ == nullptr ? R_ : ConstWeightView<S>(*own_R_);
  }

  void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const override {
    const ConstWeightView<S> R = core();
    MatrixView<S> Z = cache.buffer(z).reshape(rank_, X.cols());
    MatrixView<S> RZ = cache.buffer(scratch).reshape(rank_, X.cols());  // s R Z
    linalg::multiply(*A_, cache.dropout.input(X, cache.buffer(dropped)), Z);
    linalg::multiply(R, Z, RZ, *scale_);
    linalg::multiply(W0_, X, Y);
    linalg::multiply(*B_, RZ, Y, 1, 1);
  }

  void run_backward(ConstMatrixView<S> /*X*/, ConstMatrixView<S> dY, LinearCache<S>& cache, const LayerGradient<S>& gradient,
                    const InputGradient<S>& dX) const override {
    if (!gradient.wanted() && !dX.wanted()) return;
    const ConstWeightView<S> R = core();
    MatrixView<S> P = cache.buffer(p).reshape(rank_, dY.cols());
    linalg::multiply(linalg::transposed(*B_), dY, P, *scale_);
    const ConstMatrixView<S> Z = std::as_const(cache.buffer(z)).view();
    gradient.for_each(dY.cols(), [&](Index first, Index count, std::span<S> dR) {  // dR += P Zᵀ
      linalg::multiply(P.middleCols(first, count), linalg::transposed(Z.middleCols(first, count)),
                       WeightView<S>(dR.data(), rank_, rank_), 1, 1);
    });
    if (!dX.wanted()) return;
    MatrixView<S> RtP = cache.buffer(scratch).reshape(rank_, dY.cols());
    linalg::multiply(linalg::transposed(R), P, RtP);
    linalg::multiply_transposed(W0_, dY, dX.view());
    detail::add_adapter_input_gradient<S>(*A_, RtP, cache.dropout, cache.buffer(dropped), dX.view());
  }

  FrozenWeight<S> W0_;
  const Weight<S>* B_;
  const Weight<S>* A_;
  const S* scale_;
  const Weight<S>* own_R_ = nullptr;  // in the adapter; null: R_
  Index rank_;
  ConstWeightView<S> R_;
};

}  // namespace lorasb
