#include "lorasb/nn/binary_cross_entropy.hpp"

#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;

TEMPLATE_TEST_CASE("Binary cross-entropy and its gradient, divided by the examples, are torch's with logits", "", float, double) {
  using S = TestType;
  // torch 2.15: torch.nn.functional.binary_cross_entropy_with_logits(z, t), one row for each example
  const Matrix<S> logits{{1.5, 0, -40, 0.5}, {-0.25, -2, 0.75, -0.5}, {3, 40, -1.25, 2}};
  const Matrix<S> targets{{1, 1, 0, 0}, {0, 1, 0, 1}, {1, 0, 0, 1}};
  const Matrix<S> expected{{-1.52021269838630291e-02, -4.16666666666666644e-02, 3.54029521274299073e-19, 5.18716109334878828e-02},
                           {3.64852915928501609e-02, -7.33997564981568734e-02, 5.65982249312827479e-02, -5.18716109334878828e-02},
                           {-3.95215609813055323e-03, 8.33333333333333287e-02, 1.85583449021090689e-02, -9.93357683517647437e-03}};
  Strided<Matrix<S>> dlogits(3, 4);
  Vector<double> losses(4);
  const double sum = nn::binary_cross_entropy<S>(logits, targets, dlogits.view(), flat(losses));
  CHECK(sum / 4 == Approx(3.9258247756584765).epsilon(test::Tolerance<S>::sum));
  CHECK(losses.sum() == Approx(sum).epsilon(test::Tolerance<double>::sum));
  CHECK(test::relative_error(dlogits.inner() / S(4), expected) <= test::Tolerance<S>::sum);
  CHECK(double(dlogits.inner()(0, 2)) == Approx(4 * 3.54029521274299073e-19).epsilon(test::Tolerance<S>::sum));  // not 0
  CHECK(dlogits.surroundings_untouched());
}

TEST_CASE("The gradient of binary cross-entropy agrees with central differences, targets between 0 and 1 included") {
  Matrix<double> logits = test::random_matrix<Matrix<double>>(3, 4, 2), dlogits(3, 4), ignored(3, 4);
  const Matrix<double> targets{{1, 0, 0.25, 1}, {0, 0, 1, 1}, {0.5, 0, 0, 1}};
  nn::binary_cross_entropy<double>(logits, targets, dlogits);
  const auto loss = [&] { return nn::binary_cross_entropy<double>(logits, targets, ignored); };
  CHECK(test::gradient_error(flat(logits), flat(std::as_const(dlogits)), loss) <= test::gradient_tolerance);
  nn::binary_cross_entropy<double>(logits, targets, logits);
  CHECK(logits == dlogits);
}

TEST_CASE("Binary cross-entropy of a logit that is not finite is NaN for its example alone, and what does not fit is refused") {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    Matrix<double> logits{{0, 1}, {0, bad}}, dlogits(2, 2);
    const Matrix<double> targets{{1, 1}, {0, 1}};
    std::vector<double> losses(2);
    CHECK(std::isnan(nn::binary_cross_entropy<double>(logits, targets, dlogits, losses)));
    CHECK(losses[0] == Approx(std::log(2.0)));
    CHECK(std::isnan(losses[1]));
    CHECK(dlogits.col(0).allFinite());
    CHECK(dlogits.col(1).array().isNaN().all());
  }
  Matrix<float> logits{{0, 1}}, dlogits(1, 2), none(1, 0);
  const Matrix<float> targets{{0, 1}}, two{{0, 2}};
  std::vector<double> three(3);
  CHECK(nn::binary_cross_entropy<float>(none, none, none) == 0);
  CHECK_ERROR(nn::binary_cross_entropy<float>(logits, two, dlogits), ErrorId::value, "example 1 has the target 2 for label 0");
  CHECK_ERROR(nn::binary_cross_entropy<float>(logits, none, dlogits), ErrorId::shape, "targets is 1 x 0, expected 1 x 2");
  CHECK_ERROR(nn::binary_cross_entropy<float>(logits, targets, none), ErrorId::shape, "dlogits is 1 x 0, expected 1 x 2");
  CHECK_ERROR(nn::binary_cross_entropy<float>(logits, targets, dlogits, three), ErrorId::shape, "losses holds 3 numbers");
}

TEST_CASE("Examples with exactly their labels are counted, none for an example that has none") {
  const Matrix<float> targets{{1, 0, 0, 1}, {1, 0, 0, 0}};
  CHECK(nn::count_exact_label_sets<float>(Matrix<float>{{2, -1, 0, 1}, {1, -1, 0.5, 0}}, targets) == 3);
  CHECK(nn::count_exact_label_sets<float>(Matrix<float>(2, 0), Matrix<float>(2, 0)) == 0);
  CHECK_ERROR(nn::count_exact_label_sets<float>(targets, Matrix<float>(2, 3)), ErrorId::shape, "targets is 2 x 3");
}
