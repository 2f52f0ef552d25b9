#include "lorasb/adapter/initialize.hpp"

#include "lorasb/adapter/lora/lora_xs.hpp"
#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

/// An estimate whose sum is `G`, of `examples` examples.
template <Real S>
GradientEstimate<S> estimate_of(const Weight<S>& G, Index examples = 1) {
  GradientEstimate<S> estimate(G.rows(), G.cols(), "up");
  estimate.add(ConstWeightView<S>(G), examples);
  return estimate;
}

/// Sum of the r largest squared singular values: the best rank-r energy.
double best_energy(const Eigen::MatrixXd& M, Index r) { return singular_values_by_gram(M).head(r).squaredNorm(); }

template <Real S>
double orthonormality_error(const LowRankAdapter<S>& adapter) {
  const Eigen::MatrixXd B = adapter.B.template cast<double>();
  const Eigen::MatrixXd A = adapter.A.template cast<double>();
  const Eigen::MatrixXd identity = Eigen::MatrixXd::Identity(adapter.rank(), adapter.rank());
  return std::max((B.transpose() * B - identity).cwiseAbs().maxCoeff(), (A * A.transpose() - identity).cwiseAbs().maxCoeff());
}

}  // namespace

TEMPLATE_TEST_CASE("the start is the rank-r part of the first optimizer step", "", float, double) {
  using S = TestType;
  const Weight<S> G = random_matrix<Weight<S>>(60, 40, 1);
  const double rate = 0.01;
  for (const FirstStep rule : {FirstStep::adamw, FirstStep::sgd}) {
    for (const double scale : {1.0, 0.5, -2.0}) {
      const auto [adapter, report] =
          initialize(estimate_of<S>(G, 4), {.rank = 8, .rule = rule, .learning_rate = rate, .scale = scale});
      Eigen::MatrixXd step = -rate * G.template cast<double>() / 4;
      if (rule == FirstStep::adamw) step = -rate * G.template cast<double>().array().sign();
      const double best = best_energy(step, 8);
      const Eigen::MatrixXd start = delta(adapter);
      INFO("rule " << int(rule) << " scale " << scale);
      // by Eckart-Young nothing of rank 8 is closer; the randomized SVD may miss 1 % of the best energy
      CHECK((start - step).squaredNorm() <= step.squaredNorm() - 0.99 * best);
      CHECK((start - step).squaredNorm() >= (step.squaredNorm() - best) * (1 - Tolerance<S>::sum));
      CHECK(report.captured_energy == Approx(start.squaredNorm() / step.squaredNorm()).epsilon(Tolerance<S>::iterative));
      CHECK(report.update_norm == Approx(step.norm()).epsilon(Tolerance<S>::sum));
      CHECK(report.residual_norm == Approx((start - step).norm()).epsilon(Tolerance<S>::iterative));
      // R = Σ / s: diagonal, with |s| R the singular values in falling order
      const Weight<S> off_diagonal = adapter.R - Weight<S>(adapter.R.diagonal().asDiagonal());
      CHECK(off_diagonal.isZero(0));
      for (Index i = 1; i < 8; ++i) CHECK(scale * adapter.R(i, i) <= scale * adapter.R(i - 1, i - 1));
      CHECK(scale * adapter.R(7, 7) > 0);
      CHECK(orthonormality_error(adapter) < std::min(5e-7, 1e3 * Tolerance<S>::exact));
    }
  }
}

TEST_CASE("with the defaults the captured energy is within 1 % of the best, on matrices of signs too") {
  for (const std::uint64_t seed : {1, 2}) {
    const Weight<float> signs = random_matrix<Weight<float>>(512, 384, seed);
    const Eigen::MatrixXd step = signs.cast<double>().array().sign();
    const auto [adapter, report] = initialize(estimate_of<float>(signs), {.rank = 24, .learning_rate = 1});
    CHECK(report.captured_energy >= 0.99 * best_energy(step, 24) / step.squaredNorm());
    CHECK(orthonormality_error(adapter) < 5e-7);
  }
  Weight<float> decaying = random_matrix<Weight<float>>(300, 200, 3);
  for (Index j = 0; j < 200; ++j) decaying.col(j) *= std::exp(-0.05f * float(j));
  const auto [adapter, report] =
      initialize(estimate_of<float>(decaying), {.rank = 16, .rule = FirstStep::sgd, .learning_rate = 1});
  CHECK(report.captured_energy >= 0.9999 * best_energy(decaying.cast<double>(), 16) / decaying.cast<double>().squaredNorm());
  CHECK(orthonormality_error(adapter) < 5e-7);
}

TEST_CASE("a gradient of lower rank than the adapter still gives orthonormal factors") {
  const Weight<float> G = random_matrix<Weight<float>>(30, 1, 1) * random_matrix<Weight<float>>(1, 20, 2);
  const auto [adapter, report] = initialize(estimate_of<float>(G), {.rank = 5, .rule = FirstStep::sgd, .learning_rate = 1});
  CHECK(report.captured_energy == Approx(1).epsilon(1e-5));
  CHECK(orthonormality_error(adapter) < 5e-7);
  CHECK(std::abs(adapter.R(1, 1)) < 1e-5f * adapter.R(0, 0));
}

TEST_CASE("a sum of gradients that overflowed is refused for both rules, and large ones in range are not") {
  GradientEstimate<float> estimate(4, 3, "query");
  const Matrix<float> large = Matrix<float>::Constant(4, 1, 1e25f), X = Matrix<float>::Constant(3, 1, 1e25f);
  estimate.add(large, X, 1);
  for (const FirstStep rule : {FirstStep::adamw, FirstStep::sgd})
    CHECK_ERROR(initialize(estimate, {.rank = 1, .rule = rule}), ErrorId::not_finite, "the sum of gradients of \"query\"");
  GradientEstimate<double> far(4, 3);
  far.add((1e200 * random_matrix<Weight<double>>(4, 3, 1)).eval(), 1);
  const auto [adapter, report] = initialize(far, {.rank = 3, .rule = FirstStep::sgd, .learning_rate = 1e-200});
  CHECK(report.captured_energy == Approx(1).epsilon(1e-12));
}

TEST_CASE("refusals say what to change") {
  const GradientEstimate<float> none(6, 5, "query");
  CHECK_ERROR(initialize(none, {}), ErrorId::no_examples, "\"query\" saw no example");
  GradientEstimate<float> zero(6, 5, "query");
  zero.add(Matrix<float>::Zero(6, 2).eval(), Matrix<float>::Ones(5, 2).eval(), 2);
  CHECK_ERROR(initialize(zero, {.rank = 2}), ErrorId::zero_update, "every gradient of \"query\" over 2 examples is zero");
  const GradientEstimate<float> good = estimate_of<float>(random_matrix<Weight<float>>(6, 5, 1));
  CHECK_ERROR(initialize(good, {.rank = 0}), ErrorId::rank, "0");
  CHECK_ERROR(initialize(good, {.rank = 6}), ErrorId::rank, "6");
  CHECK_ERROR(initialize(good, {.rank = 2, .learning_rate = 0}), ErrorId::value, "first_nonzero_rate()");
  CHECK_ERROR(initialize(good, {.rank = 2, .scale = 0}), ErrorId::value, "scale is 0");
  CHECK_ERROR(initialize(good, {.rank = 2, .krylov_steps = -1}), ErrorId::value, "krylov_steps is -1");
}

TEST_CASE("the report shows how far the start goes, and a rank above that of the data") {
  GradientEstimate<double> estimate(9, 10, "two examples");
  estimate.add(random_matrix<Matrix<double>>(9, 2, 6), random_matrix<Matrix<double>>(10, 2, 7), 2);
  const Initialized<double> start = initialize(estimate, {.rank = 5, .rule = FirstStep::sgd, .learning_rate = 0.3});
  CHECK(start.report.numerical_rank == 2);
  CHECK(start.report.largest_singular_value == Approx(start.adapter.R(0, 0)));
  CHECK(start.report.residual_norm == 0);
}

TEST_CASE("a start needs no options, and moves no entry of the weight further than AdamW's rate for a full weight") {
  const GradientEstimate<double> estimate = estimate_of<double>(random_matrix<Weight<double>>(40, 30, 1));
  const auto [adapter, report] = initialize(estimate);
  CHECK(adapter.rank() == 16);
  CHECK(report.update_norm == Approx(1e-4 * std::sqrt(40.0 * 30.0)));
  CHECK(report.largest_singular_value == Approx(singular_values_by_gram(delta(adapter))(0)));
  CHECK(report.numerical_rank == 16);
}
