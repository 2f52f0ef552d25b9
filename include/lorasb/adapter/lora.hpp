// Plain LoRA, beside which LoRA-SB is measured: both factors are trained, or B alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "lorasb/core/check.hpp"
#include "lorasb/core/linear_layer.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb {

/// s B A, added to a frozen weight W0 (Hu et al., arXiv 2106.09685), with s = alpha / rank.
template <Real S>
struct LoraAdapter {
  Weight<S> B;  // out x rank
  Weight<S> A;  // rank x in
  S scale = 1;  // s

  Index rank() const { return A.rows(); }
  Index trainable() const { return B.size() + A.size(); }
};

struct LoraOptions {
  Index rank = 16;
  double alpha = 16;  // s = alpha / rank
  std::uint64_t seed = 0;

  /// Throws ErrorId::value. The rank is checked against the weight by initialize_lora().
  void validate() const {
    require(std::isfinite(alpha) && alpha != 0, ErrorId::value, "LoraOptions: alpha is ", alpha, ", expected finite and not 0");
  }
};

/// B = 0 and A uniform on ±1/√in, as in PEFT (kaiming_uniform_ with a = √5), so that the model starts at W0.
/// Throws ErrorId::rank and ErrorId::value.
template <Real S>
LoraAdapter<S> initialize_lora(Index out_features, Index in_features, LoraOptions options) {
  options.validate();
  require(options.rank >= 1 && options.rank <= std::min(out_features, in_features), ErrorId::rank, "initialize_lora: rank is ",
          options.rank, ", expected 1 to min(out, in) = ", std::min(out_features, in_features));
  LoraAdapter<S> lora{.B = Weight<S>::Zero(out_features, options.rank),
                      .A = Weight<S>(options.rank, in_features),
                      .scale = S(options.alpha / double(options.rank))};
  Random random(options.seed);
  const double bound = 1 / std::sqrt(double(in_features));
  for (S& a : flat(lora.A)) a = S(bound * (2 * random.uniform() - 1));
  return lora;
}

/// Which factors of plain LoRA a layer has gradients for.
enum class TrainedFactors {
  B_and_A,
  B_only,  // A stays as it was drawn (FFA-LoRA, Sun et al., arXiv 2403.12313): means of B over one A are exact
};

/// Y = W0 X + s B A X,    forward keeps Z = A X (rank x tokens); backward, with P = s Bᵀ dY (rank x tokens):
///     dB += s dY Zᵀ,    dA += P Xᵀ,    dX = W0ᵀ dY + Aᵀ P
/// The gradient is B's numbers and then A's, each row-major; of a layer with TrainedFactors::B_only it is B's alone, and dA is
/// not computed. Views must outlive the layer.
template <Real S>
class LoraLinear final : public LinearLayer<S> {
 public:
  /// B: out x rank and A: rank x in, often in a flat buffer of parameters. Throws ErrorId::shape, rank, value.
  LoraLinear(FrozenWeight<S> W0, ConstWeightView<S> B, ConstWeightView<S> A, S scale, std::string name = "layer",
             TrainedFactors trained = TrainedFactors::B_and_A)
      : W0_(W0), B_(B), A_(A), scale_(scale), name_(std::move(name)), trains_A_(trained == TrainedFactors::B_and_A) {
    require(A.rows() >= 1, ErrorId::rank, "LoraLinear: rank is 0 (", name_, ")");
    require(std::isfinite(scale) && scale != 0, ErrorId::value, "LoraLinear: scale is ", scale, ", expected finite and not 0 (",
            name_, ")");
    require_shape(B, W0.rows(), A.rows(), "LoraLinear", "B", "rows of W0 x rows of A, ", name_);
    require_shape(A, A.rows(), W0.cols(), "LoraLinear", "A", "columns of W0, ", name_);
  }
  // the layer would outlive its weight
  template <class D>
  LoraLinear(Eigen::PlainObjectBase<D>&&, ConstWeightView<S>, ConstWeightView<S>, S, std::string = {},
             TrainedFactors = TrainedFactors::B_and_A) = delete;

  Index out_features() const override { return W0_.rows(); }
  Index in_features() const override { return W0_.cols(); }
  Index trainable() const override { return B_.size() + (trains_A_ ? A_.size() : 0); }

  void forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const override {
    require_rows(X, in_features(), "LoraLinear::forward", "X", "in_features of \"", name_, "\"");
    require_shape(Y, out_features(), X.cols(), "LoraLinear::forward", "Y", "out_features of \"", name_, "\" x tokens");
    MatrixView<S> Z = cache.Z.reshape(A_.rows(), X.cols());
    linalg::multiply(A_, X, Z);
    linalg::multiply(W0_, X, Y);
    linalg::multiply(B_, Z, Y, scale_, 1);
  }
  void backward_parameters(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache,
                           std::span<S> gradient) const override {
    add_dB(dY, cache, gradient);
    if (trains_A_) add_dA(X, project(dY, cache), gradient);
  }
  void backward_input(ConstMatrixView<S> dY, LinearCache<S>& cache, MatrixView<S> dX) const override {
    backward_input_from(dY, project(dY, cache), dX);
  }
  void backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache, std::span<S> gradient,
                MatrixView<S> dX) const override {
    const ConstMatrixView<S> P = project(dY, cache);
    add_dB(dY, cache, gradient);
    if (trains_A_) add_dA(X, P, gradient);
    backward_input_from(dY, P, dX);
  }

 private:
  void require_forward(ConstMatrixView<S> dY, const LinearCache<S>& cache) const {
    require(cache.Z.rows() == B_.cols(), ErrorId::shape, "LoraLinear::backward: the cache holds no forward pass of \"", name_,
            "\"");
    require_shape(dY, out_features(), cache.Z.cols(), "LoraLinear::backward", "dY",
                  "out_features x tokens of the last forward");
  }
  /// P = s Bᵀ dY, in the cache.
  ConstMatrixView<S> project(ConstMatrixView<S> dY, LinearCache<S>& cache) const {
    require_forward(dY, cache);
    MatrixView<S> P = cache.P.reshape(B_.cols(), dY.cols());
    linalg::multiply(linalg::transposed(B_), dY, P, scale_);
    return P;
  }
  void add_dB(ConstMatrixView<S> dY, const LinearCache<S>& cache, std::span<S> gradient) const {
    require_forward(dY, cache);
    require(static_cast<Index>(gradient.size()) == trainable(), ErrorId::shape, "LoraLinear::backward: gradient has ",
            gradient.size(), " numbers, expected ", trainable(), trains_A_ ? " (B and A of \"" : " (B of \"", name_, "\")");
    WeightView<S> dB(gradient.data(), B_.rows(), B_.cols());
    linalg::multiply(dY, linalg::transposed(cache.Z.view()), dB, scale_, 1);
  }
  void add_dA(ConstMatrixView<S> X, ConstMatrixView<S> P, std::span<S> gradient) const {
    WeightView<S> dA(gradient.data() + B_.size(), A_.rows(), A_.cols());
    linalg::multiply(P, linalg::transposed(X), dA, 1, 1);
  }
  void backward_input_from(ConstMatrixView<S> dY, ConstMatrixView<S> P, MatrixView<S> dX) const {
    require_shape(dX, in_features(), dY.cols(), "LoraLinear::backward", "dX", "in_features of \"", name_, "\" x tokens");
    linalg::multiply_transposed(W0_, dY, dX);
    linalg::multiply(linalg::transposed(A_), P, dX, 1, 1);
  }

  FrozenWeight<S> W0_;
  ConstWeightView<S> B_;
  ConstWeightView<S> A_;
  S scale_;
  std::string name_;
  bool trains_A_;
};

}  // namespace lorasb
