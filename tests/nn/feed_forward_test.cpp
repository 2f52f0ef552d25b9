#include "lorasb/nn/feed_forward.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "lorasb/nn/linear.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::nn::FeedForward;
using lorasb::nn::Linear;
using lorasb::nn::WeightGradient;
using lorasb::test::Strided;

TEMPLATE_TEST_CASE("The feed-forward block and its gradients are torch's", "", float, double) {
  using S = TestType;
  const Weight<S> W1 = test::golden_weight<S>("feed_forward.W1"), W2 = test::golden_weight<S>("feed_forward.W2");
  const Vector<S> b1 = test::golden_vector<S>("feed_forward.b1"), b2 = test::golden_vector<S>("feed_forward.b2");
  const Strided<Matrix<S>> X(test::golden_matrix<S>("feed_forward.X")), dY(test::golden_matrix<S>("feed_forward.dY"));
  const Linear<S> up(W1, WeightGradient::full), down(W2, WeightGradient::full);
  const FeedForward<S> block{.up = up, .up_bias = flat(b1), .down = down, .down_bias = flat(b2)};
  nn::FeedForwardCache<S> cache;
  Strided<Matrix<S>> Y(5, 9), dX(4, 9);
  block.forward(X.view(), Y.view(), cache);
  Weight<S> dW1 = Weight<S>::Ones(6, 4), dW2 = Weight<S>::Ones(5, 6);  // gradients from before
  Vector<S> db1 = Vector<S>::Ones(6), db2 = Vector<S>::Ones(5);
  block.backward(dY.view(), cache, {.up = dW1, .up_bias = flat(db1), .down = dW2, .down_bias = flat(db2)}, dX.view());
  constexpr double tolerance = test::Tolerance<S>::chain;
  CHECK(test::relative_error(Y.inner(), test::golden_matrix<S>("feed_forward.Y")) <= tolerance);
  CHECK(test::relative_error(dX.inner(), test::golden_matrix<S>("feed_forward.dX")) <= tolerance);
  CHECK(test::relative_error(dW1, Weight<S>::Ones(6, 4) + test::golden_weight<S>("feed_forward.dW1")) <= tolerance);
  CHECK(test::relative_error(dW2, Weight<S>::Ones(5, 6) + test::golden_weight<S>("feed_forward.dW2")) <= tolerance);
  CHECK(test::relative_error(db1, Vector<S>::Ones(6) + test::golden_vector<S>("feed_forward.db1")) <= tolerance);
  CHECK(test::relative_error(db2, Vector<S>::Ones(5) + test::golden_vector<S>("feed_forward.db2")) <= tolerance);
  CHECK(Y.surroundings_untouched());
  CHECK(dX.surroundings_untouched());
}

TEST_CASE("The gradients of the feed-forward block agree with central differences") {
  Weight<double> W1 = test::random_matrix<Weight<double>>(7, 3, 1), W2 = test::random_matrix<Weight<double>>(4, 7, 2);
  Vector<double> b1 = test::random_matrix<Matrix<double>>(7, 1, 3), b2 = test::random_matrix<Matrix<double>>(4, 1, 4);
  Matrix<double> X = test::random_matrix<Matrix<double>>(3, 5, 5), Y(4, 5), dX(3, 5);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(4, 5, 6);
  const Linear<double> up(W1, WeightGradient::full), down(W2, WeightGradient::full);
  const FeedForward<double> block{.up = up, .up_bias = flat(b1), .down = down, .down_bias = flat(b2)};
  nn::FeedForwardCache<double> cache;
  const auto loss = [&] {
    block.forward(X, Y, cache);
    return Y.cwiseProduct(dY).sum();
  };
  loss();
  Weight<double> dW1 = Weight<double>::Zero(7, 3), dW2 = Weight<double>::Zero(4, 7);
  Vector<double> db1 = Vector<double>::Zero(7), db2 = Vector<double>::Zero(4);
  block.backward(dY, cache, {.up = dW1, .up_bias = flat(db1), .down = dW2, .down_bias = flat(db2)}, dX);
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(W1), flat(std::as_const(dW1)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(W2), flat(std::as_const(dW2)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(b1), flat(std::as_const(db1)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(b2), flat(std::as_const(db2)), loss) <= test::gradient_tolerance);
}

TEST_CASE("The block has a choice of activation, and its gradients agree with central differences without biases too") {
  for (const nn::Activation activation : {nn::Activation::relu, nn::Activation::gelu, nn::Activation::tanh}) {
    CAPTURE(int(activation));
    Weight<double> W1 = test::random_matrix<Weight<double>>(7, 3, 1), W2 = test::random_matrix<Weight<double>>(4, 7, 2);
    Matrix<double> X = test::random_matrix<Matrix<double>>(3, 5, 5), Y(4, 5), dX(3, 5);
    const Matrix<double> dY = test::random_matrix<Matrix<double>>(4, 5, 6);
    const Linear<double> up(W1, WeightGradient::full), down(W2, WeightGradient::full);
    const FeedForward<double> block{.up = up, .down = down, .activation = activation};
    nn::FeedForwardCache<double> cache;
    const auto loss = [&] {
      block.forward(X, Y, cache);
      return Y.cwiseProduct(dY).sum();
    };
    loss();
    Weight<double> dW1 = Weight<double>::Zero(7, 3), dW2 = Weight<double>::Zero(4, 7);
    block.backward(dY, cache, {.up = dW1, .down = dW2}, dX);
    CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
    CHECK(test::gradient_error(flat(W1), flat(std::as_const(dW1)), loss) <= test::gradient_tolerance);
    CHECK(test::gradient_error(flat(W2), flat(std::as_const(dW2)), loss) <= test::gradient_tolerance);
  }
}

TEST_CASE("A frozen feed-forward block gives the same gradient of its input") {
  const Weight<double> W1 = test::random_matrix<Weight<double>>(7, 3, 1), W2 = test::random_matrix<Weight<double>>(4, 7, 2);
  const Vector<double> b1 = test::random_matrix<Matrix<double>>(7, 1, 3), b2 = test::random_matrix<Matrix<double>>(4, 1, 4);
  const Matrix<double> X = test::random_matrix<Matrix<double>>(3, 5, 5), dY = test::random_matrix<Matrix<double>>(4, 5, 6);
  const Linear<double> up(W1), down(W2), trained_up(W1, WeightGradient::full);
  const FeedForward<double> frozen{.up = up, .up_bias = flat(b1), .down = down, .down_bias = flat(b2)}, mixed{.up = trained_up, .up_bias = flat(b1), .down = down, .down_bias = flat(b2)};
  Matrix<double> Y(4, 5), dX(3, 5), other(3, 5);
  Weight<double> dW1 = Weight<double>::Zero(7, 3);
  nn::FeedForwardCache<double> cache;
  frozen.forward(X, Y, cache);
  frozen.backward(dY, cache, {}, dX);
  mixed.forward(X, Y, cache);
  mixed.backward(dY, cache, {.up = dW1}, other);
  CHECK(dX == other);
  CHECK(dW1.norm() > 0);
}

TEMPLATE_TEST_CASE("A token passes the feed-forward block in the same way alone and inside a batch", "", float, double) {
  using S = TestType;
  const Weight<S> W1 = test::random_matrix<Weight<S>>(40, 16, 1), W2 = test::random_matrix<Weight<S>>(16, 40, 2);
  const Vector<S> b1 = test::random_matrix<Matrix<S>>(40, 1, 3), b2 = test::random_matrix<Matrix<S>>(16, 1, 4);
  const Matrix<S> X = test::random_matrix<Matrix<S>>(16, 21, 5);
  const Linear<S> up(W1), down(W2);
  const FeedForward<S> block{.up = up, .up_bias = flat(b1), .down = down, .down_bias = flat(b2)};
  Matrix<S> Y(16, 21), alone(16, 1);
  nn::FeedForwardCache<S> cache;
  block.forward(X, Y, cache);
  block.forward(X.col(13), alone, cache);
  CHECK(test::relative_error(alone, Y.col(13)) <= test::Tolerance<S>::sum);
}

TEST_CASE("The feed-forward block refuses sizes that do not fit, and a backward pass without a forward one") {
  const Weight<float> W1 = Weight<float>::Ones(5, 3), W2 = Weight<float>::Ones(3, 5);
  const Vector<float> b1 = Vector<float>::Ones(5), b2 = Vector<float>::Ones(3);
  const Linear<float> up(W1), down(W2);
  const FeedForward<float> block{.up = up, .up_bias = flat(b1), .down = down, .down_bias = flat(b2)}, swapped{.up = up, .up_bias = flat(b2), .down = down, .down_bias = flat(b1)};
  Matrix<float> X = Matrix<float>::Ones(3, 2), Y(3, 2), wrong(4, 2);
  nn::FeedForwardCache<float> cache;
  CHECK_ERROR(block.backward(Y, cache, {}, Y), ErrorId::shape, "the pass is empty");
  CHECK_ERROR(block.forward(wrong, Y, cache), ErrorId::shape, "X is 4 x 2, expected 3 rows");
  CHECK_ERROR(block.forward(X, wrong, cache), ErrorId::shape, "Y is 4 x 2, expected 3 x 2");
  CHECK_ERROR(swapped.forward(X, Y, cache), ErrorId::shape, "expected 3 rows (numbers in b)");
}
