#include "lorasb/adapter/adapted_linear.hpp"

#include <limits>

#include "random_adapter.hpp"

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

  void forward() { layer.forward(X, Y, cache); }
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
  CHECK(relative_error(f.cache.Z.view(), f.adapter.A * f.X) < Tolerance<S>::sum);
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
  f.layer.backward_parameters(f.dY, f.cache, dR);
  f.layer.backward_input(f.dY, f.cache, dX);
  CHECK(relative_error(dR, expected_dR) < 1e-10);  // rounding 1e-16 x terms 1e2 / step 1e-3
  CHECK(relative_error(dX, expected_dX) < 1e-10);
}

TEMPLATE_TEST_CASE("the gradient of R is added to and both ways of asking for it agree", "", float, double) {
  using S = TestType;
  Fixture<S> f;
  f.forward();
  Weight<S> dR = Weight<S>::Constant(rank, rank, S(2));
  f.layer.backward_parameters(f.dY, f.cache, dR);
  const Matrix<S> P = f.adapter.scale * f.adapter.B.transpose() * f.dY;
  const Weight<S> alone = P * (f.adapter.A * f.X).transpose();
  CHECK(relative_error(dR, alone + Weight<S>::Constant(rank, rank, S(2))) < Tolerance<S>::sum);

  Weight<S> dR_again = Weight<S>::Constant(rank, rank, S(2));
  Matrix<S> dX(in, tokens);
  Matrix<S> dX_alone(in, tokens);
  const LinearLayer<S>& base = f.layer;
  base.backward(f.X, f.dY, f.cache, flat(dR_again), dX);
  f.layer.backward_input(f.dY, f.cache, dX_alone);
  CHECK(dR_again == dR);
  CHECK(dX == dX_alone);
  CHECK(base.trainable() == rank * rank);
}

TEMPLATE_TEST_CASE("gradients per example sum to the gradient of the batch", "", float, double) {
  using S = TestType;
  Fixture<S> f;
  f.forward();
  const std::vector<Index> offsets{0, 4, 4, 5, tokens};  // the second example has no token
  Matrix<S> each = Matrix<S>::Zero(rank * rank, 4);
  f.layer.backward_parameters_per_example(f.dY, f.cache, offsets, each);
  Weight<S> dR = Weight<S>::Zero(rank, rank);
  f.layer.backward_parameters(f.dY, f.cache, dR);
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
  one.layer.backward_parameters(one.dY, one.cache, last);
  CHECK(relative_error(each.col(3), Eigen::Map<const Vector<S>>(last.data(), last.size())) < Tolerance<S>::sum);

  // with dX, and without where nobody wants it
  const LinearLayer<S>& base = f.layer;
  Matrix<S> dX(in, tokens), dX_alone(in, tokens), none(in, 0);
  f.layer.backward_input(f.dY, f.cache, dX_alone);
  Matrix<S> each_with_dX = Matrix<S>::Zero(rank * rank, 4), each_without = each_with_dX;
  base.backward_per_example(f.X, f.dY, f.cache, offsets, each_with_dX, dX);
  base.backward_per_example(f.X, f.dY, f.cache, offsets, each_without, none);
  CHECK(each_with_dX == each);
  CHECK(each_without == each);
  CHECK(dX == dX_alone);

  const std::vector<Index> wrong{0, 4, 3, tokens};
  CHECK_ERROR(f.layer.backward_parameters_per_example(f.dY, f.cache, wrong, each), ErrorId::shape, "offsets must rise");
  const std::vector<Index> short_of_it{0, 4};
  CHECK_ERROR(f.layer.backward_parameters_per_example(f.dY, f.cache, short_of_it, each), ErrorId::shape, "offsets must rise");
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
  layer.forward(f.X, Y, cache);
  layer.backward(f.X, f.dY, cache, flat(dR), dX);
  Matrix<float> expected_Y(out, tokens), expected_dX(in, tokens);
  expected.forward(f.X, expected_Y, cache);
  expected.backward(f.X, f.dY, cache, flat(expected_dR), expected_dX);
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
  std::vector<double> elsewhere(original.R.data(), original.R.data() + original.R.size());
  AdaptedLinear<double> layer(f.W0, f.adapter, {elsewhere.data(), rank, rank});
  layer.forward(f.X, f.Y, f.cache);
  CHECK(f.Y == before);
}

TEST_CASE("a batch of no tokens is a batch") {
  Fixture<float> f;
  const Matrix<float> X(in, 0);
  Matrix<float> Y(out, 0);
  Matrix<float> dX(in, 0);
  Weight<float> dR = Weight<float>::Zero(rank, rank);
  f.layer.forward(X, Y, f.cache);
  f.layer.backward(X, Y, f.cache, flat(dR), dX);
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
  CHECK_ERROR(f.layer.backward_parameters(f.dY, f.cache, dR), ErrorId::shape, "the cache holds no forward pass of \"q_proj\"");
  f.forward();
  Weight<float> bad(rank, rank + 1);
  CHECK_ERROR(f.layer.backward_parameters(f.dY, f.cache, bad), ErrorId::shape, "dR is 3 x 4, expected 3 x 3");
  CHECK_ERROR(AdaptedLinear<float>(f.W0.topRows(4), f.adapter, "k_proj"), ErrorId::shape,
              "W0 is 4 x 7, expected 9 x 7 (k_proj");
}

TEST_CASE("a layer cannot be made on an adapter that is about to die") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<AdaptedLinear<float>, const Weight<float>&, LowRankAdapter<float>>);
  STATIC_REQUIRE(std::is_constructible_v<AdaptedLinear<float>, const Weight<float>&, const LowRankAdapter<float>&>);
}
