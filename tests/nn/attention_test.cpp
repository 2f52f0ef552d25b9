#include "lorasb/nn/attention.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;
using Offsets = std::vector<Index>;

namespace {

const double golden_scale = 1 / std::sqrt(3.0);  // two heads of three rows

}  // namespace

TEMPLATE_TEST_CASE("Attention over a packed batch is torch's over a padded and masked one, gradients too", "", float, double) {
  using S = TestType;
  const Strided<Matrix<S>> QKV(test::golden_matrix<S>("attention.QKV")), dY(test::golden_matrix<S>("attention.dY"));
  Strided<Matrix<S>> Y(6, 9), dQKV(18, 9);
  nn::AttentionCache<S> cache;
  nn::self_attention<S>(QKV.view(), test::golden_offsets(), 2, golden_scale, Y.view(), cache);
  nn::self_attention_backward<S>(dY.view(), QKV.view(), test::golden_offsets(), 2, golden_scale, cache, dQKV.view());
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
      nn::self_attention<double>(QKV, offsets, heads, 0.7, Y, cache);
      return Y.cwiseProduct(dY).sum();
    };
    loss();
    nn::self_attention_backward<double>(dY, QKV, offsets, heads, 0.7, cache, dQKV);
    CHECK(test::gradient_error(flat(QKV), flat(std::as_const(dQKV)), loss) <= test::gradient_tolerance);
  }
}

TEMPLATE_TEST_CASE("A sequence is attended to in the same way alone and inside a larger batch", "", float, double) {
  using S = TestType;
  const Offsets offsets{0, 20, 37, 38};
  const Matrix<S> QKV = test::random_matrix<Matrix<S>>(3 * 32, 38, 3), dY = test::random_matrix<Matrix<S>>(32, 38, 4);
  Matrix<S> Y(32, 38), dQKV(3 * 32, 38), alone(32, 17), d_alone(3 * 32, 17);
  nn::AttentionCache<S> cache;
  nn::self_attention<S>(QKV, offsets, 4, 0.3, Y, cache);
  nn::self_attention_backward<S>(dY, QKV, offsets, 4, 0.3, cache, dQKV);
  // The cache is reused, as a trainer does.
  nn::self_attention<S>(QKV.middleCols(20, 17), Offsets{0, 17}, 4, 0.3, alone, cache);
  nn::self_attention_backward<S>(dY.middleCols(20, 17), QKV.middleCols(20, 17), Offsets{0, 17}, 4, 0.3, cache, d_alone);
  CHECK(test::relative_error(alone, Y.middleCols(20, 17)) <= test::Tolerance<S>::sum);
  CHECK(test::relative_error(d_alone, dQKV.middleCols(20, 17)) <= test::Tolerance<S>::sum);
}

TEMPLATE_TEST_CASE("A single token attends to itself, and equal keys share alike", "", float, double) {
  using S = TestType;
  Matrix<S> QKV = test::random_matrix<Matrix<S>>(6, 5, 5), Y(2, 5);
  QKV.block(2, 1, 2, 4).setConstant(S(0.5));  // all keys of the second sequence
  nn::AttentionCache<S> cache;
  nn::self_attention<S>(QKV, Offsets{0, 1, 5}, 2, 1, Y, cache);
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
  nn::self_attention<S>(QKV, Offsets{0, 3}, 1, 1, Y, cache);
  CHECK(test::relative_error(Y, Matrix<S>{{5, 5, 6}}) <= test::Tolerance<S>::exact);
  nn::self_attention_backward<S>(Matrix<S>::Ones(1, 3).eval(), QKV, Offsets{0, 3}, 1, 1, cache, dQKV);
  CHECK(dQKV.allFinite());
}

TEST_CASE("NaN in a query reaches its own token only, NaN in a key or value its own sequence only") {
  const Offsets offsets{0, 20, 23};
  for (Index row = 0; row < 3; ++row)
    for (Index token = 0; token < 20; ++token) {
      Matrix<float> QKV = test::random_matrix<Matrix<float>>(3, 23, 6), Y(1, 23);
      QKV(row, token) = std::numeric_limits<float>::quiet_NaN();
      nn::AttentionCache<float> cache;
      nn::self_attention<float>(QKV, offsets, 1, 1, Y, cache);
      CHECK(Y.rightCols(3).allFinite());
      CHECK(Y.array().isNaN().count() == (row == 0 ? 1 : 20));
      CHECK(std::isnan(Y(0, token)));
    }
}

TEST_CASE("A batch of no sequences, or of empty ones, is nothing to do") {
  Matrix<float> QKV(6, 0), Y(2, 0), dQKV(6, 0);
  nn::AttentionCache<float> cache;
  for (const Offsets& offsets : {Offsets{0}, Offsets{0, 0, 0}}) {
    CHECK_NOTHROW(nn::self_attention<float>(QKV, offsets, 1, 1, Y, cache));
    CHECK_NOTHROW(nn::self_attention_backward<float>(Y, QKV, offsets, 1, 1, cache, dQKV));
  }
}

TEST_CASE("Attention refuses sizes that do not fit") {
  Matrix<float> QKV = Matrix<float>::Ones(12, 3), Y(4, 3), wrong(4, 2);
  nn::AttentionCache<float> cache;
  const Offsets offsets{0, 3};
  CHECK_ERROR(nn::self_attention<float>(QKV, offsets, 2, 1, wrong, cache), ErrorId::shape, "QKV is 12 x 3, expected 12 x 2");
  CHECK_ERROR(nn::self_attention<float>(QKV, offsets, 3, 1, Y, cache), ErrorId::value,
              "heads is 3, expected a divisor of the 4");
  CHECK_ERROR(nn::self_attention<float>(QKV, offsets, 0, 1, Y, cache), ErrorId::value, "heads is 0");
  CHECK_ERROR(nn::self_attention<float>(QKV, Offsets{0, 2}, 2, 1, Y, cache), ErrorId::shape, "offsets end at 2");
  CHECK_ERROR(nn::self_attention_backward<float>(Y, QKV, offsets, 2, 1, cache, QKV), ErrorId::shape, "cache is 0 x 0");
  nn::self_attention<float>(QKV, offsets, 2, 1, Y, cache);
  CHECK_ERROR(nn::self_attention_backward<float>(Y, QKV, offsets, 2, 1, cache, wrong), ErrorId::shape, "dQKV is 4 x 2");
}
