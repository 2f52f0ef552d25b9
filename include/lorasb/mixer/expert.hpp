// One expert of a mixture on the tokens that are routed to it: forward and backward, with gates.
#pragma once

#include <algorithm>
#include <span>
#include <utility>

#include "lorasb/core/layer_gradient.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/mixer/routing.hpp"

namespace lorasb::mixer {

/// What a layer knows of an expert: s B R A, of which R is trained (LoRA-SB, or a core over a basis that others share), or s B
/// A, of which both are (plain LoRA). Views of memory that outlives the layer.
template <Real S>
struct ExpertTensors {
  ConstWeightView<S> B;           // out x rank
  ConstWeightView<S> R;           // rank x rank; 0 x 0 for plain LoRA
  ConstWeightView<S> A;           // rank x in
  S scale = 1;                    // s
  bool trained = true;            // else frozen: no gradient
  std::span<const S> start = {};  // θ⁰ of a protected expert, as many numbers as size(); else empty

  bool has_core() const { return R.size() > 0; }
  Index rank() const { return A.rows(); }
  /// Numbers that can be trained.
  Index size() const { return has_core() ? R.size() : B.size() + A.size(); }
  bool shares_basis(const ExpertTensors& other) const {
    return has_core() && other.has_core() && B.data() == other.B.data() && A.data() == other.A.data() && scale == other.scale;
  }
  /// visit(i, number) for each number that can be trained, in the order of its gradient.
  template <class Visit>
  void for_each_value(const Visit& visit) const {
    Index i = 0;
    const auto all = [&](const ConstWeightView<S>& m) {
      for (Index row = 0; row < m.rows(); ++row)
        for (Index col = 0; col < m.cols(); ++col) visit(i++, m(row, col));
    };
    if (has_core()) return all(R);
    all(B);
    all(A);
  }
};

/// The columns of M named by `tokens`, one after the other, in `to`; M itself when that is all of them.
template <Real S>
ConstMatrixView<S> gather(ConstMatrixView<S> M, std::span<const Index> tokens, Buffer<S>& to) {
  if (std::ssize(tokens) == M.cols()) return M;
  MatrixView<S> gathered = to.reshape(M.rows(), std::ssize(tokens));
  for (Index i = 0; i < gathered.cols(); ++i)
    std::copy_n(M.data() + tokens[static_cast<std::size_t>(i)] * M.outerStride(), M.rows(), gathered.data() + i * M.rows());
  return std::as_const(to).view();
}
/// M[:, tokens] += columns
template <Real S>
void scatter_add(ConstMatrixView<S> columns, std::span<const Index> tokens, MatrixView<S> M) {
  for (Index i = 0; i < columns.cols(); ++i) M.col(tokens[static_cast<std::size_t>(i)]) += columns.col(i);
}
/// M diag(gates)
template <Real S>
void scale_columns(MatrixView<S> M, std::span<const S> gates) {
  for (Index i = 0; i < M.cols(); ++i) M.col(i) *= gates[static_cast<std::size_t>(i)];
}
/// result[:, tokens] += alpha left right, with a product of its own where `tokens` are not all columns of the result.
template <Real S, class Left>
void add_product(const Left& left, ConstMatrixView<S> right, S alpha, std::span<const Index> tokens, Buffer<S>& scratch,
                 MatrixView<S> result) {
  if (right.cols() == result.cols()) return linalg::multiply(left, right, result, alpha, 1);
  MatrixView<S> columns = scratch.reshape(left.rows(), right.cols());
  linalg::multiply(left, right, columns, alpha);
  scatter_add<S>(std::as_const(scratch).view(), tokens, result);
}

/// The tokens of expert e in a pass, and what their gradients need. `cache` is the expert's own; `work` is for the experts of a
/// layer, one after the other.
template <Real S>
struct ExpertPass {
  const ExpertTensors<S>& expert;
  Index all_tokens;  // of the batch
  std::span<const Index> tokens;
  std::span<const S> gates;
  std::span<S> dgates;
  LinearCache<S>& cache;
  LinearCache<S>& work;

  ExpertPass(const ExpertTensors<S>& tensors, const Routing<S>& routing, Index e, LinearCache<S>& own, LinearCache<S>& scratch)
      : expert(tensors),
        all_tokens(routing.tokens()),
        tokens(routing.tokens_of(e)),
        gates(routing.gates().data() + routing.first(e), tokens.size()),
        dgates(routing.dgates().data() + routing.first(e), tokens.size()),
        cache(own),
        work(scratch) {}

  enum Slot : std::size_t { x, z, p, h, q, columns, gathered };  // the first two are kept, the others are in `work`
  Index count() const { return std::ssize(tokens); }
  /// For dA += P Xᵀ.
  bool keeps_X() const { return expert.trained && !expert.has_core(); }

  /// Y[:, tokens] += s B R A X diag(g), keeps Z = A X; without R for plain LoRA.
  void add_forward(ConstMatrixView<S> X, MatrixView<S> Y) {
    const ConstMatrixView<S> Xe = gather(X, tokens, keeps_X() ? cache.buffer(x) : work.buffer(gathered));
    MatrixView<S> Z = cache.buffer(z).reshape(expert.rank(), count());
    linalg::multiply(expert.A, Xe, Z);
    const ConstMatrixView<S> H = gated_core(std::as_const(cache.buffer(z)).view(), work.buffer(h));
    add_product<S>(expert.B, H, expert.has_core() ? S(1) : expert.scale, tokens, work.buffer(columns), Y);
  }
  /// H[:, tokens] += s R Z diag(g), of experts that share A and B; Z: rank x all tokens. The first to take all tokens
  /// overwrites.
  void add_core_forward(ConstMatrixView<S> all_Z, MatrixView<S> all_H, bool overwrite) {
    const ConstMatrixView<S> Z = gather(all_Z, tokens, cache.buffer(z));
    if (overwrite) {
      linalg::multiply(expert.R, Z, all_H, expert.scale);
      return scale_columns<S>(all_H, gates);
    }
    scatter_add<S>(gated_core(Z, work.buffer(h)), tokens, all_H);
  }

  /// With P = s Bᵀ dY and Q = Rᵀ P of the tokens (Q = P for plain LoRA): dg_t += z_tᵀ q_t, then
  ///     dR += P diag(g) Zᵀ    or    dB += s dY diag(g) Zᵀ, dA += P diag(g) Xᵀ;        dX[:, tokens] += Aᵀ Q diag(g)
  void add_backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, const LayerGradient<S>& gradient, Index place,
                    const InputGradient<S>& dX) {
    const ConstMatrixView<S> dYe = gather(dY, tokens, work.buffer(gathered));
    const ConstMatrixView<S> Z = std::as_const(cache.buffer(z)).view();
    MatrixView<S> P = work.buffer(p).reshape(expert.rank(), count());
    linalg::multiply(linalg::transposed(expert.B), dYe, P, expert.scale);
    const ConstMatrixView<S> Q = gate_backward(Z, P);
    if (expert.trained && expert.has_core()) add_core_gradient(P, Z, gradient, place);
    if (keeps_X()) {
      const ConstMatrixView<S> Xe = count() == all_tokens ? X : std::as_const(cache.buffer(x)).view();
      MatrixView<S> gated_Z = work.buffer(h).reshape(expert.rank(), count());
      gated_Z = Z;
      scale_columns<S>(gated_Z, gates);
      for_each(gradient, place, [&](Index first, Index n, std::span<S> to) {
        WeightView<S> dB(to.data(), expert.B.rows(), expert.B.cols());
        linalg::multiply(dYe.middleCols(first, n), linalg::transposed(gated_Z.middleCols(first, n)), dB, expert.scale, 1);
        WeightView<S> dA(to.data() + expert.B.size(), expert.A.rows(), expert.A.cols());
        linalg::multiply(P.middleCols(first, n), linalg::transposed(Xe.middleCols(first, n)), dA, 1, 1);
      });
    }
    if (dX.wanted()) add_product<S>(linalg::transposed(expert.A), Q, 1, tokens, work.buffer(columns), dX.view());
  }
  /// The same of experts that share A and B: all_P = s Bᵀ dY of all tokens; all_Q[:, tokens] += Rᵀ P diag(g).
  void add_core_backward(ConstMatrixView<S> all_Z, ConstMatrixView<S> all_P, const LayerGradient<S>& gradient, Index place,
                         MatrixView<S> all_Q, bool overwrite) {
    const ConstMatrixView<S> Z = count() == all_tokens ? all_Z : std::as_const(cache.buffer(z)).view();
    MatrixView<S> P = work.buffer(p).reshape(expert.rank(), count());
    P = gather(all_P, tokens, work.buffer(gathered));
    const ConstMatrixView<S> Q = gate_backward(Z, P);
    if (expert.trained) add_core_gradient(P, Z, gradient, place);
    if (overwrite)
      all_Q = Q;
    else
      scatter_add<S>(Q, tokens, all_Q);
  }

 private:
  /// s R Z diag(g), or Z diag(g) for plain LoRA, in `to`.
  ConstMatrixView<S> gated_core(ConstMatrixView<S> Z, Buffer<S>& to) const {
    MatrixView<S> H = to.reshape(Z.rows(), Z.cols());
    if (expert.has_core())
      linalg::multiply(expert.R, Z, H, expert.scale);
    else
      H = Z;
    scale_columns<S>(H, gates);
    return H;
  }
  /// Adds dg, multiplies P by the gates, and returns Rᵀ P diag(g).
  ConstMatrixView<S> gate_backward(ConstMatrixView<S> Z, MatrixView<S> P) {
    MatrixView<S> Q = work.buffer(q).reshape(P.rows(), P.cols());
    if (expert.has_core())
      linalg::multiply(linalg::transposed(expert.R), P, Q);
    else
      Q = P;
    for (Index i = 0; i < Q.cols(); ++i) dgates[static_cast<std::size_t>(i)] += Z.col(i).dot(Q.col(i));
    scale_columns<S>(P, gates);
    scale_columns<S>(Q, gates);
    return std::as_const(work.buffer(q)).view();
  }
  void add_core_gradient(ConstMatrixView<S> P, ConstMatrixView<S> Z, const LayerGradient<S>& gradient, Index place) const {
    for_each(gradient, place, [&](Index first, Index n, std::span<S> to) {
      linalg::multiply(P.middleCols(first, n), linalg::transposed(Z.middleCols(first, n)),
                       WeightView<S>(to.data(), expert.rank(), expert.rank()), 1, 1);
    });
  }
  /// add(first, n, numbers of this expert) for the columns of the batch or of each example that are among the tokens: entries
  /// first to first + n - 1. The expert's numbers begin at `place` of the layer's.
  template <class Add>
  void for_each(const LayerGradient<S>& gradient, Index place, const Add& add) const {
    gradient.for_each(all_tokens, [&](Index first, Index n, std::span<S> to) {
      const auto begin = std::lower_bound(tokens.begin(), tokens.end(), first);
      const auto end = std::lower_bound(begin, tokens.end(), first + n);
      if (begin != end)
        add(begin - tokens.begin(), end - begin,
            to.subspan(static_cast<std::size_t>(place), static_cast<std::size_t>(expert.size())));
    });
  }
};

}  // namespace lorasb::mixer
