#include "lorasb/models/head.hpp"

#include "nn/gradient_check.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

namespace {

Parameters<double> random_head(bool dense) {
  ParameterLayout layout;
  if (dense) append_dense(5, layout);
  append_head(3, 5, layout);
  Parameters<double> values(layout);
  Random random(4);
  for (double& w : values.flat()) w = 0.5 * random.normal();
  return values;
}

}  // namespace

TEST_CASE("A head with a dense layer is W f(c W_d e + b_d) + b, and one without it is c W e + b") {
  const Matrix<double> E = random_matrix<Matrix<double>>(5, 4, 8);
  Matrix<double> logits(3, 4);
  for (const nn::Activation f : {nn::Activation::tanh, nn::Activation::relu}) {
    const Parameters<double> values = random_head(true);
    const Head<double> head(values, 0.7, f);
    CHECK(head.size() == 30 + 18);
    CHECK(head.features() == 5);
    head.forward(E, logits);
    Matrix<double> H =
        (0.7 * values["classifier.dense.weight"] * E).colwise() + as_vector(values.flat("classifier.dense.bias"));
    nn::activate<double>(f, H, H);
    const Matrix<double> expected = (values["classifier.weight"] * H).colwise() + as_vector(values.flat("classifier.bias"));
    CHECK(relative_error(logits, expected) < Tolerance<double>::sum);
  }
  const Parameters<double> values = random_head(false);
  Head<double>(values).forward(E, logits);
  const Matrix<double> expected =
      (std::sqrt(5.0) * values["classifier.weight"] * E).colwise() + as_vector(values.flat("classifier.bias"));
  CHECK(relative_error(logits, expected) < Tolerance<double>::sum);
}

TEST_CASE("The gradients of a head are those of central differences, and those of its examples add up to them") {
  Matrix<double> E = random_matrix<Matrix<double>>(5, 4, 8);
  const Matrix<double> dlogits = random_matrix<Matrix<double>>(3, 4, 9);
  for (const bool dense : {false, true})
    for (const nn::Activation f : {nn::Activation::tanh, nn::Activation::relu}) {
      Parameters<double> values = random_head(dense);
      const Head<double> head(values, 1.3, f);
      const auto loss = [&] {
        Matrix<double> logits(3, 4);
        head.forward(E, logits);
        return logits.cwiseProduct(dlogits).sum();
      };
      Parameters<double> gradient(values.layout());
      Matrix<double> dE(5, 4), again(5, 4);
      head.backward(E, dlogits, gradient.flat(), dE);
      CHECK(gradient_error(values.flat(), gradient.flat(), loss) < gradient_tolerance);
      CHECK(gradient_error(flat(E), flat(dE), loss) < gradient_tolerance);
      Matrix<double> each = Matrix<double>::Zero(values.layout().size(), 4);
      head.backward_per_example(E, dlogits, each, again);
      CHECK(again == dE);
      CHECK(relative_error(each.rowwise().sum(), as_vector(std::as_const(gradient).flat())) < Tolerance<double>::sum);
      Parameters<double> one(values.layout());  // of the third text alone
      Matrix<double> d_third(5, 1);
      head.backward(E.col(2), dlogits.col(2), one.flat(), d_third);
      CHECK(relative_error(each.col(2), as_vector(std::as_const(one).flat())) < Tolerance<double>::sum);
    }
}

TEST_CASE("A head whose layers do not fit together is refused") {
  ParameterLayout layout;
  append_dense(4, layout);
  append_head(3, 5, layout);
  const Parameters<double> values(layout);
  CHECK_ERROR(Head<double>(values), ErrorId::shape, "the dense layer has 4 outputs, expected 5");
  const Parameters<double> good = random_head(true);
  CHECK_ERROR(Head<double>(good, 1, nn::Activation::gelu), ErrorId::value, "neither tanh nor relu");
}
