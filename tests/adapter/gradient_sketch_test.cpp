#include "lorasb/adapter/gradient_sketch.hpp"

#include "lorasb/adapter/initialize_sketch.hpp"

#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

/// dY (out x T) and X (in x T) whose product has singular values that fall like exp(-decay i).
template <Real S>
struct Gradient {
  Matrix<S> dY, X;
  Gradient(Index out, Index in, Index tokens, double decay, std::uint64_t seed)
      : dY(random_matrix<Matrix<S>>(out, tokens, seed)), X(random_matrix<Matrix<S>>(in, tokens, seed, 1)) {
    for (Index t = 0; t < tokens; ++t) X.col(t) *= S(std::exp(-decay * double(t)));
  }
  Eigen::MatrixXd product() const { return dY.template cast<double>() * X.template cast<double>().transpose(); }
};

}  // namespace

TEMPLATE_TEST_CASE("on a decaying spectrum the sketch finds what the dense estimate finds", "", float, double) {
  using S = TestType;
  const Gradient<S> g(80, 60, 50, 0.3, 1);
  GradientSketch<S> sketch(80, 60, {.rank = 6, .seed = 5});
  sketch.add(g.dY.leftCols(30), g.X.leftCols(30), 6);
  GradientSketch<S> elsewhere(80, 60, {.rank = 6, .seed = 5});
  elsewhere.add(g.dY.rightCols(20), g.X.rightCols(20), 4);
  sketch.add(elsewhere);
  CHECK(sketch.examples() == 10);
  GradientEstimate<S> dense(80, 60);
  dense.add(g.dY, g.X, 10);

  const InitializeOptions options{.rank = 6, .rule = FirstStep::sgd, .learning_rate = 0.1, .scale = 2};
  const SketchInitialized<S> from_sketch = initialize(sketch, options);
  const Initialized<S> from_dense = initialize(dense, options);
  const Eigen::MatrixXd step = -0.01 * g.product();
  const double residual = (delta(from_sketch.adapter) - step).norm();
  CHECK(residual < 1.2 * from_dense.report.residual_norm);
  CHECK(from_sketch.report.status == SketchStatus::captured);
  // the estimates agree with the truth within four standard errors; norms have the relative error √(1/2q) at most
  const double truth = 1 - residual * residual / step.squaredNorm();
  CHECK(std::abs(from_sketch.report.captured_energy - truth) < 4 * from_sketch.report.captured_energy_standard_error + 1e-6);
  CHECK(from_sketch.report.update_norm == Approx(step.norm()).epsilon(4 * std::sqrt(1.0 / 64)));
  CHECK(from_sketch.report.residual_norm == Approx(residual).epsilon(4 * std::sqrt(1.0 / 64)));
  CHECK((from_sketch.adapter.A * from_sketch.adapter.A.transpose()).isIdentity(Tolerance<S>::sum));
  CHECK((from_sketch.adapter.B.transpose() * from_sketch.adapter.B).isIdentity(Tolerance<S>::sum));
}

TEST_CASE("the energy estimate is unbiased and its standard error is right") {
  // over many seeds the mean of (estimate - truth) is within four standard errors of zero, and the errors have the stated size
  const Gradient<double> g(40, 30, 30, 0.15, 2);
  const Eigen::MatrixXd step = -g.product() / 3;
  double total_error = 0;
  double total_squares = 0;
  double total_stated = 0;
  const int trials = 200;
  for (int trial = 0; trial < trials; ++trial) {
    GradientSketch<double> sketch(40, 30, {.rank = 4, .range_columns = 8, .seed = std::uint64_t(trial)});
    sketch.add(g.dY, g.X, 3);
    const auto [adapter, report] = initialize(sketch, {.rank = 4, .rule = FirstStep::sgd, .learning_rate = 1});
    const double truth = (step - delta(adapter)).squaredNorm();
    const double error = report.residual_norm * report.residual_norm / truth - 1;
    total_error += error;
    total_squares += error * error;
    const double captured_error = report.captured_energy - (1 - truth / step.squaredNorm());
    total_stated += std::pow(captured_error / report.captured_energy_standard_error, 2);
  }
  CHECK(std::abs(total_error / trials) < 4 * std::sqrt(total_squares) / trials);
  CHECK(total_stated / trials > 0.6);  // the mean of χ² / degrees is 1; a ratio and 32 vectors bend it a little
  CHECK(total_stated / trials < 1.6);
}

TEST_CASE("a flat spectrum is reported as one") {
  const Gradient<float> g(256, 256, 512, 0, 3);
  GradientSketch<float> sketch(256, 256, {.rank = 8, .seed = 1});
  sketch.add(g.dY, g.X, 512);
  const auto [adapter, report] = initialize(sketch, {.rank = 8, .rule = FirstStep::sgd, .learning_rate = 1});
  CHECK(report.status == SketchStatus::flat_spectrum);
  CHECK(report.captured_energy < 0.2);
}

TEST_CASE("a sketch refuses what it cannot do") {
  GradientSketch<float> sketch(12, 10, {.rank = 2, .range_columns = 4}, "out");
  const InitializeOptions sgd{.rank = 2, .rule = FirstStep::sgd};
  CHECK_ERROR(initialize(sketch, sgd), ErrorId::no_examples, "\"out\" saw no example");
  sketch.add(Matrix<float>::Zero(12, 1).eval(), Matrix<float>::Ones(10, 1).eval(), 1);
  CHECK_ERROR(initialize(sketch, sgd), ErrorId::zero_update, "every gradient of \"out\"");
  CHECK_ERROR(initialize(sketch, {.rank = 2}), ErrorId::value, "sign(G) is not linear in G");
  CHECK_ERROR(initialize(sketch, {.rank = 5, .rule = FirstStep::sgd}), ErrorId::rank,
              "rank is 5, expected 1 to the range_columns of the sketch of \"out\", 4");
  CHECK_ERROR(sketch.add(GradientSketch<float>(12, 10, {.rank = 2, .range_columns = 4, .seed = 1})), ErrorId::value,
              "another shape");
  CHECK_ERROR(GradientSketch<float>(12, 10, {.rank = 11}), ErrorId::rank, "rank is 11, expected 1 to min(out, in) = 10");
  CHECK_ERROR(GradientSketch<float>(12, 10, {.rank = 2, .range_columns = 4, .corange_rows = 8}), ErrorId::value,
              "corange_rows is 8, expected at least 2 range_columns + 1 = 9");
  Matrix<float> dY = Matrix<float>::Constant(12, 1, std::numeric_limits<float>::infinity());
  CHECK_ERROR(sketch.add(dY, Matrix<float>::Ones(10, 1).eval(), 1), ErrorId::not_finite, "dY of \"out\" holds inf");
}

TEST_CASE("a sketch of gradients whose squares leave the range of double says what one of size one says") {
  const auto report_at = [](double size) {
    const Gradient<double> g(40, 30, 30, 0.15, 2);
    GradientSketch<double> sketch(40, 30, {.rank = 4, .seed = 5});
    sketch.add(Matrix<double>(size * g.dY), g.X, 3);
    return initialize(sketch, {.rank = 4, .rule = FirstStep::sgd}).report;
  };
  const SketchReport plain = report_at(1);
  for (const double size : {1e160, 1e-200}) {
    INFO(size);
    const SketchReport found = report_at(size);
    CHECK(found.captured_energy == Approx(plain.captured_energy).epsilon(1e-9));
    CHECK(found.captured_energy_standard_error == Approx(plain.captured_energy_standard_error).epsilon(1e-9));
    CHECK(found.update_norm / size == Approx(plain.update_norm).epsilon(1e-9));
    CHECK(found.residual_norm / size == Approx(plain.residual_norm).epsilon(1e-9));
    CHECK(found.status == plain.status);
  }
}
