#include "lorasb/adapter/lora/lora_linear.hpp"

#include <algorithm>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

struct LoraFixture {
  static constexpr Index out = 8, in = 6, rank = 2, tokens = 5;
  Weight<double> W0 = random_matrix<Weight<double>>(out, in, 1);
  std::vector<double> numbers = std::vector<double>(rank * (out + in));  // B, then A
  Matrix<double> X = random_matrix<Matrix<double>>(in, tokens, 2);
  Matrix<double> dY = random_matrix<Matrix<double>>(out, tokens, 3);
  LoraLinear<double> layer{W0, {numbers.data(), out, rank}, {numbers.data() + out * rank, rank, in}, 0.6, "v_proj"};
  LinearCache<double> cache;
  Matrix<double> Y = Matrix<double>(out, tokens);

  LoraFixture() {
    Random random(4);
    for (double& number : numbers) number = random.normal();
  }
  ForwardPass<double> pass;
  double loss() {
    pass = layer.forward(X, Y, cache);
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
  void backward(const LayerGradient<double>& gradient, const InputGradient<double>& dX) {
    layer.backward(pass, dY, cache, gradient, dX);
  }
};

}  // namespace

TEST_CASE("the gradients of plain LoRA are those of central differences") {
  LoraFixture f;
  std::vector<double> expected;
  for (double& number : f.numbers) expected.push_back(f.difference(number));
  Matrix<double> expected_dX(LoraFixture::in, LoraFixture::tokens);
  for (Index j = 0; j < LoraFixture::tokens; ++j)
    for (Index i = 0; i < LoraFixture::in; ++i) expected_dX(i, j) = f.difference(f.X(i, j));
  f.loss();
  std::vector<double> gradient(f.numbers.size(), 1.0);                              // added to
  Matrix<double> dX = Matrix<double>::Constant(LoraFixture::in, LoraFixture::tokens, NAN);  // overwritten
  f.backward(gradient, dX);
  for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(gradient[i] - 1 == Approx(expected[i]).margin(1e-9));
  CHECK(relative_error(dX, expected_dX) < 1e-10);

  std::vector<double> again(f.numbers.size(), 1.0);
  Matrix<double> dX_again(LoraFixture::in, LoraFixture::tokens);
  f.backward(again, not_wanted);
  f.backward(not_wanted, dX_again);
  CHECK(again == gradient);
  CHECK(dX_again == dX);
  CHECK_ERROR(f.backward(std::span(again).first(5), not_wanted), ErrorId::shape,
              "the gradient has 5 numbers, expected 28 (trained values of \"v_proj\")");
}

TEST_CASE("with A frozen, plain LoRA has the same output, the same dB and dX, and no dA") {
  LoraFixture f;
  const auto B = static_cast<std::size_t>(LoraFixture::rank * LoraFixture::out);
  const LoraLinear<double> frozen_A(f.W0, {f.numbers.data(), LoraFixture::out, LoraFixture::rank},
                                    {f.numbers.data() + B, LoraFixture::rank, LoraFixture::in}, 0.6, "v_proj", TrainedFactors::B_only);
  CHECK(frozen_A.trainable() == 16);
  CHECK(f.layer.trainable() == 28);
  std::vector<double> expected;
  for (double& number : std::span(f.numbers).first(B)) expected.push_back(f.difference(number));
  f.loss();
  std::vector<double> both(f.numbers.size(), 1.0);
  Matrix<double> dX_both(LoraFixture::in, LoraFixture::tokens);
  f.backward(both, dX_both);

  Matrix<double> Y(LoraFixture::out, LoraFixture::tokens);
  LinearCache<double> cache;
  const ForwardPass<double> pass = frozen_A.forward(f.X, Y, cache);
  CHECK(Y == f.Y);
  std::vector<double> gradient(B, 1.0);                                             // added to
  Matrix<double> dX = Matrix<double>::Constant(LoraFixture::in, LoraFixture::tokens, NAN);  // overwritten
  frozen_A.backward(pass, f.dY, cache, gradient, dX);
  for (std::size_t i = 0; i < B; ++i) CHECK(gradient[i] - 1 == Approx(expected[i]).margin(1e-9));
  CHECK(std::ranges::equal(gradient, std::span(both).first(B)));
  CHECK(dX == dX_both);

  std::vector<double> again(B, 1.0);
  Matrix<double> dX_again(LoraFixture::in, LoraFixture::tokens);
  frozen_A.backward(pass, f.dY, cache, again, not_wanted);
  frozen_A.backward(pass, f.dY, cache, not_wanted, dX_again);
  CHECK(again == gradient);
  CHECK(dX_again == dX);
  CHECK_ERROR(frozen_A.backward(pass, f.dY, cache, both, not_wanted), ErrorId::shape,
              "the gradient has 28 numbers, expected 16 (trained values of \"v_proj\")");
}

TEST_CASE("gradients per example of plain LoRA are those of each example alone, with A trained or frozen") {
  LoraFixture f;
  f.loss();
  const std::vector<Index> offsets{0, 2, 2, 5};  // the second example has no token
  const auto B = static_cast<std::size_t>(LoraFixture::rank * LoraFixture::out);
  for (const TrainedFactors trained : {TrainedFactors::B_and_A, TrainedFactors::B_only}) {
    const LoraLinear<double> layer(f.W0, {f.numbers.data(), LoraFixture::out, LoraFixture::rank},
                                   {f.numbers.data() + B, LoraFixture::rank, LoraFixture::in}, 0.6, "v_proj", trained);
    LinearCache<double> cache;
    Matrix<double> Y(LoraFixture::out, LoraFixture::tokens), each = Matrix<double>::Zero(layer.trainable(), 3);
    const ForwardPass<double> pass = layer.forward(f.X, Y, cache);
    layer.backward(pass, f.dY, cache, {each, offsets}, not_wanted);
    CHECK(each.col(1).isZero());
    for (const Index example : {0, 2}) {
      const Index first = offsets[std::size_t(example)], count = offsets[std::size_t(example) + 1] - first;
      Matrix<double> Y_alone(LoraFixture::out, count), alone = Matrix<double>::Zero(layer.trainable(), 1);
      const ForwardPass<double> own = layer.forward(f.X.middleCols(first, count), Y_alone, cache);
      layer.backward(own, f.dY.middleCols(first, count), cache, alone, not_wanted);
      CHECK(relative_error(each.col(example), alone) < Tolerance<double>::sum);
    }
  }
}
