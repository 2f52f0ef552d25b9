#include "lorasb/core/layer.hpp"

#include <limits>
#include <type_traits>
#include <vector>

#include "core/balanced_linear.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

/// Keeps nothing and trains nothing; its forward fails when it is asked to.
class Frozen final : public LinearLayer<float> {
 public:
  bool fails = false;
  int backwards = 0;
  Frozen() : LinearLayer<float>("Frozen", "still", 2, 3, 0) {}

 private:
  void run_forward(ConstMatrixView<float>, MatrixView<float> Y, LinearCache<float>&) const override {
    require(!fails, ErrorId::value, "as asked");
    Y.setZero();
  }
  void run_backward(ConstMatrixView<float>, ConstMatrixView<float>, LinearCache<float>&, const LayerGradient<float>&,
                    const InputGradient<float>& dX) const override {
    ++const_cast<Frozen*>(this)->backwards;
    if (dX.wanted()) dX.view().setOnes();
  }
};

}  // namespace

TEST_CASE("a layer of one's own has its sizes checked and its name in the messages") {
  const Frozen layer;
  LinearCache<float> cache;
  Matrix<float> Y(2, 4);
  CHECK_ERROR(layer.forward(Matrix<float>(2, 4), Y, cache), ErrorId::shape,
              "Frozen::forward: X is 2 x 4, expected 3 rows (in_features of \"still\")");
  CHECK_ERROR(layer.forward(Matrix<float>(3, 5), Y, cache), ErrorId::shape, "Y is 2 x 4, expected 2 x 5");
  const Matrix<float> X(3, 4);
  const ForwardPass<float> pass = layer.forward(X, Y, cache);
  CHECK(pass.X().data() == X.data());
  CHECK_ERROR(layer.backward(pass, Matrix<float>(2, 3), cache, not_wanted, not_wanted), ErrorId::shape,
              "Frozen::backward: dY is 2 x 3, expected 2 x 4");
  Matrix<float> dX(3, 4), small(3, 2);
  CHECK_ERROR(layer.backward(pass, Y, cache, not_wanted, small), ErrorId::shape, "dX is 3 x 2, expected 3 x 4");
  CHECK(layer.backwards == 0);
  layer.backward(pass, Y, cache, not_wanted, dX);
  CHECK(dX.sum() == 12);
  CHECK_FALSE(layer.wants_gradient());
}

TEST_CASE("a forward pass may be gone back through more than once, but not after another one or one that failed") {
  Frozen layer;
  LinearCache<float> cache, other;
  const Matrix<float> X(3, 4);
  Matrix<float> Y(2, 4);
  const ForwardPass<float> first = layer.forward(X, Y, cache);
  layer.backward(first, Y, cache, not_wanted, not_wanted);
  layer.backward(first, Y, cache, not_wanted, not_wanted);
  CHECK(layer.backwards == 2);
  layer.forward(X, Y, other);  // with a cache of its own
  layer.backward(first, Y, cache, not_wanted, not_wanted);
  CHECK_ERROR(layer.backward(first, Y, other, not_wanted, not_wanted), ErrorId::shape, "the cache holds another forward pass");
  const ForwardPass<float> second = layer.forward(X, Y, cache);
  CHECK_ERROR(layer.backward(first, Y, cache, not_wanted, not_wanted), ErrorId::shape, "the cache holds another forward pass");
  CHECK_ERROR(layer.backward(ForwardPass<float>(), Y, cache, not_wanted, not_wanted), ErrorId::shape, "the pass is empty");
  layer.fails = true;
  CHECK_ERROR(layer.forward(X, Y, cache), ErrorId::value, "as asked");
  CHECK_ERROR(layer.backward(second, Y, cache, not_wanted, not_wanted), ErrorId::shape, "the cache holds another forward pass");
}

TEST_CASE("a layer with an auxiliary loss has the gradient of it, over the whole batch when it sees a part") {
  const Index out = 3, in = 4, tokens = 6;
  Weight<double> W = random_matrix<Weight<double>>(out, in, 1);
  Matrix<double> X = random_matrix<Matrix<double>>(in, tokens, 2);
  const Matrix<double> dY = random_matrix<Matrix<double>>(out, tokens, 3);
  const BalancedLinear layer(W);
  LinearCache<double> cache;
  Matrix<double> Y(out, tokens);
  const auto loss = [&] {
    layer.forward(X, Y, cache);
    return Y.cwiseProduct(dY).sum() + layer.auxiliary_loss(cache.statistics);
  };
  const auto difference = [&](double& x) {  // the loss is a parabola in each number: only rounding / step is left
    const double kept = x, step = 1e-3;
    x = kept + step;
    const double up = loss();
    x = kept - step;
    const double down = loss();
    x = kept;
    return (up - down) / (2 * step);
  };
  Weight<double> expected(out, in);
  for (Index i = 0; i < out; ++i)
    for (Index j = 0; j < in; ++j) expected(i, j) = difference(W(i, j));
  Matrix<double> expected_dX(in, tokens);
  for (Index i = 0; i < in; ++i)
    for (Index j = 0; j < tokens; ++j) expected_dX(i, j) = difference(X(i, j));

  Weight<double> dW = Weight<double>::Zero(out, in);
  Matrix<double> dX(in, tokens);
  layer.backward(layer.forward(X, Y, cache), dY, cache, dW, dX);
  CHECK(relative_error(dW, expected) < 1e-9);
  CHECK(relative_error(dX, expected_dX) < 1e-9);

  // the same in two parts: their statistics are added up between forward and backward
  LinearCache<double> caches[2];
  Matrix<double> Y1(out, 2), Y2(out, 4);
  const ForwardPass<double> one = layer.forward(X.leftCols(2), Y1, caches[0]), two = layer.forward(X.rightCols(4), Y2, caches[1]);
  std::vector<double> whole = caches[0].statistics;
  for (std::size_t i = 0; i < whole.size(); ++i) whole[i] += caches[1].statistics[i];
  for (LinearCache<double>& c : caches) c.batch_statistics = whole;
  Weight<double> in_parts = Weight<double>::Zero(out, in);
  layer.backward(one, dY.leftCols(2), caches[0], in_parts, not_wanted);
  layer.backward(two, dY.rightCols(4), caches[1], in_parts, not_wanted);
  CHECK(relative_error(in_parts, dW) < 1e-12);

  // statistics of another batch or another size are not used
  CHECK_ERROR((caches[0].batch_statistics = std::span<const double>(whole).first(2),
               layer.backward(one, dY.leftCols(2), caches[0], in_parts, not_wanted)),
              ErrorId::shape, "the batch's statistics are 2 numbers, expected 3");
  layer.forward(X.leftCols(2), Y1, caches[0]);
  CHECK(caches[0].batch_statistics.empty());
}
