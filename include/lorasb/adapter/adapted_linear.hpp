// A frozen linear layer with a low-rank adapter, of which only the core R is trained.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/linear_layer.hpp"
#include "lorasb/linalg/weight_product.hpp"

namespace lorasb {

/// Y = W0 X + s B R A X              X: in x tokens, Y: out x tokens (LoRA-SB, arXiv 2411.19557, section 3)
/// forward keeps      Z = A X        rank x tokens
/// backward, with     P = s Bᵀ dY    rank x tokens:
///     dR += P Zᵀ,    dX = W0ᵀ dY + Aᵀ Rᵀ P
///
/// W0 may be bfloat16; everything else, and every sum, is S. The layer views W0 and the adapter and owns nothing that a pass
/// changes; it sees R as the optimizer leaves it. Everything that it views must outlive it.
///
///     AdaptedLinear<float> layer(W0, adapter);
///     LinearCache<float> cache;
///     layer.forward(X, Y, cache);
///     layer.backward_parameters(dY, cache, dR);
///     layer.backward_input(dY, cache, dX);
template <Real S>
class AdaptedLinear final : public LinearLayer<S> {
 public:
  /// `name` is only for messages. Throws ErrorId::shape when W0 and the adapter disagree, and what
  /// LowRankAdapter::validate_shapes throws.
  AdaptedLinear(FrozenWeight<S> W0, const LowRankAdapter<S>& adapter, std::string name = "layer")
      : AdaptedLinear(W0, adapter, adapter.R, std::move(name)) {}

  /// The same with R elsewhere, in a flat buffer of parameters or a client of its own; of adapter.R only the shape counts.
  AdaptedLinear(FrozenWeight<S> W0, const LowRankAdapter<S>& adapter, ConstWeightView<S> R, std::string name = "layer")
      : W0_(W0), B_(adapter.B), R_(R), A_(adapter.A), scale_(adapter.scale), name_(std::move(name)) {
    adapter.validate_shapes(name_);
    require_shape(R, adapter.rank(), adapter.rank(), "AdaptedLinear", "R", name_);
    require_shape(W0, B_.rows(), A_.cols(), "AdaptedLinear", "W0", name_, ": rows of B, columns of A");
  }
  // the layer would outlive its weight or its adapter
  template <class D>
  AdaptedLinear(Eigen::PlainObjectBase<D>&&, const LowRankAdapter<S>&, std::string = {}) = delete;
  template <class D>
  AdaptedLinear(Eigen::PlainObjectBase<D>&&, const LowRankAdapter<S>&, ConstWeightView<S>, std::string = {}) = delete;
  AdaptedLinear(FrozenWeight<S>, LowRankAdapter<S>&&, std::string = {}) = delete;
  AdaptedLinear(FrozenWeight<S>, LowRankAdapter<S>&&, ConstWeightView<S>, std::string = {}) = delete;

  Index out_features() const override { return W0_.rows(); }
  Index in_features() const override { return W0_.cols(); }
  Index rank() const { return R_.rows(); }
  Index trainable() const override { return R_.size(); }

  /// Overwrites Y (out x tokens) and the cache.
  void forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const override {
    require_rows(X, in_features(), "AdaptedLinear::forward", "X", "in_features of \"", name_, "\"");
    require_shape(Y, out_features(), X.cols(), "AdaptedLinear::forward", "Y", "out_features of \"", name_, "\" x tokens");
    MatrixView<S> Z = cache.Z.reshape(rank(), X.cols());
    MatrixView<S> core = cache.scratch.reshape(rank(), X.cols());  // s R Z
    linalg::multiply(A_, X, Z);
    linalg::multiply(R_, Z, core, scale_);
    linalg::multiply(W0_, X, Y);
    linalg::multiply(B_, core, Y, 1, 1);
  }

  /// Adds to dR (rank x rank).
  void backward_parameters(ConstMatrixView<S> dY, LinearCache<S>& cache, WeightView<S> dR) const {
    require_shape(dR, rank(), rank(), "AdaptedLinear::backward_parameters", "dR", name_);
    add_core_gradient(project(dY, cache, "AdaptedLinear::backward_parameters"), cache.Z.view(), dR);
  }

  /// Adds the gradient of each example to its column of dR (rank² x examples, each column a row-major rank x rank matrix).
  /// Example i owns the columns offsets[i] to offsets[i + 1] - 1 of X; the columns of dR sum to what backward_parameters adds.
  void backward_parameters_per_example(ConstMatrixView<S> dY, LinearCache<S>& cache, std::span<const Index> offsets,
                                       MatrixView<S> dR) const {
    constexpr std::string_view where = "AdaptedLinear::backward_parameters_per_example";
    require(!offsets.empty() && offsets.front() == 0 && offsets.back() == dY.cols() &&
                std::is_sorted(offsets.begin(), offsets.end()),
            ErrorId::shape, where, ": offsets must rise from 0 to the ", dY.cols(), " columns of dY (\"", name_, "\")");
    const Index examples = static_cast<Index>(offsets.size()) - 1;
    require_shape(dR, rank() * rank(), examples, where, "dR", "rank² x examples");
    const ConstMatrixView<S> P = project(dY, cache, where);
    const ConstMatrixView<S> Z = std::as_const(cache.Z).view();
    for (Index i = 0; i < examples; ++i) {
      const Index first = offsets[static_cast<std::size_t>(i)];
      const Index tokens = offsets[static_cast<std::size_t>(i) + 1] - first;
      add_core_gradient(P.middleCols(first, tokens), Z.middleCols(first, tokens),
                        WeightView<S>(dR.col(i).data(), rank(), rank()));
    }
  }

  /// Overwrites dX (in x tokens).
  void backward_input(ConstMatrixView<S> dY, LinearCache<S>& cache, MatrixView<S> dX) const override {
    backward_input_from(dY, project(dY, cache, "AdaptedLinear::backward_input"), cache, dX);
  }

  /// As backward_parameters and backward_input, with P computed once. dR is rank² numbers, row-major; X is not needed.
  void backward(ConstMatrixView<S> /*X*/, ConstMatrixView<S> dY, LinearCache<S>& cache, std::span<S> dR,
                MatrixView<S> dX) const override {
    backward_parameters(dY, cache, as_core(dR));
    backward_input_from(dY, cache.P.view(), cache, dX);
  }
  void backward_parameters(ConstMatrixView<S> /*X*/, ConstMatrixView<S> dY, LinearCache<S>& cache,
                           std::span<S> dR) const override {
    backward_parameters(dY, cache, as_core(dR));
  }
  void backward_per_example(ConstMatrixView<S> /*X*/, ConstMatrixView<S> dY, LinearCache<S>& cache,
                            std::span<const Index> offsets, MatrixView<S> dR, MatrixView<S> dX) const override {
    backward_parameters_per_example(dY, cache, offsets, dR);
    if (dX.cols() > 0) backward_input_from(dY, cache.P.view(), cache, dX);
  }

 private:
  WeightView<S> as_core(std::span<S> dR) const {
    require(static_cast<Index>(dR.size()) == trainable(), ErrorId::shape, "AdaptedLinear::backward: gradient has ", dR.size(),
            " numbers, expected ", trainable(), " (rank² of \"", name_, "\")");
    return {dR.data(), rank(), rank()};
  }

  /// dR += P Zᵀ
  static void add_core_gradient(ConstMatrixView<S> P, ConstMatrixView<S> Z, WeightView<S> dR) {
    linalg::multiply(P, linalg::transposed(Z), dR, 1, 1);
  }

  /// P = s Bᵀ dY, in the cache.
  ConstMatrixView<S> project(ConstMatrixView<S> dY, LinearCache<S>& cache, std::string_view where) const {
    require(cache.Z.rows() == rank(), ErrorId::shape, where, ": the cache holds no forward pass of \"", name_, "\"");
    require_shape(dY, out_features(), cache.Z.cols(), where, "dY", "out_features x tokens of the last forward");
    MatrixView<S> P = cache.P.reshape(rank(), dY.cols());
    linalg::multiply(linalg::transposed(B_), dY, P, scale_);
    return P;
  }

  void backward_input_from(ConstMatrixView<S> dY, ConstMatrixView<S> P, LinearCache<S>& cache, MatrixView<S> dX) const {
    require_shape(dX, in_features(), dY.cols(), "AdaptedLinear::backward_input", "dX", "in_features of \"", name_, "\"");
    MatrixView<S> RtP = cache.scratch.reshape(rank(), dY.cols());
    linalg::multiply(linalg::transposed(R_), P, RtP);
    linalg::multiply_transposed(W0_, dY, dX);
    linalg::multiply(linalg::transposed(A_), RtP, dX, 1, 1);
  }

  FrozenWeight<S> W0_;
  ConstWeightView<S> B_;
  ConstWeightView<S> R_;
  ConstWeightView<S> A_;
  S scale_;
  std::string name_;
};

}  // namespace lorasb
