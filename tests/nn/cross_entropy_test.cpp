#include "lorasb/nn/cross_entropy.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;
using Labels = std::vector<std::int32_t>;

TEMPLATE_TEST_CASE("Cross-entropy, summed, and its gradient are torch's, logits of ten thousand included", "", float, double) {
  using S = TestType;
  const Strided<Matrix<S>> logits(test::golden_matrix<S>("cross_entropy.logits"));
  const std::span<const std::int32_t> labels = test::golden().view<std::int32_t>("cross_entropy.labels");
  const Vector<double> expected = test::golden_vector<double>("cross_entropy.losses");
  Strided<Matrix<S>> dlogits(5, 6);
  Vector<double> losses(6);
  const double sum = nn::cross_entropy<S>(logits.view(), labels, dlogits.view(), flat(losses));
  CHECK(sum == Approx(expected.sum()).epsilon(test::Tolerance<S>::exact));
  for (Index i = 0; i < 6; ++i) CHECK(losses(i) == Approx(expected(i)).epsilon(test::Tolerance<S>::sum));
  CHECK(test::relative_error(dlogits.inner(), test::golden_matrix<S>("cross_entropy.dlogits")) <= test::Tolerance<S>::sum);
  CHECK(dlogits.surroundings_untouched());
}

TEST_CASE("The gradient of cross-entropy agrees with central differences") {
  const Labels labels{2, 0, 0, 1};
  Matrix<double> logits = test::random_matrix<Matrix<double>>(3, 4, 1), dlogits(3, 4), ignored(3, 4);
  nn::cross_entropy<double>(logits, labels, dlogits);
  const auto loss = [&] { return nn::cross_entropy<double>(logits, labels, ignored); };
  CHECK(test::gradient_error(flat(logits), flat(std::as_const(dlogits)), loss) <= test::gradient_tolerance);
}

TEMPLATE_TEST_CASE("The gradient of every example sums to zero, and may take the place of the logits", "", float, double) {
  using S = TestType;
  Matrix<S> logits = test::random_matrix<Matrix<S>>(25, 8, 2), dlogits(25, 8);
  const Labels labels{0, 1, 2, 3, 24, 5, 6, 7};
  const double loss = nn::cross_entropy<S>(logits, labels, dlogits);
  CHECK(dlogits.colwise().sum().template cast<double>().cwiseAbs().maxCoeff() <= test::Tolerance<S>::sum);
  CHECK(nn::cross_entropy<S>(logits, labels, logits) == Approx(loss).epsilon(test::Tolerance<S>::exact));
  CHECK(test::relative_error(logits, dlogits) <= test::Tolerance<S>::exact);
}

TEMPLATE_TEST_CASE("Equal logits cost the logarithm of the number of classes, one class costs nothing", "", float, double) {
  using S = TestType;
  Matrix<S> logits = Matrix<S>::Constant(10, 1, S(-3)), one = Matrix<S>::Ones(1, 2), dlogits(10, 1), d_one(1, 2);
  CHECK(nn::cross_entropy<S>(logits, Labels{4}, dlogits) == Approx(std::log(10.0)).epsilon(test::Tolerance<S>::exact));
  CHECK(nn::cross_entropy<S>(one, Labels{0, 0}, d_one) == 0);
  CHECK(d_one.isZero(0));
  Matrix<S> none(3, 0);
  CHECK(nn::cross_entropy<S>(none, {}, none) == 0);
}

TEMPLATE_TEST_CASE("A logit that is not finite makes the loss of its example NaN, and of no other", "", float, double) {
  using S = TestType;
  constexpr S infinity = std::numeric_limits<S>::infinity();
  for (const S bad : {infinity, -infinity, std::numeric_limits<S>::quiet_NaN()})
    for (Index row = 0; row < 20; ++row) {
      Matrix<S> logits = test::random_matrix<Matrix<S>>(20, 2, 3), dlogits(20, 2);
      logits(row, 1) = bad;
      Vector<double> losses(2);
      CHECK(std::isnan(nn::cross_entropy<S>(logits, Labels{0, 0}, dlogits, flat(losses))));
      CHECK(std::isfinite(losses(0)));
      CHECK(std::isnan(losses(1)));
      CHECK(dlogits.col(0).allFinite());
      CHECK(dlogits.col(1).array().isNaN().all());
    }
}

TEST_CASE("A label out of range is named with its example and the number of classes") {
  Matrix<float> logits = Matrix<float>::Ones(3, 2), dlogits(3, 2);
  CHECK_ERROR(nn::cross_entropy<float>(logits, Labels{0, 3}, dlogits), ErrorId::value,
              "cross_entropy: example 1 has label 3, expected 0 to 2 (3 classes)");
  CHECK_ERROR(nn::cross_entropy<float>(logits, Labels{-1, 0}, dlogits), ErrorId::value, "example 0 has label -1");
  CHECK_ERROR(nn::count_correct<float>(logits, Labels{0, 7}), ErrorId::value, "count_correct: example 1 has label 7");
}

TEST_CASE("Cross-entropy refuses sizes that do not fit") {
  Matrix<float> logits = Matrix<float>::Ones(3, 2), dlogits(3, 2), wrong(2, 3);
  std::vector<double> three(3);
  CHECK_ERROR(nn::cross_entropy<float>(logits, Labels{0}, dlogits), ErrorId::shape, "labels holds 1 numbers, expected 2");
  CHECK_ERROR(nn::cross_entropy<float>(logits, Labels{0, 1}, wrong), ErrorId::shape, "dlogits is 2 x 3, expected 3 x 2");
  CHECK_ERROR(nn::cross_entropy<float>(logits, Labels{0, 1}, dlogits, three), ErrorId::shape, "losses holds 3 numbers");
}

TEST_CASE("Correct examples are counted, ties going to the lowest class") {
  const Matrix<float> logits{{1, 5, 2, -1}, {3, 5, 2, -2}, {2, 1, 2, -3}};
  CHECK(nn::count_correct<float>(logits, Labels{1, 0, 0, 0}) == 4);
  CHECK(nn::count_correct<float>(logits, Labels{1, 1, 2, 0}) == 2);
  CHECK(nn::count_correct<float>(Matrix<float>(3, 0), {}) == 0);
  Labels best(4), few(3);
  nn::best_classes<float>(logits, best);
  CHECK(best == Labels{1, 0, 0, 0});
  CHECK_ERROR(nn::best_classes<float>(logits, few), ErrorId::shape, "best holds 3 numbers, expected 4");
}

TEST_CASE("Class weights multiply loss and gradient of each example, as torch's cross_entropy with weight and reduction sum") {
  const Matrix<double> logits = test::random_matrix<Matrix<double>>(3, 4, 2);
  const Labels labels{0, 2, 2, 1};
  const std::vector<double> weights{0.5, 3, 0.25};
  Matrix<double> plain(3, 4), weighted(3, 4), ignored(3, 4);
  std::vector<double> losses(4), weighted_losses(4);
  nn::cross_entropy<double>(logits, labels, plain, losses);
  const double sum = nn::cross_entropy<double>(logits, labels, weighted, weighted_losses, weights);
  double expected = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const double w = weights[static_cast<std::size_t>(labels[i])];
    CHECK(weighted_losses[i] == w * losses[i]);
    CHECK(weighted.col(Index(i)) == w * plain.col(Index(i)));
    expected += w * losses[i];
  }
  CHECK(sum == Approx(expected).epsilon(1e-15));
  CHECK_ERROR(nn::cross_entropy<double>(logits, labels, ignored, {}, std::vector<double>{1, 2}), ErrorId::shape,
              "class_weights holds 2 numbers, expected 3");
}
