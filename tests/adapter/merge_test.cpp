#include "lorasb/adapter/merge.hpp"

#include "lorasb/adapter/adapted_linear.hpp"
#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {
template <class W>
concept Mergeable = requires(const LowRankAdapter<float>& adapter, W w) {
  merge(adapter, w);
};
}  // namespace

TEMPLATE_TEST_CASE("a merged weight gives what the adapted layer gives", "", float, double) {
  using S = TestType;
  const LowRankAdapter<S> adapter = random_adapter<S>(12, 10, 4, 1, 1.5);
  const Weight<S> W0 = random_matrix<Weight<S>>(12, 10, 2);
  const Matrix<S> X = random_matrix<Matrix<S>>(10, 5, 3);
  Matrix<S> adapted(12, 5);
  LinearCache<S> cache;
  AdaptedLinear<S>(W0, adapter).forward(X, adapted, cache);
  Weight<S> W = W0;
  merge(adapter, W);
  CHECK(relative_error(W * X, adapted) < Tolerance<S>::sum);
  CHECK(relative_error(W.template cast<double>() - W0.template cast<double>(), delta(adapter)) < Tolerance<S>::sum);
  unmerge(adapter, W);
  CHECK((W - W0).cwiseAbs().maxCoeff() <
        Tolerance<S>::exact * (W0.cwiseAbs().maxCoeff() + delta(adapter).cwiseAbs().maxCoeff()));
}

TEST_CASE("a narrow weight is merged into a wider output or not at all") {
  using Narrow = Eigen::Matrix<Eigen::bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  STATIC_REQUIRE(Mergeable<Weight<float>&>);
  STATIC_REQUIRE_FALSE(Mergeable<Narrow&>);
  STATIC_REQUIRE_FALSE(Mergeable<Weight<double>&>);
  const LowRankAdapter<float> adapter = random_adapter<float>(6, 5, 2, 1);
  const Narrow W0 = random_matrix<Weight<float>>(6, 5, 2).cast<Eigen::bfloat16>();
  Weight<float> W(6, 5);
  merge(adapter, W0, W);
  CHECK(relative_error(W, W0.cast<double>() + delta(adapter)) < Tolerance<float>::sum);
  Weight<float> from_stored(6, 5);  // numbers in a file
  merge(adapter, FrozenWeight<float>(reinterpret_cast<const std::byte*>(W0.data()), Dtype::bf16, 6, 5), from_stored);
  CHECK(from_stored == W);
  const AdapterBasis<float> basis{.B = adapter.B, .A = adapter.A, .scale = adapter.scale};
  Weight<float> from_basis(6, 5);
  merge(basis, adapter.R, W0, from_basis);
  CHECK(from_basis == W);
  unmerge(basis, adapter.R, from_basis);
  CHECK(relative_error(from_basis, W0.cast<double>()) < Tolerance<float>::sum);
}

TEMPLATE_TEST_CASE("a folded adapter is the same map with two factors", "", float, double) {
  using S = TestType;
  const LowRankAdapter<S> adapter = random_adapter<S>(12, 10, 4, 1, 0.25);
  const LoraAdapter<S> folded = fold(adapter);
  const Eigen::MatrixXd product = double(folded.scale) * folded.B.template cast<double>() * folded.A.template cast<double>();
  CHECK(relative_error(product, delta(adapter)) < Tolerance<S>::exact);  // B R is rounded once
  CHECK(folded.A == adapter.A);
  CHECK(folded.trainable() == 4 * (12 + 10));
}

TEST_CASE("merging refuses another shape and an adapter with NaN") {
  LowRankAdapter<float> adapter = random_adapter<float>(6, 5, 2, 1);
  Weight<float> W = Weight<float>::Zero(5, 6);
  CHECK_ERROR(merge(adapter, W), ErrorId::shape, "merge: W is 5 x 6, expected 6 x 5");
  W = Weight<float>::Zero(6, 5);
  adapter.R(0, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_ERROR(merge(adapter, W), ErrorId::not_finite, "merge: R holds nan at row 0, column 1");
  CHECK_ERROR(fold(adapter), ErrorId::not_finite, "fold: R holds nan");
  CHECK(W.isZero());
}

TEMPLATE_TEST_CASE("merging finite numbers whose product leaves the range throws and leaves W as it was (peft 3710)", "", float, double) {
  using S = TestType;
  LowRankAdapter<S> adapter{.B = Weight<S>::Ones(2, 1), .R = Weight<S>::Ones(1, 1), .A = Weight<S>::Ones(1, 3), .scale = 1};
  adapter.B *= std::numeric_limits<S>::max();
  adapter.R *= 10;
  Weight<S> W = Weight<S>::Ones(2, 3);
  const Weight<S> before = W;
  CHECK_ERROR(merge(adapter, W), ErrorId::not_finite, "leaves the range");
  CHECK_ERROR(unmerge(adapter, W), ErrorId::not_finite, "leaves the range");
  CHECK_ERROR(merge(adapter, FrozenWeight<S>(before), W), ErrorId::not_finite, "leaves the range");
  CHECK(W == before);
}

TEST_CASE("merging into a weight that shares memory with R is the same as into another one") {
  Weight<float> memory = Weight<float>::Random(4, 4);
  LowRankAdapter<float> adapter{.B = Weight<float>::Random(4, 4), .R = memory, .A = Weight<float>::Random(4, 4), .scale = 2};
  const AdapterBasis<float> basis{.B = adapter.B, .A = adapter.A, .scale = 2};
  Weight<float> expected = memory;
  merge(adapter, expected);
  merge(basis, memory, memory);
  CHECK(memory == expected);
}
