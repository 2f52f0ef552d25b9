#include "lorasb/adapter/lora/lora.hpp"

#include <algorithm>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

struct Fixture {
  static constexpr Index out = 8, in = 6, rank = 2, tokens = 5;
  Weight<double> W0 = random_matrix<Weight<double>>(out, in, 1);
  std::vector<double> numbers = std::vector<double>(rank * (out + in));  // B, then A
  Matrix<double> X = random_matrix<Matrix<double>>(in, tokens, 2);
  Matrix<double> dY = random_matrix<Matrix<double>>(out, tokens, 3);
  LoraLinear<double> layer{W0, {numbers.data(), out, rank}, {numbers.data() + out * rank, rank, in}, 0.6, "v_proj"};
  LinearCache<double> cache;
  Matrix<double> Y = Matrix<double>(out, tokens);

  Fixture() {
    Random random(4);
    for (double& number : numbers) number = random.normal();
  }
  double loss() {
    layer.forward(X, Y, cache);
    return Y.cwiseProduct(dY).sum();
  }
  double difference(double& x) {
    const double step = 1e-3;  // the loss is linear in each single number: only rounding / step is left
    const double kept = x;
    x = kept + step;
    const double up = loss();
    x = kept - step;
    const double down = loss();
    x = kept;
    return (up - down) / (2 * step);
  }
};

}  // namespace

TEST_CASE("plain LoRA starts at W0 with A as PEFT draws it") {
  const LoraAdapter<float> lora = initialize_lora<float>(20, 100, {.rank = 8, .alpha = 16, .seed = 3});
  CHECK(lora.scale == 2);
  CHECK(lora.B.isZero());
  CHECK(lora.A.cwiseAbs().maxCoeff() <= 0.1f);  // 1/√100
  CHECK(lora.A.cwiseAbs().maxCoeff() > 0.095f);
  CHECK(std::abs(lora.A.mean()) < 5 * 0.1 / std::sqrt(3.0 * 800));  // five standard errors of a uniform mean
  CHECK(lora.trainable() == 8 * 120);
  CHECK_ERROR(initialize_lora<float>(20, 100, {.rank = 0}), ErrorId::rank, "rank is 0, expected 1 to min(out, in) = 20");
  CHECK_ERROR(initialize_lora<float>(20, 100, {.rank = 21}), ErrorId::rank, "rank is 21");
  CHECK_ERROR(initialize_lora<float>(20, 100, {.alpha = 0}), ErrorId::value, "alpha is 0");
}

TEST_CASE("the gradients of plain LoRA are those of central differences") {
  Fixture f;
  std::vector<double> expected;
  for (double& number : f.numbers) expected.push_back(f.difference(number));
  Matrix<double> expected_dX(Fixture::in, Fixture::tokens);
  for (Index j = 0; j < Fixture::tokens; ++j)
    for (Index i = 0; i < Fixture::in; ++i) expected_dX(i, j) = f.difference(f.X(i, j));
  f.loss();
  std::vector<double> gradient(f.numbers.size(), 1.0);                              // added to
  Matrix<double> dX = Matrix<double>::Constant(Fixture::in, Fixture::tokens, NAN);  // overwritten
  f.layer.backward(f.X, f.dY, f.cache, gradient, dX);
  for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(gradient[i] - 1 == Approx(expected[i]).margin(1e-9));
  CHECK(relative_error(dX, expected_dX) < 1e-10);

  std::vector<double> again(f.numbers.size(), 1.0);
  Matrix<double> dX_again(Fixture::in, Fixture::tokens);
  f.layer.backward_parameters(f.X, f.dY, f.cache, again);
  f.layer.backward_input(f.dY, f.cache, dX_again);
  CHECK(again == gradient);
  CHECK(dX_again == dX);
  CHECK_ERROR(f.layer.backward_parameters(f.X, f.dY, f.cache, std::span(again).first(5)), ErrorId::shape,
              "gradient has 5 numbers, expected 28 (B and A of \"v_proj\")");
}

TEST_CASE("with A frozen, plain LoRA has the same output, the same dB and dX, and no dA") {
  Fixture f;
  const auto B = static_cast<std::size_t>(Fixture::rank * Fixture::out);
  const LoraLinear<double> frozen_A(f.W0, {f.numbers.data(), Fixture::out, Fixture::rank},
                                    {f.numbers.data() + B, Fixture::rank, Fixture::in}, 0.6, "v_proj", TrainedFactors::B_only);
  CHECK(frozen_A.trainable() == 16);
  CHECK(f.layer.trainable() == 28);
  std::vector<double> expected;
  for (double& number : std::span(f.numbers).first(B)) expected.push_back(f.difference(number));
  f.loss();
  std::vector<double> both(f.numbers.size(), 1.0);
  Matrix<double> dX_both(Fixture::in, Fixture::tokens);
  f.layer.backward(f.X, f.dY, f.cache, both, dX_both);

  Matrix<double> Y(Fixture::out, Fixture::tokens);
  LinearCache<double> cache;
  frozen_A.forward(f.X, Y, cache);
  CHECK(Y == f.Y);
  std::vector<double> gradient(B, 1.0);                                             // added to
  Matrix<double> dX = Matrix<double>::Constant(Fixture::in, Fixture::tokens, NAN);  // overwritten
  frozen_A.backward(f.X, f.dY, cache, gradient, dX);
  for (std::size_t i = 0; i < B; ++i) CHECK(gradient[i] - 1 == Approx(expected[i]).margin(1e-9));
  CHECK(std::ranges::equal(gradient, std::span(both).first(B)));
  CHECK(dX == dX_both);

  std::vector<double> again(B, 1.0);
  Matrix<double> dX_again(Fixture::in, Fixture::tokens);
  frozen_A.backward_parameters(f.X, f.dY, cache, again);
  frozen_A.backward_input(f.dY, cache, dX_again);
  CHECK(again == gradient);
  CHECK(dX_again == dX);
  CHECK_ERROR(frozen_A.backward_parameters(f.X, f.dY, cache, both), ErrorId::shape,
              "gradient has 28 numbers, expected 16 (B of \"v_proj\")");
  LinearCache<double> empty;
  CHECK_ERROR(frozen_A.backward_parameters(f.X, f.dY, empty, again), ErrorId::shape, "no forward pass of \"v_proj\"");
  CHECK_ERROR(frozen_A.backward_parameters(f.X, f.dY.leftCols(2), cache, again), ErrorId::shape, "dY is 8 x 2, expected 8 x 5");
}
