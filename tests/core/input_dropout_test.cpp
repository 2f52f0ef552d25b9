#include "lorasb/core/input_dropout.hpp"

#include "support.hpp"

using namespace lorasb;

TEMPLATE_TEST_CASE("A mask leaves out the share that it says, keeps the mean, and follows from key, layer and row", "", float, double) {
  using S = TestType;
  std::vector<std::uint64_t> keys(400);
  for (std::size_t c = 0; c < keys.size(); ++c) keys[c] = derive_seed(3, c);
  const InputDropout dropout{0.3, 2, keys};
  const Matrix<S> X = Matrix<S>::Ones(250, 400);
  Matrix<S> Y(250, 400), again(250, 400);
  dropout.apply<S>(X, Y);
  const double kept = double((Y.array() != 0).count()) / double(Y.size());
  CHECK(kept == Approx(0.7).margin(0.006));  // four deviations of 100,000 draws
  CHECK(Y.maxCoeff() == Approx(1 / 0.7).epsilon(1e-4));  // the rate is a multiple of 2^-16
  CHECK(Y.template cast<double>().mean() == Approx(1).margin(0.009));
  again = X;
  dropout.apply<S>(again, again);
  CHECK(again == Y);
  for (const Index c : {0, 7, 399}) {  // a column's mask does not depend on its neighbours
    const InputDropout one{0.3, 2, std::span(keys).subspan(std::size_t(c), 1)};
    Matrix<S> y(250, 1);
    one.apply<S>(X.leftCols(1), y);
    CHECK(y == Y.col(c));
  }
  InputDropout{0.3, 3, keys}.apply<S>(X, again);  // another layer, another mask: they agree as often as chance has it
  CHECK(double((again.array() == Y.array()).count()) / double(Y.size()) == Approx(0.58).margin(0.007));
  CHECK(double((Y.topRows(249).array() == Y.bottomRows(249).array()).count()) / (249.0 * 400) == Approx(0.58).margin(0.007));
}

TEST_CASE("Without a rate an input stays where it is, and keys must fit") {
  const Matrix<float> X = Matrix<float>::Ones(3, 2);
  Buffer<float> buffer;
  CHECK(InputDropout().input<float>(X, buffer).data() == X.data());
  const std::vector<std::uint64_t> keys{1, 2};
  const float* const written = InputDropout{0.5, 0, keys}.input<float>(X, buffer).data();
  CHECK(written == buffer.view().data());
  CHECK_ERROR((InputDropout{0.5, 0, {}}.input<float>(X, buffer)), ErrorId::shape, "0 keys, expected 2");
}
