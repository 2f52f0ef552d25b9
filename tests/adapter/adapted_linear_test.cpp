#include "lorasb/adapter/adapted_linear.hpp"

#include <limits>

#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

constexpr Index out = 9;
constexpr Index in = 7;
constexpr Index rank = 3;
constexpr Index tokens = 11;

template <Real S>
struct Fixture {
  Weight<S> W0 = random_matrix<Weight<S>>(out, in, 1);
  LowRankAdapter<S> adapter = random_adapter<S>(out, in, rank, 2, 0.7);
  Matrix<S> X = random_matrix<Matrix<S>>(in, tokens, 3);
  Matrix<S> dY = random_matrix<Matrix<S>>(out, tokens, 4);
  AdaptedLinear<S> layer{W0, adapter, "q_proj"};
  LinearCache<S> cache;
  Matrix<S> Y = Matrix<S>(out, tokens);

  ForwardPass<S> pass;

  void forward() { pass = layer.forward(X, Y, cache); }
  void backward(const LayerGradient<S>& gradient, const InputGradient<S>& dX) { layer.backward(pass, dY, cache, gradient, dX); }
};

template <Real S>
const S nan_value = std::numeric_limits<S>::quiet_NaN();

}  // namespace

TEMPLATE_TEST_CASE("forward is W0 X + s B R A X and overwrites", "", float, double) {
  using S = TestType;
  Fixture<S> f;
  f.Y.setConstant(nan_value<S>);
  f.forward();
  const Eigen::MatrixXd W = f.W0.template cast<double>() + delta(f.adapter);
  CHECK(relative_error(f.Y, W * f.X.template cast<double>()) < Tolerance<S>::sum);
}

TEST_CASE("the gradients are those of central differences") {
  // L = <dY, layer(X)> is linear in R and in X, so central differences are exact up to rounding / step
  Fixture<double> f;
  const double step = 1e-3;
  const auto loss = [&] {
    f.forward();
    return f.Y.cwiseProduct(f.dY).sum();
  };
  const auto difference = [&](double& x) {
    const double kept = x;
    x = kept + step;
    const double up = loss();
    x = kept - step;
    const double down = loss();
    x = kept;
    return (up - down) / (2 * step);
  };
  Weight<double> expected_dR(rank, rank);
  for (Index i = 0; i < rank; ++i)
    for (Index j = 0; j < rank; ++j) expected_dR(i, j) = difference(f.adapter.R(i, j));
  Matrix<double> expected_dX(in, tokens);
  for (Index i = 0; i < in; ++i)
    for (Index j = 0; j < tokens; ++j) expected_dX(i, j) = difference(f.X(i, j));

  f.forward();
  Weight<double> dR = Weight<double>::Zero(rank, rank);
  Matrix<double> dX = Matrix<double>::Constant(in, tokens, nan_value<double>);
  f.backward(dR, dX);
  CHECK(relative_error(dR, expected_dR) < 1e-10);  // rounding 1e-16 x terms 1e2 / step 1e-3
  CHECK(relative_error(dX, expected_dX) < 1e-10);
}

TEMPLATE_TEST_CASE("the gradient of R is added to, dX is overwritten, and each can be asked for alone", "", float, double) {
  using S = TestType;
  Fixture<S> f;
  f.forward();
  Weight<S> dR = Weight<S>::Constant(rank, rank, S(2));
  Matrix<S> dX = Matrix<S>::Constant(in, tokens, nan_value<S>);
  f.backward(dR, dX);
  const Matrix<S> P = f.adapter.scale * f.adapter.B.transpose() * f.dY;
  const Weight<S> alone = P * (f.adapter.A * f.X).transpose();
  CHECK(relative_error(dR, alone + Weight<S>::Constant(rank, rank, S(2))) < Tolerance<S>::sum);

  Weight<S> dR_again = Weight<S>::Constant(rank, rank, S(2));
  Matrix<S> dX_alone = Matrix<S>::Constant(in, tokens, nan_value<S>);
  f.backward(dR_again, not_wanted);
  f.backward(not_wanted, dX_alone);
  f.backward(not_wanted, not_wanted);
  CHECK(dR_again == dR);
  CHECK(dX == dX_alone);
  CHECK(f.layer.trainable() == rank * rank);
}

TEMPLATE_TEST_CASE("gradients per example sum to the gradient of the batch", "", float, double) {
  using S = TestType;
  Fixture<S> f;
  f.forward();
  const std::vector<Index> offsets{0, 4, 4, 5, tokens};  // the second example has no token
  Matrix<S> each = Matrix<S>::Zero(rank * rank, 4);
  f.backward({each, offsets}, not_wanted);
  Weight<S> dR = Weight<S>::Zero(rank, rank);
  Matrix<S> dX_alone(in, tokens);
  f.backward(dR, dX_alone);
  const Vector<S> sum = each.rowwise().sum();
  CHECK(relative_error(sum, Eigen::Map<const Vector<S>>(dR.data(), dR.size())) < Tolerance<S>::sum);
  CHECK(each.col(1).isZero());

  // one example alone gives its own gradient
  Fixture<S> one;
  one.X = f.X.rightCols(6).eval();
  one.dY = f.dY.rightCols(6).eval();
  one.Y.resize(out, 6);
  one.forward();
  Weight<S> last = Weight<S>::Zero(rank, rank);
  one.backward(last, not_wanted);
  CHECK(relative_error(each.col(3), Eigen::Map<const Vector<S>>(last.data(), last.size())) < Tolerance<S>::sum);

  Matrix<S> dX(in, tokens), each_with_dX = Matrix<S>::Zero(rank * rank, 4);
  f.backward({each_with_dX, offsets}, dX);
  CHECK(each_with_dX == each);
  CHECK(dX == dX_alone);

  const std::vector<Index> falling{0, 4, 3, tokens, tokens}, short_of_it{0, 4}, fewer{0, 4, tokens};
  CHECK_ERROR(f.backward({each, falling}, not_wanted), ErrorId::shape, "offsets[2] is 3, below offsets[1], 4");
  CHECK_ERROR(f.backward({each, short_of_it}, not_wanted), ErrorId::shape, "offsets end at 4, expected the 11 columns");
  CHECK_ERROR(f.backward({each, fewer}, not_wanted), ErrorId::shape, "the gradient is 9 x 4, expected 9 x 2");
}

TEST_CASE("a layer over a weight in bfloat16 is that over its widened copy") {
  Fixture<float> f;
  const Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> narrow = f.W0.cast<Bfloat16>();
  const Weight<float> wide = narrow.cast<float>();
  const AdaptedLinear<float> layer(narrow, f.adapter), expected(wide, f.adapter);
  // a backend may round X and dY to bfloat16, 8 bits
  const double tolerance = linalg::backend() == nullptr ? Tolerance<float>::sum : 0x1p-7;
  LinearCache<float> cache;
  Matrix<float> Y(out, tokens), dX(in, tokens);
  Weight<float> dR = Weight<float>::Zero(rank, rank), expected_dR = dR;
  const ForwardPass<float> pass = layer.forward(f.X, Y, cache);
  layer.backward(pass, f.dY, cache, dR, dX);
  Matrix<float> expected_Y(out, tokens), expected_dX(in, tokens);
  const ForwardPass<float> expected_pass = expected.forward(f.X, expected_Y, cache);
  expected.backward(expected_pass, f.dY, cache, expected_dR, expected_dX);
  CHECK(relative_error(Y, expected_Y) < tolerance);
  CHECK(relative_error(dX, expected_dX) < tolerance);
  CHECK(dR == expected_dR);  // B, A and the sums of R know nothing of W0's type
}

TEST_CASE("the layer works on raw memory of the caller and on blocks of larger matrices") {
  Fixture<float> f;
  f.forward();
  AdaptedLinear<float> raw({f.W0.data(), out, in}, f.adapter);
  LinearCache<float> cache;
  Matrix<float> wide = Matrix<float>::Zero(out + 5, tokens + 2);
  raw.forward({f.X.data(), in, tokens}, wide.block(2, 1, out, tokens), cache);
  CHECK(relative_error(wide.block(2, 1, out, tokens), f.Y) < Tolerance<float>::exact);
  CHECK(wide.topRows(2).isZero());
  CHECK(wide.bottomRows(3).isZero());
}

TEST_CASE("the layer sees R as the optimizer leaves it, in the adapter or elsewhere") {
  Fixture<double> f;
  f.forward();
  const Matrix<double> before = f.Y;
  f.adapter.R.setZero();
  f.forward();
  CHECK(relative_error(f.Y, f.W0 * f.X) < Tolerance<double>::sum);
  const LowRankAdapter<double> original = random_adapter<double>(out, in, rank, 2, 0.7);
  const AdapterBasis<double> basis{.B = original.B, .A = original.A, .scale = original.scale};
  std::vector<double> elsewhere(original.R.data(), original.R.data() + original.R.size());
  AdaptedLinear<double> layer(f.W0, basis, {elsewhere.data(), rank, rank});
  layer.forward(f.X, f.Y, f.cache);
  CHECK(f.Y == before);
}

TEST_CASE("a matrix that is assigned to the R of an adapter is the R that its layer reads") {
  Fixture<double> f;  // once, the layer kept a view of the memory that the assignment frees
  f.adapter.R = random_matrix<Weight<double>>(rank, rank, 77);
  f.forward();
  const Eigen::MatrixXd W = f.W0 + delta(f.adapter);
  CHECK(relative_error(f.Y, W * f.X) < Tolerance<double>::sum);
  f.adapter.scale = 3;
  f.forward();
  CHECK(relative_error(f.Y, (f.W0 + delta(f.adapter)) * f.X) < Tolerance<double>::sum);
}

TEST_CASE("an adapter that was moved away, or has an R of another shape, is an error and no dangling view") {
  Fixture<double> f;
  f.forward();
  f.adapter.R = Weight<double>::Zero(rank + 1, rank + 1);
  CHECK_ERROR(f.forward(), ErrorId::shape, "the adapter of \"q_proj\" has other shapes");
  f.adapter.R = Weight<double>::Zero(rank, rank);
  f.forward();
  const LowRankAdapter<double> taken = std::move(f.adapter);
  CHECK_ERROR(f.forward(), ErrorId::shape, "was it moved");
  Weight<double> dR(rank, rank);
  CHECK_ERROR(f.backward(dR, not_wanted), ErrorId::shape, "the cache holds another forward pass");
}

TEST_CASE("a cache that two layers share is an error and no wrong gradient") {
  Fixture<double> one, two;
  const ForwardPass<double> pass = one.layer.forward(one.X, one.Y, one.cache);
  const ForwardPass<double> other = two.layer.forward(two.X, two.Y, one.cache);  // the same ranks and sizes
  Weight<double> dR = Weight<double>::Zero(rank, rank);
  CHECK_ERROR(one.layer.backward(pass, one.dY, one.cache, dR, not_wanted), ErrorId::shape,
              "AdaptedLinear::backward: the cache holds another forward pass");
  CHECK_ERROR(one.layer.backward(other, one.dY, one.cache, dR, not_wanted), ErrorId::shape, "the pass is of another layer");
  CHECK(dR.isZero());
  two.layer.backward(other, one.dY, one.cache, dR, not_wanted);
  CHECK_FALSE(dR.isZero());
}

TEST_CASE("a forward pass over other data between forward and backward is an error, also from the same buffer") {
  Fixture<double> f;
  f.forward();
  f.X = random_matrix<Matrix<double>>(in, tokens, 50);  // a validation batch of the same size
  f.layer.forward(f.X, f.Y, f.cache);
  Weight<double> dR = Weight<double>::Zero(rank, rank);
  CHECK_ERROR(f.backward(dR, not_wanted), ErrorId::shape, "a pass over other data between forward and backward needs another one");
  CHECK(dR.isZero());
  CHECK_ERROR(f.layer.backward({}, f.dY, f.cache, dR, not_wanted), ErrorId::shape, "give backward what forward returned");
}

TEST_CASE("two layers over one basis have a core each") {
  const Fixture<double> f;
  const AdapterBasis<double> basis{.B = f.adapter.B, .A = f.adapter.A, .scale = f.adapter.scale};
  const Weight<double> R1 = random_matrix<Weight<double>>(rank, rank, 5), R2 = random_matrix<Weight<double>>(rank, rank, 6);
  const AdaptedLinear<double> one(f.W0, basis, R1), two(f.W0, basis, R2);
  LinearCache<double> cache;
  Matrix<double> Y(out, tokens);
  one.forward(f.X, Y, cache);
  CHECK(relative_error(Y, f.W0 * f.X + basis.scale * basis.B * R1 * basis.A * f.X) < Tolerance<double>::sum);
  two.forward(f.X, Y, cache);
  CHECK(relative_error(Y, f.W0 * f.X + basis.scale * basis.B * R2 * basis.A * f.X) < Tolerance<double>::sum);
}

TEST_CASE("a batch of no tokens is a batch") {
  Fixture<float> f;
  const Matrix<float> X(in, 0);
  Matrix<float> Y(out, 0);
  Matrix<float> dX(in, 0);
  Weight<float> dR = Weight<float>::Zero(rank, rank);
  const ForwardPass<float> pass = f.layer.forward(X, Y, f.cache);
  f.layer.backward(pass, Y, f.cache, dR, dX);
  CHECK(dR.isZero());
}

TEST_CASE("a wrong shape is named with the layer it was meant for") {
  Fixture<float> f;
  const Matrix<float> X(in + 1, tokens);
  CHECK_ERROR(f.layer.forward(X, f.Y, f.cache), ErrorId::shape,
              "AdaptedLinear::forward: X is 8 x 11, expected 7 rows (in_features of \"q_proj\")");
  Matrix<float> Y(out, tokens - 1);
  CHECK_ERROR(f.layer.forward(f.X, Y, f.cache), ErrorId::shape, "Y is 9 x 10, expected 9 x 11");
  Weight<float> dR(rank, rank);
  CHECK_ERROR(f.backward(dR, not_wanted), ErrorId::shape, "the pass is empty");
  f.forward();
  Weight<float> bad(rank, rank + 1);
  CHECK_ERROR(f.backward(bad, not_wanted), ErrorId::shape, "the gradient has 12 numbers, expected 9 (trained values of \"q_proj\")");
  Matrix<float> dX(in, tokens + 1);
  CHECK_ERROR(f.backward(dR, dX), ErrorId::shape, "dX is 7 x 12, expected 7 x 11");
  CHECK_ERROR(f.layer.backward(f.pass, f.dY.leftCols(2), f.cache, dR, not_wanted), ErrorId::shape, "dY is 9 x 2, expected 9 x 11");
  CHECK_ERROR(AdaptedLinear<float>(f.W0.topRows(4), f.adapter, "k_proj"), ErrorId::shape,
              "W0 is 4 x 7, expected 9 x 7 (k_proj");
}

TEST_CASE("a layer cannot be made on an adapter that is about to die") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<AdaptedLinear<float>, const Weight<float>&, LowRankAdapter<float>>);
  STATIC_REQUIRE(std::is_constructible_v<AdaptedLinear<float>, const Weight<float>&, const LowRankAdapter<float>&>);
}
