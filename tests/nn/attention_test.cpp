#include "lorasb/nn/attention.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;
using Offsets = std::vector<Index>;

namespace {

/// Of a stacked [Q; K; V] with as many rows each.
template <Real S>
void stacked_attention(ConstMatrixView<S> QKV, std::span<const Index> offsets, const nn::AttentionOptions& options, MatrixView<S> Y,
                       nn::AttentionCache<S>& cache) {
  const Index d = QKV.rows() / 3;
  nn::attention<S>(QKV.topRows(d), QKV.middleRows(d, d), QKV.bottomRows(d), offsets, options, Y, cache);
}
template <Real S>
void stacked_attention_backward(ConstMatrixView<S> dY, ConstMatrixView<S> QKV, std::span<const Index> offsets,
                                const nn::AttentionOptions& options, nn::AttentionCache<S>& cache, MatrixView<S> dQKV) {
  const Index d = QKV.rows() / 3, e = dQKV.rows() / 3;
  nn::attention_backward<S>(dY, QKV.topRows(d), QKV.middleRows(d, d), QKV.bottomRows(d), offsets, options, cache,
                            dQKV.topRows(e), dQKV.middleRows(e, e), dQKV.bottomRows(e));
}

/// One column after the other, by the formula.
Matrix<double> plain_attention(const Matrix<double>& Q, const Matrix<double>& K, const Matrix<double>& V, const Offsets& offsets,
                               const nn::AttentionOptions& o) {
  const Index kv_heads = o.kv_heads == 0 ? o.heads : o.kv_heads, d = Q.rows() / o.heads;
  Matrix<double> Y = Matrix<double>::Zero(Q.rows(), Q.cols());
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
    for (Index j = offsets[s]; j < offsets[s + 1]; ++j)
      for (Index h = 0; h < o.heads; ++h) {
        const Index g = h / (o.heads / kv_heads);
        double sum = 0;
        Vector<double> mixed = Vector<double>::Zero(d);
        for (Index i = offsets[s]; i < offsets[s + 1]; ++i) {
          if (o.causal && (i > j || (o.window > 0 && i + o.window <= j))) continue;
          const double weight = std::exp(o.scale * K.col(i).segment(g * d, d).dot(Q.col(j).segment(h * d, d)));
          sum += weight;
          mixed += weight * V.col(i).segment(g * d, d);
        }
        Y.col(j).segment(h * d, d) = mixed / sum;
      }
  return Y;
}

}  // namespace

TEMPLATE_TEST_CASE("Attention over a packed batch is torch's over a padded and masked one, gradients too", "", float, double) {
  using S = TestType;
  const Strided<Matrix<S>> QKV(test::golden_matrix<S>("attention.QKV")), dY(test::golden_matrix<S>("attention.dY"));
  Strided<Matrix<S>> Y(6, 9), dQKV(18, 9);
  nn::AttentionCache<S> cache;
  stacked_attention<S>(QKV.view(), test::golden_offsets(), {.heads = 2}, Y.view(), cache);
  stacked_attention_backward<S>(dY.view(), QKV.view(), test::golden_offsets(), {.heads = 2}, cache, dQKV.view());
  CHECK(test::relative_error(Y.inner(), test::golden_matrix<S>("attention.Y")) <= test::Tolerance<S>::chain);
  CHECK(test::relative_error(dQKV.inner(), test::golden_matrix<S>("attention.dQKV")) <= test::Tolerance<S>::chain);
  CHECK(Y.surroundings_untouched());
  CHECK(dQKV.surroundings_untouched());
}

TEST_CASE("The gradients of attention agree with central differences") {
  for (const Index heads : {1, 2, 4}) {
    const Offsets offsets{0, 4, 4, 5, 7};
    Matrix<double> QKV = test::random_matrix<Matrix<double>>(12, 7, 1), Y(4, 7), dQKV(12, 7);
    const Matrix<double> dY = test::random_matrix<Matrix<double>>(4, 7, 2);
    nn::AttentionCache<double> cache;
    const auto loss = [&] {
      stacked_attention<double>(QKV, offsets, {.heads = heads, .scale = 0.7}, Y, cache);
      return Y.cwiseProduct(dY).sum();
    };
    loss();
    stacked_attention_backward<double>(dY, QKV, offsets, {.heads = heads, .scale = 0.7}, cache, dQKV);
    CHECK(test::gradient_error(flat(QKV), flat(std::as_const(dQKV)), loss) <= test::gradient_tolerance);
  }
}

TEST_CASE("Full and causal attention, windows and grouped heads are what a plain loop gives, and so are their gradients") {
  const Offsets offsets{0, 4, 4, 5, 12};
  for (const nn::AttentionOptions& options :
       {nn::AttentionOptions{.heads = 4, .scale = 0.7}, {.heads = 4, .kv_heads = 2, .scale = 0.7},
        {.heads = 4, .kv_heads = 1, .scale = 0.7, .causal = true}, {.heads = 2, .scale = 0.7, .causal = true},
        {.heads = 4, .kv_heads = 2, .scale = 0.7, .causal = true, .window = 3}}) {
    CAPTURE(options.heads, options.kv_heads, options.causal, options.window);
    const Index kv_rows = 3 * (options.kv_heads == 0 ? options.heads : options.kv_heads), rows = 3 * options.heads;
    Matrix<double> Q = test::random_matrix<Matrix<double>>(rows, 12, 1), K = test::random_matrix<Matrix<double>>(kv_rows, 12, 2),
                   V = test::random_matrix<Matrix<double>>(kv_rows, 12, 3), Y(rows, 12);
    const Matrix<double> dY = test::random_matrix<Matrix<double>>(rows, 12, 4);
    nn::AttentionCache<double> cache;
    const auto loss = [&] {
      nn::attention<double>(Q, K, V, offsets, options, Y, cache);
      return Y.cwiseProduct(dY).sum();
    };
    loss();
    CHECK(test::relative_error(Y, plain_attention(Q, K, V, offsets, options)) <= test::Tolerance<double>::sum);
    Matrix<double> dQ(rows, 12), dK(kv_rows, 12), dV(kv_rows, 12);
    nn::attention_backward<double>(dY, Q, K, V, offsets, options, cache, dQ, dK, dV);
    CHECK(test::gradient_error(flat(Q), flat(std::as_const(dQ)), loss) <= test::gradient_tolerance);
    CHECK(test::gradient_error(flat(K), flat(std::as_const(dK)), loss) <= test::gradient_tolerance);
    CHECK(test::gradient_error(flat(V), flat(std::as_const(dV)), loss) <= test::gradient_tolerance);
  }
}

TEST_CASE("Heads and windows that cannot be are refused by name") {
  Matrix<float> Q = Matrix<float>::Ones(8, 3), K = Matrix<float>::Ones(4, 3), Y(8, 3);
  nn::AttentionCache<float> cache;
  CHECK_ERROR(nn::attention<float>(Q, K, K, Offsets{0, 3}, {.heads = 4, .kv_heads = 3}, Y, cache), ErrorId::value,
              "kv_heads is 3, expected a divisor of heads, 4");
  CHECK_ERROR(nn::attention<float>(Q, K, K, Offsets{0, 3}, {.heads = 4, .kv_heads = 1}, Y, cache), ErrorId::shape,
              "K and V have 4 rows, expected 1 heads of 2");
  CHECK_ERROR(nn::attention<float>(Q, K, K, Offsets{0, 3}, {.heads = 4, .kv_heads = 2, .window = 2}, Y, cache), ErrorId::value,
              "window is 2, expected 0 without causal");
}

TEMPLATE_TEST_CASE("A sequence is attended to in the same way alone and inside a larger batch", "", float, double) {
  using S = TestType;
  const Offsets offsets{0, 20, 37, 38};
  const Matrix<S> QKV = test::random_matrix<Matrix<S>>(3 * 32, 38, 3), dY = test::random_matrix<Matrix<S>>(32, 38, 4);
  Matrix<S> Y(32, 38), dQKV(3 * 32, 38), alone(32, 17), d_alone(3 * 32, 17);
  nn::AttentionCache<S> cache;
  stacked_attention<S>(QKV, offsets, {.heads = 4, .scale = 0.3}, Y, cache);
  stacked_attention_backward<S>(dY, QKV, offsets, {.heads = 4, .scale = 0.3}, cache, dQKV);
  // The cache is reused, as a trainer does.
  stacked_attention<S>(QKV.middleCols(20, 17), Offsets{0, 17}, {.heads = 4, .scale = 0.3}, alone, cache);
  stacked_attention_backward<S>(dY.middleCols(20, 17), QKV.middleCols(20, 17), Offsets{0, 17}, {.heads = 4, .scale = 0.3}, cache, d_alone);
  CHECK(test::relative_error(alone, Y.middleCols(20, 17)) <= test::Tolerance<S>::sum);
  CHECK(test::relative_error(d_alone, dQKV.middleCols(20, 17)) <= test::Tolerance<S>::sum);
}

TEMPLATE_TEST_CASE("A single token attends to itself, and equal keys share alike", "", float, double) {
  using S = TestType;
  Matrix<S> QKV = test::random_matrix<Matrix<S>>(6, 5, 5), Y(2, 5);
  QKV.block(2, 1, 2, 4).setConstant(S(0.5));  // all keys of the second sequence
  nn::AttentionCache<S> cache;
  stacked_attention<S>(QKV, Offsets{0, 1, 5}, {.heads = 2, .scale = 1}, Y, cache);
  CHECK(test::relative_error(Y.col(0), QKV.col(0).tail(2)) <= test::Tolerance<S>::exact);
  const Vector<S> mean = QKV.block(4, 1, 2, 4).rowwise().mean();
  for (Index t = 1; t < 5; ++t) CHECK(test::relative_error(Y.col(t), mean) <= test::Tolerance<S>::sum);
}

TEMPLATE_TEST_CASE("Scores of ten thousand neither overflow nor lose the winner", "", float, double) {
  using S = TestType;
  Matrix<S> QKV(3, 3), Y(1, 3), dQKV(3, 3);
  QKV << 1, 1, -1,   // queries
      1e4, -1e4, 0,  // keys
      5, 6, 7;       // values
  nn::AttentionCache<S> cache;
  stacked_attention<S>(QKV, Offsets{0, 3}, {.scale = 1}, Y, cache);
  CHECK(test::relative_error(Y, Matrix<S>{{5, 5, 6}}) <= test::Tolerance<S>::exact);
  stacked_attention_backward<S>(Matrix<S>::Ones(1, 3).eval(), QKV, Offsets{0, 3}, {.scale = 1}, cache, dQKV);
  CHECK(dQKV.allFinite());
}

TEST_CASE("NaN in a query reaches its own token only, NaN in a key or value its own sequence only") {
  const Offsets offsets{0, 20, 23};
  for (Index row = 0; row < 3; ++row)
    for (Index token = 0; token < 20; ++token) {
      Matrix<float> QKV = test::random_matrix<Matrix<float>>(3, 23, 6), Y(1, 23);
      QKV(row, token) = std::numeric_limits<float>::quiet_NaN();
      nn::AttentionCache<float> cache;
      stacked_attention<float>(QKV, offsets, {.scale = 1}, Y, cache);
      CHECK(Y.rightCols(3).allFinite());
      CHECK(Y.array().isNaN().count() == (row == 0 ? 1 : 20));
      CHECK(std::isnan(Y(0, token)));
    }
}

TEST_CASE("A batch of no sequences, or of empty ones, is nothing to do") {
  Matrix<float> QKV(6, 0), Y(2, 0), dQKV(6, 0);
  nn::AttentionCache<float> cache;
  for (const Offsets& offsets : {Offsets{0}, Offsets{0, 0, 0}}) {
    CHECK_NOTHROW(stacked_attention<float>(QKV, offsets, {.scale = 1}, Y, cache));
    CHECK_NOTHROW(stacked_attention_backward<float>(Y, QKV, offsets, {.scale = 1}, cache, dQKV));
  }
}

TEST_CASE("Attention refuses sizes that do not fit") {
  Matrix<float> QKV = Matrix<float>::Ones(12, 3), Y(4, 3), wrong(4, 2);
  nn::AttentionCache<float> cache;
  const Offsets offsets{0, 3};
  CHECK_ERROR(stacked_attention<float>(QKV, offsets, {.heads = 2}, wrong, cache), ErrorId::shape, "Y is 4 x 2, expected 4 x 3");
  CHECK_ERROR(stacked_attention<float>(QKV, offsets, {.heads = 3}, Y, cache), ErrorId::value,
              "heads is 3, expected a divisor of the 4");
  CHECK_ERROR(stacked_attention<float>(QKV, offsets, {.heads = 0}, Y, cache), ErrorId::value, "heads is 0");
  CHECK_ERROR(stacked_attention<float>(QKV, Offsets{0, 2}, {.heads = 2}, Y, cache), ErrorId::shape, "offsets end at 2");
  CHECK_ERROR(stacked_attention_backward<float>(Y, QKV, offsets, {.heads = 2}, cache, QKV), ErrorId::shape, "cache is 0 x 0");
  stacked_attention<float>(QKV, offsets, {.heads = 2}, Y, cache);
  CHECK_ERROR(stacked_attention_backward<float>(Y, QKV, offsets, {.heads = 2}, cache, wrong), ErrorId::shape, "dQ is 1 x 2, expected 4 x 3");
}
