#include "lorasb/nn/linear.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "lorasb/nn/bias.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::nn::Linear;
using lorasb::nn::WeightGradient;
using lorasb::test::Strided;

TEMPLATE_TEST_CASE("A linear layer with bias and its gradients are torch's", "", float, double) {
  using S = TestType;
  const Strided<Weight<S>> W(test::golden_weight<S>("linear.W"));
  const Strided<Matrix<S>> X(test::golden_matrix<S>("linear.X")), dY(test::golden_matrix<S>("linear.dY"));
  const Vector<S> b = test::golden_vector<S>("linear.b");
  const Linear<S> layer(W.view(), WeightGradient::full);
  LinearCache<S> cache;
  Strided<Matrix<S>> Y(5, 9), dX(4, 9);
  const ForwardPass<S> pass = layer.forward(X.view(), Y.view(), cache);
  nn::add_bias<S>(Y.view(), flat(b));
  CHECK(test::relative_error(Y.inner(), test::golden_matrix<S>("linear.Y")) <= test::Tolerance<S>::sum);

  Weight<S> dW = Weight<S>::Ones(5, 4);  // gradients from before
  Vector<S> db = Vector<S>::Ones(5);
  layer.backward(pass, dY.view(), cache, dW, dX.view());
  nn::add_bias_backward_parameters<S>(dY.view(), flat(db));
  CHECK(test::relative_error(dX.inner(), test::golden_matrix<S>("linear.dX")) <= test::Tolerance<S>::sum);
  CHECK(test::relative_error(dW, Weight<S>::Ones(5, 4) + test::golden_weight<S>("linear.dW")) <= test::Tolerance<S>::sum);
  CHECK(test::relative_error(db, Vector<S>::Ones(5) + test::golden_vector<S>("linear.db")) <= test::Tolerance<S>::sum);
  CHECK(Y.surroundings_untouched());
  CHECK(dX.surroundings_untouched());
}

TEST_CASE("The gradients of a linear layer agree with central differences") {
  Weight<double> W = test::random_matrix<Weight<double>>(3, 4, 1);
  Matrix<double> X = test::random_matrix<Matrix<double>>(4, 5, 2), Y(3, 5), dX(4, 5);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(3, 5, 3);
  const Linear<double> layer(W, WeightGradient::full);
  LinearCache<double> cache;
  const auto loss = [&] {
    layer.forward(X, Y, cache);
    return Y.cwiseProduct(dY).sum();
  };
  Weight<double> dW = Weight<double>::Zero(3, 4);
  const ForwardPass<double> pass = layer.forward(X, Y, cache);
  layer.backward(pass, dY, cache, dW, dX);
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
  CHECK(test::gradient_error(flat(W), flat(std::as_const(dW)), loss) <= test::gradient_tolerance);
}

TEST_CASE("A frozen linear layer has no gradient and wants none") {
  const Weight<float> W = Weight<float>::Ones(2, 3);
  const Linear<float> frozen(W), trained(W, WeightGradient::full);
  CHECK(frozen.out_features() == 2);
  CHECK(frozen.in_features() == 3);
  CHECK(frozen.trainable() == 0);
  CHECK_FALSE(frozen.wants_gradient());
  CHECK(trained.trainable() == 6);
  const Matrix<float> X = Matrix<float>::Ones(3, 4), dY = Matrix<float>::Ones(2, 4);
  Matrix<float> dX(3, 4);
  Matrix<float> Y(2, 4);
  LinearCache<float> cache;
  frozen.backward(frozen.forward(X, Y, cache), dY, cache, not_wanted, dX);
  CHECK(dX == Matrix<float>::Constant(3, 4, 2));
}

TEST_CASE("A linear layer refuses gradients and activations of another size") {
  const Weight<float> W = Weight<float>::Ones(2, 3);
  const Linear<float> frozen(W), trained(W, WeightGradient::full);
  const Matrix<float> X = Matrix<float>::Ones(3, 4), dY = Matrix<float>::Ones(2, 4);
  Matrix<float> Y(2, 4);
  LinearCache<float> cache;
  std::vector<float> five(5);
  CHECK_ERROR(frozen.forward(dY, Y, cache), ErrorId::shape, "X is 2 x 4, expected 3 rows");
  const ForwardPass<float> pass = trained.forward(X, Y, cache);
  CHECK_ERROR(trained.backward(pass, dY, cache, five, not_wanted), ErrorId::shape, "the gradient has 5 numbers, expected 6");
  CHECK_ERROR(trained.backward(pass, dY.leftCols(3), cache, not_wanted, not_wanted), ErrorId::shape, "dY is 2 x 3, expected 2 x 4");
  CHECK_ERROR(trained.backward(pass, dY, cache, not_wanted, Y), ErrorId::shape, "dX is 2 x 4, expected 3 x 4");
}

TEST_CASE("Gradients per example of a trained linear layer are those of each example alone") {
  const Weight<double> W = test::random_matrix<Weight<double>>(3, 4, 1);
  const Matrix<double> X = test::random_matrix<Matrix<double>>(4, 5, 2), dY = test::random_matrix<Matrix<double>>(3, 5, 3);
  const Linear<double> layer(W, WeightGradient::full);
  LinearCache<double> cache;
  Matrix<double> Y(3, 5), each = Matrix<double>::Zero(12, 3);
  const std::vector<Index> offsets{0, 2, 2, 5};
  layer.backward(layer.forward(X, Y, cache), dY, cache, {each, offsets}, not_wanted);
  const Weight<double> first = dY.leftCols(2) * X.leftCols(2).transpose(), last = dY.rightCols(3) * X.rightCols(3).transpose();
  CHECK(test::relative_error(each.col(0), as_vector(flat(first))) <= test::Tolerance<double>::sum);
  CHECK(each.col(1).isZero());
  CHECK(test::relative_error(each.col(2), as_vector(flat(last))) <= test::Tolerance<double>::sum);
}
