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

TEMPLATE_TEST_CASE("every direction of a first step is its formula, truncated", "", float, double) {
  using S = TestType;
  constexpr int batches = 5;
  GradientEstimate<S> estimate(30, 20, "up", GradientMoments::first_and_second);
  Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(30, 20), squares = sum;
  const Weight<S> common = random_matrix<Weight<S>>(30, 20, 7);
  for (int b = 0; b < batches; ++b) {
    const Matrix<S> dY = random_matrix<Matrix<S>>(30, 6, 8, std::uint64_t(b)), X = random_matrix<Matrix<S>>(20, 6, 9, std::uint64_t(b));
    if (b % 2 == 0) {
      estimate.add(dY, X, 6);
    } else {
      estimate.add_uncounted(dY, X);
      estimate.count(6);
    }
    const Eigen::MatrixXd G = dY.template cast<double>() * X.template cast<double>().transpose();
    sum += G;
    squares += G.cwiseAbs2();
  }
  estimate.add(ConstWeightView<S>(common), 1);
  sum += common.template cast<double>();
  squares += common.template cast<double>().cwiseAbs2();
  REQUIRE(estimate.batches() == batches + 1);
  REQUIRE(estimate.examples() == 6 * batches + 1);

  const double rate = 0.01;
  const auto check = [&](FirstStep rule, const Eigen::MatrixXd& step) {
    INFO("rule " << int(rule));
    const auto [adapter, report] = initialize(estimate, {.rank = 20, .rule = rule, .learning_rate = rate});
    CHECK((delta(adapter) - step).norm() < 10 * Tolerance<S>::iterative * step.norm());  // all of it: the rank is full
    CHECK(report.update_norm == Approx(step.norm()).epsilon(Tolerance<S>::chain));
    CHECK(report.captured_energy == Approx(1).epsilon(Tolerance<S>::iterative));
  };
  check(FirstStep::adamw, -rate * Eigen::MatrixXd(sum.array().sign()));
  check(FirstStep::sgd, -rate / (6 * batches + 1) * sum);
  check(FirstStep::gradient, -rate * std::sqrt(600.0) / sum.norm() * sum);
  check(FirstStep::moments, -rate * Eigen::MatrixXd(sum.array() / (double(batches + 1) * squares.array()).sqrt()));
}

TEST_CASE("moments over one minibatch are the sign, and zero gradients stay zero") {
  Weight<double> G = random_matrix<Weight<double>>(12, 9, 1);
  G.row(3).setZero();
  GradientEstimate<double> estimate(12, 9, "up", GradientMoments::first_and_second);
  estimate.add(ConstWeightView<double>(G), 4);
  const auto [sign, sign_report] = initialize(estimate, {.rank = 3, .rule = FirstStep::adamw});
  const auto [moments, moments_report] = initialize(estimate, {.rank = 3, .rule = FirstStep::moments});
  CHECK((delta(sign) - delta(moments)).norm() < 1e-12 * delta(sign).norm());
  CHECK(moments_report.captured_energy == Approx(sign_report.captured_energy).epsilon(1e-12));
  CHECK_ERROR(initialize(estimate_of<double>(G), {.rank = 3, .rule = FirstStep::moments}), ErrorId::value,
              "GradientMoments::first_and_second");
  GradientEstimate<double> plain = estimate_of<double>(G);
  CHECK_ERROR(plain.add(estimate), ErrorId::value, "second moments");
}

TEST_CASE("an estimate from sums over others is the estimate of all their examples") {
  const Weight<float> first = random_matrix<Weight<float>>(8, 6, 1), second = random_matrix<Weight<float>>(8, 6, 2);
  GradientEstimate<float> all(8, 6, "up", GradientMoments::first_and_second);
  all.add(ConstWeightView<float>(first), 3);
  all.add(ConstWeightView<float>(second), 2);
  const auto found = GradientEstimate<float>::from_sums(first + second, first.cwiseAbs2() + second.cwiseAbs2(), 5, 2, "up");
  for (const FirstStep rule : {FirstStep::adamw, FirstStep::sgd, FirstStep::gradient, FirstStep::moments})
    CHECK(delta(initialize(found, {.rank = 2, .rule = rule}).adapter) == delta(initialize(all, {.rank = 2, .rule = rule}).adapter));
  CHECK_ERROR(GradientEstimate<float>::from_sums(first, {}, 1, 2, "up"), ErrorId::value, "1 examples in 2 minibatches");
  CHECK_ERROR(GradientEstimate<float>::from_sums(first, Weight<float>(2, 2), 2, 2, "up"), ErrorId::shape, "squares");
  Weight<float> bad = first;
  bad(0, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK_ERROR(GradientEstimate<float>::from_sums(bad, {}, 2, 2, "up"), ErrorId::not_finite, "up");
}

TEST_CASE("an update that was made starts its adapter with its own sign") {
  const Weight<double> low = random_matrix<Weight<double>>(20, 3, 1) * random_matrix<Weight<double>>(3, 15, 2);
  const auto [adapter, report] = initialize_from_update<double>(low, {.rank = 3, .scale = -2}, "up");
  CHECK((delta(adapter) - low).norm() < 1e-10 * low.norm());
  CHECK(report.captured_energy == Approx(1));
  CHECK(orthonormality_error(adapter) < 1e-12);
  CHECK_ERROR(initialize_from_update<double>(Weight<double>::Zero(4, 4).eval(), {.rank = 1}, "up"), ErrorId::zero_update, "\"up\"");
  CHECK_ERROR(initialize_from_update<double>(low, {.rank = 16}, "up"), ErrorId::rank, "\"up\"");
}

TEST_CASE("energies of gradients whose squares leave the range of double are those of the same gradients of size one") {
  const Weight<double> G = random_matrix<Weight<double>>(20, 14, 3);
  const InitializeOptions options{.rank = 4, .rule = FirstStep::sgd, .learning_rate = 0.5};
  const InitializeReport plain = initialize(estimate_of<double>(G), options).report;
  REQUIRE(plain.captured_energy > 0.3);
  REQUIRE(plain.captured_energy < 0.9);
  for (const double size : {1e160, 1e300, 1e-165, 1e-200, 1e-300}) {
    INFO(size);
    const Weight<double> scaled = size * G;
    const auto check = [&](const auto& report) {
      CHECK(report.captured_energy == Approx(plain.captured_energy).epsilon(1e-9));
      CHECK(report.update_norm / size == Approx(plain.update_norm).epsilon(1e-9));
      CHECK(report.residual_norm / size == Approx(plain.residual_norm).epsilon(1e-9));
    };
    check(initialize(estimate_of<double>(scaled), options).report);
    const InitializeReport update = initialize_from_update<double>(ConstWeightView<double>(scaled), options).report;
    CHECK(update.captured_energy == Approx(plain.captured_energy).epsilon(1e-9));
    const linalg::TruncatedSvd<double> svd = linalg::truncated_svd<double>(scaled, {.rank = 4});
    CHECK(svd.captured_share(norm(flat(scaled))) == Approx(plain.captured_energy).epsilon(1e-6));
  }
}
