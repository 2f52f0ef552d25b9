// Multi-head attention over a packed batch, every sequence by itself: full or causal, with grouped heads.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

#include "lorasb/core/buffer.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/offsets.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::nn {

struct AttentionOptions {
  Index heads = 1;      // H, of the queries
  Index kv_heads = 0;   // of keys and values, a divisor of heads: H / kv_heads query heads share one; 0: as many as heads
  double scale = 0;     // of Kᵀ Q; 0: 1 / √(rows of a head)
  bool causal = false;  // a token sees itself and the tokens before it, not those after it
  Index window = 0;     // with causal: how many tokens it sees, itself included; 0: all

  /// Throws ErrorId::value.
  void validate() const {
    require(heads >= 1, ErrorId::value, "AttentionOptions: heads is ", heads, ", expected at least 1");
    require(kv_heads >= 0 && (kv_heads == 0 || heads % kv_heads == 0), ErrorId::value, "AttentionOptions: kv_heads is ",
            kv_heads, ", expected a divisor of heads, ", heads);
    require(is_finite(scale), ErrorId::value, "AttentionOptions: scale is ", scale, ", expected a finite number");
    require(window >= 0 && (window == 0 || causal), ErrorId::value, "AttentionOptions: window is ", window,
            causal ? ", expected at least 0" : ", expected 0 without causal");
  }
};

/// What forward keeps for backward. For a sequence of n tokens there are n x H n numbers, one sequence after the other: column
/// h n + j holds the weights that query j of head h gives to the n tokens.
template <Real S>
struct LORASB_OWNS_MEMORY AttentionCache {
  Buffer<S> P;   // Σ H n² numbers, written by forward
  Buffer<S> dP;  // n x n, of one head, for the length of one backward pass
};

namespace detail {

/// Sizes of one call, checked.
struct AttentionShape {
  Index heads, kv_heads, head_rows;
  double scale;
  bool causal;
  Index window;

  AttentionShape(const AttentionOptions& o, Index q_rows, Index kv_rows, std::string_view where)
      : heads(o.heads), kv_heads(o.kv_heads == 0 ? o.heads : o.kv_heads), causal(o.causal), window(o.window) {
    o.validate();
    require(q_rows % heads == 0, ErrorId::value, where, ": heads is ", heads, ", expected a divisor of the ", q_rows,
            " features");
    head_rows = q_rows / heads;
    require(kv_rows == head_rows * kv_heads, ErrorId::shape, where, ": K and V have ", kv_rows, " rows, expected ", kv_heads,
            " heads of ", head_rows);
    scale = o.scale != 0 ? o.scale : 1 / std::sqrt(double(std::max<Index>(head_rows, 1)));
  }
  Index kv_head(Index head) const { return head / (heads / kv_heads); }
  /// The tokens that token j of n sees: first_seen(j) to end_seen(j, n) - 1.
  Index first_seen(Index j) const { return window > 0 ? std::max<Index>(0, j - window + 1) : 0; }
  Index end_seen(Index j, Index n) const { return causal ? j + 1 : n; }
};

/// Rows of one head and columns of one sequence. V is a view or its const counterpart.
template <class V>
V head_block(V M, Index head, Index rows, Index first, Index count) {
  return {M.data() + head * rows + first * M.outerStride(), rows, count, M.outerStride()};
}

/// Each column p of P, heads of n columns, becomes exp(p - max p) / Σ exp(p - max p) over the tokens that are seen, 0 elsewhere.
/// P has no gaps between columns: exp runs over all of it at once.
template <Real S>
void softmax_seen(const AttentionShape& shape, Index n, MatrixView<S> P) {
  for (Index c = 0; c < P.cols(); ++c) {
    const Index first = shape.first_seen(c % n), end = shape.end_seen(c % n, n);
    P.col(c).segment(first, end - first).array() -= P.col(c).segment(first, end - first).maxCoeff();
    P.col(c).head(first).setZero();
    P.col(c).tail(n - end).setZero();
  }
  Eigen::Map<Vector<S>> all(P.data(), P.size());
  all.array() = all.array().exp();
  for (Index c = 0; c < P.cols(); ++c) {
    const Index first = shape.first_seen(c % n), end = shape.end_seen(c % n, n);
    P.col(c).head(first).setZero();
    P.col(c).tail(n - end).setZero();
    P.col(c) *= 1 / P.col(c).sum();
  }
}

inline Index probability_count(std::span<const Index> offsets, Index heads) {
  Index count = 0;
  for (std::size_t i = 1; i < offsets.size(); ++i)
    count += heads * (offsets[i] - offsets[i - 1]) * (offsets[i] - offsets[i - 1]);
  return count;
}

}  // namespace detail

/// For each sequence, and each head with its d rows of queries Q, keys K and values V, one column per token:
///
///     P = softmax(scale Kᵀ Q) by columns, over the tokens that are seen,    Y = V P
///
/// Q, Y: H d x tokens, K, V: kv_heads d x tokens, each a matrix of its own or some rows of a stacked one. Overwrites Y and the
/// cache. Offsets as in PackedBatch; a token sees its own sequence only, and a sequence without tokens does nothing. Throws
/// ErrorId::shape and ErrorId::value. Grouped heads: Ainslie et al., arXiv 2305.13245.
template <Real S>
void attention(ConstMatrixView<S> Q, ConstMatrixView<S> K, ConstMatrixView<S> V, std::span<const Index> offsets,
               const AttentionOptions& options, MatrixView<S> Y, AttentionCache<S>& cache) {
  const detail::AttentionShape shape(options, Q.rows(), K.rows(), "attention");
  require_shape(K, K.rows(), Q.cols(), "attention", "K", "columns of Q");
  require_shape(V, K.rows(), Q.cols(), "attention", "V", "the shape of K");
  require_shape(Y, Q.rows(), Q.cols(), "attention", "Y", "the shape of Q");
  require_offsets(offsets, Q.cols(), "attention");
  const Index d = shape.head_rows;
  S* next = cache.P.reshape(detail::probability_count(offsets, shape.heads), 1).data();
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const Index first = offsets[i], n = offsets[i + 1] - first;
    if (n == 0) continue;
    MatrixView<S> P(next, n, shape.heads * n);
    for (Index h = 0; h < shape.heads; ++h) {
      const ConstMatrixView<S> Qh = detail::head_block(Q, h, d, first, n);
      const ConstMatrixView<S> Kh = detail::head_block(K, shape.kv_head(h), d, first, n);
      linalg::multiply(linalg::transposed(Kh), Qh, P.middleCols(h * n, n), static_cast<S>(shape.scale));
    }
    detail::softmax_seen<S>(shape, n, P);
    for (Index h = 0; h < shape.heads; ++h) {
      const ConstMatrixView<S> Vh = detail::head_block(V, shape.kv_head(h), d, first, n);
      linalg::multiply(Vh, P.middleCols(h * n, n), detail::head_block(Y, h, d, first, n));
    }
    next += P.size();
  }
}

/// For each sequence and head, with p a column of P:
///
///     dV = dY Pᵀ,    dP = Vᵀ dY,    ds = p ∘ (dp - pᵀ dp),    dQ = scale K dS,    dK = scale Q dSᵀ
///
/// with dK and dV summed over the query heads that share them. Overwrites dQ, dK and dV, of the shapes of Q, K and V. Q, K, V,
/// offsets and options are those of forward.
template <Real S>
void attention_backward(ConstMatrixView<S> dY, ConstMatrixView<S> Q, ConstMatrixView<S> K, ConstMatrixView<S> V,
                        std::span<const Index> offsets, const AttentionOptions& options, AttentionCache<S>& cache,
                        MatrixView<S> dQ, MatrixView<S> dK, MatrixView<S> dV) {
  constexpr std::string_view where = "attention_backward";
  const detail::AttentionShape shape(options, Q.rows(), K.rows(), where);
  require_shape(dY, Q.rows(), Q.cols(), where, "dY", "the shape of Q");
  require_shape(K, K.rows(), Q.cols(), where, "K", "columns of Q");
  require_shape(V, K.rows(), Q.cols(), where, "V", "the shape of K");
  require_shape(dQ, Q.rows(), Q.cols(), where, "dQ", "the shape of Q");
  require_shape(dK, K.rows(), K.cols(), where, "dK", "the shape of K");
  require_shape(dV, V.rows(), V.cols(), where, "dV", "the shape of V");
  require_offsets(offsets, dY.cols(), where);
  require_shape(cache.P.view(), detail::probability_count(offsets, shape.heads), 1, where, "cache",
                "the forward pass of this batch");
  const Index d = shape.head_rows, group = shape.heads / shape.kv_heads;
  const S scale = static_cast<S>(shape.scale);
  const S* next = cache.P.view().data();
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const Index first = offsets[i], n = offsets[i + 1] - first;
    if (n == 0) continue;
    const ConstMatrixView<S> all(next, n, shape.heads * n);
    for (Index h = 0; h < shape.heads; ++h) {
      const Index kv = shape.kv_head(h);
      const S beta = h % group == 0 ? S(0) : S(1);  // the first head of a group overwrites, the others add
      const ConstMatrixView<S> P = all.middleCols(h * n, n);
      const ConstMatrixView<S> Qh = detail::head_block(Q, h, d, first, n);
      const ConstMatrixView<S> Kh = detail::head_block(K, kv, d, first, n);
      const ConstMatrixView<S> Vh = detail::head_block(V, kv, d, first, n);
      const ConstMatrixView<S> dYh = detail::head_block(dY, h, d, first, n);
      linalg::multiply(dYh, linalg::transposed(P), detail::head_block(dV, kv, d, first, n), 1, beta);
      MatrixView<S> dS = cache.dP.reshape(n, n);
      linalg::multiply(linalg::transposed(Vh), dYh, dS);  // dP
      for (Index j = 0; j < n; ++j) dS.col(j).array() = P.col(j).array() * (dS.col(j).array() - P.col(j).dot(dS.col(j)));
      linalg::multiply(Kh, dS, detail::head_block(dQ, h, d, first, n), scale);
      linalg::multiply(Qh, linalg::transposed(dS), detail::head_block(dK, kv, d, first, n), scale, beta);
    }
    next += all.size();
  }
}

}  // namespace lorasb::nn
