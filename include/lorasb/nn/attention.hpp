// Multi-head self-attention over a packed batch, every sequence by itself.
#pragma once

#include <span>
#include <string_view>

#include "lorasb/core/buffer.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/nn/packed_batch.hpp"

namespace lorasb::nn {

/// What forward keeps for backward. For a sequence of n tokens and H heads there are n x H n numbers, one sequence after the
/// other: column h n + j holds the weights with which query j of head h takes the n tokens.
template <Real S>
struct AttentionCache {
  Buffer<S> P;   // Σ H n² numbers, written by forward
  Buffer<S> dP;  // n x n, of one head, for the length of one backward pass
};

namespace detail {

/// Rows of one head in one of the three parts of QKV (0 queries, 1 keys, 2 values) and columns of one sequence. V is a view or
/// its const counterpart.
template <class V>
V attention_block(V M, Index part, Index heads, Index head, Index first, Index count) {
  const Index d = M.rows() / 3, size = d / heads;
  return M.block(part * d + head * size, first, size, count);
}

/// Each column p of P becomes exp(p - max p) / Σ exp(p - max p). P has no gaps between columns: exp runs over all of it at
/// once.
template <Real S>
void softmax_columns(MatrixView<S> P) {
  for (Index j = 0; j < P.cols(); ++j) P.col(j).array() -= P.col(j).maxCoeff();
  Eigen::Map<Vector<S>> all(P.data(), P.size());
  all.array() = all.array().exp();
  for (Index j = 0; j < P.cols(); ++j) P.col(j) *= 1 / P.col(j).sum();
}

inline Index probability_count(std::span<const Index> offsets, Index heads) {
  Index count = 0;
  for (std::size_t i = 1; i < offsets.size(); ++i)
    count += heads * (offsets[i] - offsets[i - 1]) * (offsets[i] - offsets[i - 1]);
  return count;
}

inline void require_heads(Index features, Index heads, std::string_view where) {
  require(heads >= 1 && features % heads == 0, ErrorId::value, where, ": heads is ", heads, ", expected a divisor of the ",
          features, " features");
}

}  // namespace detail

/// For each sequence, and each head with its d / H rows of queries Q, keys K and values V, one column per token:
///
///     P = softmax(scale Kᵀ Q) by columns,    Y = V P
///
/// QKV: 3 d x tokens (all of Q, then K, then V), Y: d x tokens. Overwrites Y and the cache. `scale` is 1 / √(d / H) in most
/// models. Offsets as in PackedBatch; a token sees its own sequence only, and a sequence without tokens does nothing.
template <Real S>
void self_attention(ConstMatrixView<S> QKV, std::span<const Index> offsets, Index heads, double scale, MatrixView<S> Y,
                    AttentionCache<S>& cache) {
  require_shape(QKV, 3 * Y.rows(), Y.cols(), "self_attention", "QKV", "three times the rows of Y");
  detail::require_heads(Y.rows(), heads, "self_attention");
  require_offsets(offsets, Y.cols(), "self_attention");
  const Index size = Y.rows() / heads;
  S* next = cache.P.reshape(detail::probability_count(offsets, heads), 1).data();
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const Index first = offsets[i], n = offsets[i + 1] - first;
    if (n == 0) continue;
    MatrixView<S> P(next, n, heads * n);
    for (Index h = 0; h < heads; ++h) {
      const ConstMatrixView<S> Q = detail::attention_block(QKV, 0, heads, h, first, n);
      const ConstMatrixView<S> K = detail::attention_block(QKV, 1, heads, h, first, n);
      linalg::multiply(linalg::transposed(K), Q, P.middleCols(h * n, n), static_cast<S>(scale));
    }
    detail::softmax_columns(P);
    for (Index h = 0; h < heads; ++h) {
      const ConstMatrixView<S> V = detail::attention_block(QKV, 2, heads, h, first, n);
      linalg::multiply(V, P.middleCols(h * n, n), Y.block(h * size, first, size, n));
    }
    next += P.size();
  }
}

/// For each sequence and head, with p a column of P:
///
///     dV = dY Pᵀ,    dP = Vᵀ dY,    ds = p ∘ (dp - pᵀ dp),    dQ = scale K dS,    dK = scale Q dSᵀ
///
/// Overwrites dQKV, 3 d x tokens. QKV, offsets, heads and scale are those of forward.
template <Real S>
void self_attention_backward(ConstMatrixView<S> dY, ConstMatrixView<S> QKV, std::span<const Index> offsets, Index heads,
                             double scale, AttentionCache<S>& cache, MatrixView<S> dQKV) {
  constexpr std::string_view where = "self_attention_backward";
  require_shape(QKV, 3 * dY.rows(), dY.cols(), where, "QKV", "three times the rows of dY");
  require_shape(dQKV, QKV.rows(), QKV.cols(), where, "dQKV", "the shape of QKV");
  detail::require_heads(dY.rows(), heads, where);
  require_offsets(offsets, dY.cols(), where);
  require_shape(cache.P.view(), detail::probability_count(offsets, heads), 1, where, "cache", "the forward pass of this batch");
  const Index size = dY.rows() / heads;
  const S* next = cache.P.view().data();
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const Index first = offsets[i], n = offsets[i + 1] - first;
    if (n == 0) continue;
    const ConstMatrixView<S> all(next, n, heads * n);
    for (Index h = 0; h < heads; ++h) {
      const ConstMatrixView<S> P = all.middleCols(h * n, n);
      const ConstMatrixView<S> Q = detail::attention_block(QKV, 0, heads, h, first, n);
      const ConstMatrixView<S> K = detail::attention_block(QKV, 1, heads, h, first, n);
      const ConstMatrixView<S> V = detail::attention_block(QKV, 2, heads, h, first, n);
      const ConstMatrixView<S> dO = dY.block(h * size, first, size, n);
      linalg::multiply(dO, linalg::transposed(P), detail::attention_block(dQKV, 2, heads, h, first, n));
      MatrixView<S> dS = cache.dP.reshape(n, n);
      linalg::multiply(linalg::transposed(V), dO, dS);  // dP
      for (Index j = 0; j < n; ++j) dS.col(j).array() = P.col(j).array() * (dS.col(j).array() - P.col(j).dot(dS.col(j)));
      linalg::multiply(K, dS, detail::attention_block(dQKV, 0, heads, h, first, n), static_cast<S>(scale));
      linalg::multiply(Q, linalg::transposed(dS), detail::attention_block(dQKV, 1, heads, h, first, n), static_cast<S>(scale));
    }
    next += all.size();
  }
}

}  // namespace lorasb::nn
