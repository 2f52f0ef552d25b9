#include "lorasb/nn/activation.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;

namespace {

template <Real S>
struct Activation {
  std::string name;
  void (*forward)(ConstMatrixView<S>, MatrixView<S>);
  void (*backward)(ConstMatrixView<S>, ConstMatrixView<S>, MatrixView<S>);
  bool backward_reads_output;
};

template <Real S>
const std::vector<Activation<S>> activations{{"relu", nn::relu<S>, nn::relu_backward<S>, true},
                                             {"gelu", nn::gelu<S>, nn::gelu_backward<S>, false},
                                             {"tanh", nn::tanh<S>, nn::tanh_backward<S>, true}};

}  // namespace

TEMPLATE_TEST_CASE("Activations and their gradients are torch's, in place too", "", float, double) {
  using S = TestType;
  for (const Activation<S>& activation : activations<S>) {
    INFO(activation.name);
    const Matrix<S> expected = test::golden_matrix<S>(activation.name + ".Y");
    const Matrix<S> gradient = test::golden_matrix<S>(activation.name + ".dX");
    const Strided<Matrix<S>> X(test::golden_matrix<S>(activation.name + ".X"));
    const Strided<Matrix<S>> dY(test::golden_matrix<S>(activation.name + ".dY"));
    Strided<Matrix<S>> Y(6, 9), dX(6, 9);
    activation.forward(X.view(), Y.view());
    const ConstMatrixView<S> kept = activation.backward_reads_output ? std::as_const(Y).view() : X.view();
    activation.backward(dY.view(), kept, dX.view());
    CHECK(test::relative_error(Y.inner(), expected) <= test::Tolerance<S>::sum);
    CHECK(test::relative_error(dX.inner(), gradient) <= test::Tolerance<S>::sum);
    CHECK(Y.surroundings_untouched());
    CHECK(dX.surroundings_untouched());

    Matrix<S> in_place = X.inner(), d_in_place = dY.inner();
    activation.forward(in_place, in_place);
    activation.backward(d_in_place, kept, d_in_place);
    // Another address can mean scalar code for another part of a column: a rounding or two apart.
    CHECK(test::relative_error(in_place, Y.inner()) <= test::Tolerance<S>::exact);
    CHECK(test::relative_error(d_in_place, dX.inner()) <= test::Tolerance<S>::exact);
  }
}

TEST_CASE("The gradients of activations agree with central differences") {
  for (const Activation<double>& activation : activations<double>) {
    INFO(activation.name);
    Matrix<double> X = test::random_matrix<Matrix<double>>(4, 5, 1), Y(4, 5), dX(4, 5);
    const Matrix<double> dY = test::random_matrix<Matrix<double>>(4, 5, 2);
    const auto loss = [&] {
      activation.forward(X, Y);
      return Y.cwiseProduct(dY).sum();
    };
    loss();
    activation.backward(dY, activation.backward_reads_output ? Y : X, dX);
    CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
  }
}

TEMPLATE_TEST_CASE("Activations at their ends", "", float, double) {
  using S = TestType;
  const Matrix<S> X{{-100, -0.0, 0, 100}};
  const Matrix<S> ones = Matrix<S>::Ones(1, 4);
  Matrix<S> Y(1, 4), dX(1, 4);
  nn::relu<S>(X, Y);
  CHECK(Y == Matrix<S>{{0, 0, 0, 100}});
  nn::relu_backward<S>(ones, Y, dX);
  CHECK(dX == Matrix<S>{{0, 0, 0, 1}});
  nn::gelu<S>(X, Y);
  CHECK(Y == Matrix<S>{{0, 0, 0, 100}});
  nn::gelu_backward<S>(ones, X, dX);
  CHECK(dX == Matrix<S>{{0, 0.5, 0.5, 1}});
  nn::tanh<S>(X, Y);
  CHECK(test::relative_error(Y, Matrix<S>{{-1, 0, 0, 1}}) <= test::Tolerance<S>::exact);
}

TEMPLATE_TEST_CASE("NaN goes through every activation", "", float, double) {
  using S = TestType;
  for (const Activation<S>& activation : activations<S>)
    for (Index place = 0; place < 37; ++place) {  // in a register and outside
      INFO(activation.name << " at " << place);
      Matrix<S> X = Matrix<S>::Ones(37, 1), Y(37, 1);
      X(place, 0) = std::numeric_limits<S>::quiet_NaN();
      activation.forward(X, Y);
      CHECK(std::isnan(Y(place, 0)));
      CHECK(Y.array().isNaN().count() == 1);
    }
}

TEST_CASE("Activations refuse matrices of different shapes") {
  for (const Activation<float>& activation : activations<float>) {
    Matrix<float> X = Matrix<float>::Ones(2, 3), wrong(3, 2);
    CHECK_ERROR(activation.forward(X, wrong), ErrorId::shape, activation.name + ": Y is 3 x 2, expected 2 x 3");
    CHECK_ERROR(activation.backward(wrong, X, X), ErrorId::shape, "dY is 3 x 2, expected 2 x 3");
    CHECK_ERROR(activation.backward(X, X, wrong), ErrorId::shape, "dX is 3 x 2, expected 2 x 3");
  }
}

TEST_CASE("gelu by tanh is near gelu, and its gradient agrees with central differences") {
  Matrix<double> X = 2 * test::random_matrix<Matrix<double>>(4, 25, 1), Y(4, 25), dX(4, 25), exact(4, 25);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(4, 25, 2);
  const auto loss = [&] {
    nn::activate<double>(nn::Activation::gelu_tanh, X, Y);
    return Y.cwiseProduct(dY).sum();
  };
  loss();
  nn::gelu<double>(X, exact);
  CHECK((Y - exact).cwiseAbs().maxCoeff() < 5e-4);
  CHECK((Y - exact).cwiseAbs().maxCoeff() > 1e-5);
  nn::activate_backward<double>(nn::Activation::gelu_tanh, dY, X, dX);
  CHECK(test::gradient_error(flat(X), flat(std::as_const(dX)), loss) <= test::gradient_tolerance);
}
