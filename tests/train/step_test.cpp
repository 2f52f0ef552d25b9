#include "lorasb/train/step.hpp"

#include <limits>
#include <stdexcept>

#include "core/balanced_linear.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// Example i pulls each number w_k towards target(i, k) with loss (w_k - target)² / 2.
template <Real S>
struct Problem {
  Matrix<S> targets = random_matrix<Matrix<S>>(7, 13, 1);
  std::vector<S> values = std::vector<S>(7, S(0.25));

  PassResult pass(Index first, Index count, std::span<S> gradient) const {
    PassResult result;
    for (Index i = first; i < first + count; ++i)
      for (Index k = 0; k < 7; ++k) {
        const S error = values[std::size_t(k)] - targets(k, i);
        gradient[std::size_t(k)] += error;
        result.loss += 0.5 * double(error) * double(error);
        result.correct += error > 0;
      }
    return result;
  }
  StepResult run(Index examples, Index parts, int threads, double max_norm = 0) {
    optim::Sgd<S> sgd(7, {});
    Step<S> step(7, parts, threads);
    return step.run(
        examples, [&](Index, Index first, Index count, std::span<S> g) { return pass(first, count, g); }, values, sgd, 0.1,
        {.max_norm = max_norm});
  }
};

}  // namespace

TEMPLATE_TEST_CASE("a step moves against the gradient of the mean loss", "", float, double) {
  using S = TestType;
  for (const Index parts : {1, 4, 20}) {  // more parts than examples too
    Problem<S> problem;
    const StepResult result = problem.run(13, parts, 2);
    const Vector<S> gradient = Vector<S>::Constant(7, S(0.25)) - problem.targets.rowwise().mean();
    for (Index k = 0; k < 7; ++k)
      CHECK(problem.values[std::size_t(k)] == Approx(0.25 - 0.1 * double(gradient(k))).margin(Tolerance<S>::sum));
    CHECK(result.gradient_norm == Approx(double(gradient.norm())).epsilon(Tolerance<S>::sum));
    CHECK(result.mean_loss == Approx(0.5 * (problem.targets.array() - S(0.25)).square().sum() / 13).epsilon(Tolerance<S>::sum));
  }
}

TEST_CASE("the number of threads changes no bit, and a second step starts from a gradient of zero") {
  Problem<float> one;
  Problem<float> many;
  for (int i = 0; i < 3; ++i) {
    one.run(13, 4, 1);
    many.run(13, 4, 3);
  }
  CHECK(one.values == many.values);

  Problem<float> twice;
  optim::Sgd<float> sgd(7, {});
  Step<float> step(7, 4, 2);
  for (int i = 0; i < 3; ++i)
    step.run(
        13, [&](Index, Index first, Index count, std::span<float> g) { return twice.pass(first, count, g); }, twice.values, sgd,
        0.1);
  CHECK(twice.values == one.values);
}

TEST_CASE("the gradient is clipped to its norm") {
  Problem<double> problem;
  const std::vector<double> before = problem.values;
  const StepResult result = problem.run(13, 2, 1, 0.5);
  CHECK(result.gradient_norm > 0.5);
  double moved = 0;
  for (std::size_t k = 0; k < 7; ++k) moved += std::pow(problem.values[k] - before[k], 2);
  CHECK(std::sqrt(moved) == Approx(0.05));
}

TEST_CASE("a loss or gradient that is not finite is a status and changes nothing") {
  Problem<float> problem;
  const std::vector<float> before = problem.values;
  problem.targets(3, 5) = std::numeric_limits<float>::quiet_NaN();
  CHECK(problem.run(13, 4, 2).status == StepStatus::not_finite);
  CHECK(problem.values == before);
  problem.targets(3, 5) = std::numeric_limits<float>::infinity();
  CHECK(problem.run(13, 4, 2, 1).status == StepStatus::not_finite);
  CHECK(problem.values == before);
  CHECK_ERROR(problem.run(0, 4, 2), ErrorId::value, "the batch has 0 examples");
  CHECK_ERROR(problem.run(3, 0, 2), ErrorId::value, "parts is 0");
}

TEST_CASE("batches that are accumulated are one batch, and an empty one adds nothing") {
  Problem<double> whole, in_pieces;
  whole.run(13, 1, 1);
  optim::Sgd<double> sgd(7, {});
  Step<double> step(7, 3, 2);
  const auto from = [&](Index start) {
    return [&, start](Index, Index first, Index count, std::span<double> g) { return in_pieces.pass(start + first, count, g); };
  };
  step.accumulate(5, from(0));
  step.accumulate(0, from(5));
  step.accumulate(8, from(5));
  CHECK(step.examples() == 13);
  const StepResult found = step.apply(in_pieces.values, sgd, 0.1);
  CHECK(found.status == StepStatus::updated);
  for (std::size_t k = 0; k < 7; ++k) CHECK(in_pieces.values[k] == Approx(whole.values[k]).epsilon(1e-14));
  CHECK(step.examples() == 0);
  CHECK_ERROR(step.apply(in_pieces.values, sgd, 0.1), ErrorId::value, "no examples were accumulated");
}

TEST_CASE("a sum may be changed before it is applied, and is divided by an expected size, for an empty batch too") {
  std::vector<double> values(7, 1.0);
  optim::Sgd<double> sgd(7, {});
  Step<double> step(7, 2, 1);
  step.accumulate(0, [](Index, Index, Index, std::span<double>) { return PassResult{}; });
  for (double& x : step.gradient_sum()) x += 3;  // noise
  const StepResult found = step.apply(values, sgd, 0.5, {.divisor = 6});
  CHECK(found.gradient_norm == Approx(0.5 * std::sqrt(7.0)));
  for (const double x : values) CHECK(x == Approx(0.75));
  CHECK_ERROR(step.apply(values, sgd, 0.5, {.divisor = -1}), ErrorId::value, "divisor is -1");
}

TEST_CASE("a loss over the whole batch is the same for any parts and threads") {
  // each value w_k adds to the summed loss half the square of Σ_i (w_k - target(i, k)) over the whole batch
  Problem<double> problem;
  const auto run = [&](Index parts, int threads) {
    std::vector<double> values = problem.values;
    optim::Sgd<double> sgd(7, {});
    Step<double> step(7, parts, threads);
    Step<double>::TwoPhasePass pass{.statistics_size = 7};
    pass.forward = [&](Index, Index first, Index count, std::span<double> sums) {
      for (Index i = first; i < first + count; ++i)
        for (Index k = 0; k < 7; ++k) sums[std::size_t(k)] += values[std::size_t(k)] - problem.targets(k, i);
      return PassResult{.loss = double(count), .correct = count};
    };
    pass.auxiliary_loss = [](std::span<const double> sums) {
      double loss = 0;
      for (const double x : sums) loss += x * x / 2;
      return loss;
    };
    pass.backward = [&](Index, Index, Index count, std::span<const double> sums, std::span<double> gradient) {
      for (std::size_t k = 0; k < 7; ++k) gradient[k] += sums[k] * double(count);
    };
    step.accumulate(13, pass);
    const StepResult found = step.apply(values, sgd, 0.01);
    CHECK(found.correct == 13);
    return std::pair(found.mean_loss, values);
  };
  const auto [loss, values] = run(1, 1);
  CHECK(loss > 1);
  for (const auto& [parts, threads] : {std::pair<Index, int>{2, 1}, {3, 2}, {20, 2}}) {
    const auto [same_loss, same_values] = run(parts, threads);
    CHECK(same_loss == Approx(loss).epsilon(1e-13));
    for (std::size_t k = 0; k < 7; ++k) CHECK(same_values[k] == Approx(values[k]).epsilon(1e-13));
  }
}

TEST_CASE("a layer with an auxiliary loss trains to the same values for any parts and threads") {
  const Index examples = 7;
  const Matrix<double> X = random_matrix<Matrix<double>>(4, examples, 1), target = random_matrix<Matrix<double>>(3, examples, 2);
  const auto train = [&](Index parts, int threads) {
    ParameterLayout layout;
    layout.add("balanced", Role::weight, 3, 4);
    Parameters<double> values(layout);
    values.at("balanced", Role::weight) = random_matrix<Weight<double>>(3, 4, 3);
    const BalancedLinear layer(values.at("balanced", Role::weight));
    std::vector<LinearCache<double>> caches(static_cast<std::size_t>(parts));
    std::vector<Matrix<double>> Y(static_cast<std::size_t>(parts));
    std::vector<ForwardPass<double>> passes(static_cast<std::size_t>(parts));

    Step<double>::TwoPhasePass pass{.statistics_size = layer.statistics_size()};
    pass.forward = [&](Index part, Index first, Index count, std::span<double> statistics) {
      const auto p = static_cast<std::size_t>(part);
      Y[p].resize(3, count);
      passes[p] = layer.forward(X.middleCols(first, count), Y[p], caches[p]);
      std::ranges::copy(caches[p].statistics, statistics.begin());
      return PassResult{.loss = (Y[p] - target.middleCols(first, count)).squaredNorm() / 2};
    };
    pass.auxiliary_loss = [&](std::span<const double> statistics) { return layer.auxiliary_loss(statistics); };
    pass.backward = [&](Index part, Index first, Index count, std::span<const double> statistics, std::span<double> gradient) {
      const auto p = static_cast<std::size_t>(part);
      caches[p].batch_statistics = statistics;
      const Matrix<double> dY = Y[p] - target.middleCols(first, count);
      layer.backward(passes[p], dY, caches[p], gradient, not_wanted);
    };
    optim::Sgd<double> sgd(layout.size(), {});
    Step<double> step(layout.size(), parts, threads);
    std::vector<double> losses;
    for (int t = 0; t < 3; ++t) {
      step.accumulate(examples, pass);
      losses.push_back(step.apply(values.flat(), sgd, 0.05).mean_loss);
    }
    return std::pair(losses, std::vector<double>(values.flat().begin(), values.flat().end()));
  };
  const auto [losses, values] = train(1, 1);
  const Weight<double> W = random_matrix<Weight<double>>(3, 4, 3);
  const Vector<double> sum = (W * X).rowwise().sum();
  CHECK(losses[0] == Approx(((W * X - target).squaredNorm() + sum.squaredNorm()) / 2 / 7).epsilon(1e-12));
  CHECK(losses[2] < losses[0]);
  for (const auto& [parts, threads] : {std::pair<Index, int>{2, 1}, {2, 2}, {3, 2}, {9, 2}}) {
    const auto [same_losses, same_values] = train(parts, threads);
    for (std::size_t t = 0; t < losses.size(); ++t) CHECK(same_losses[t] == Approx(losses[t]).epsilon(1e-13));
    for (std::size_t k = 0; k < values.size(); ++k) CHECK(same_values[k] == Approx(values[k]).epsilon(1e-12));
  }
}

TEST_CASE("a pass that throws adds nothing, and the step goes on with the next batch") {
  Problem<double> problem;
  optim::Sgd<double> sgd(7, {});
  Step<double> step(7, 4, 2);
  const auto good = [&](Index, Index first, Index count, std::span<double> g) { return problem.pass(first, count, g); };
  const auto bad = [&](Index part, Index first, Index count, std::span<double> g) {
    if (part == 2) throw std::runtime_error("part 2");
    return problem.pass(first, count, g);
  };
  step.accumulate(5, good);
  const std::vector<double> sum(step.gradient_sum().begin(), step.gradient_sum().end());
  CHECK_THROWS_WITH(step.accumulate(13, bad), "part 2");
  CHECK(step.examples() == 5);
  CHECK(std::equal(sum.begin(), sum.end(), step.gradient_sum().begin()));
  step.discard();
  CHECK(step.examples() == 0);
  Problem<double> other;
  const StepResult expected = other.run(13, 4, 2);
  step.accumulate(13, good);
  const StepResult found = step.apply(problem.values, sgd, 0.1);
  CHECK(found.mean_loss == expected.mean_loss);
  CHECK(problem.values == other.values);
}

TEST_CASE("a status that is not finite leaves the optimizer's state and steps as they are, and the next sum starts at zero") {
  std::vector<float> values(3, 1.0f);
  optim::AdamW<float> adamw(3, {});
  Step<float> step(3, 1, 1);
  step.accumulate(1, [](Index, Index, Index, std::span<float> g) {
    g[1] = std::numeric_limits<float>::infinity();
    return PassResult{};
  });
  CHECK(step.apply(values, adamw, 0.1, {.max_norm = 1}).status == StepStatus::not_finite);
  CHECK(adamw.steps() == 0);
  CHECK(values == std::vector<float>(3, 1.0f));
  const auto nan_loss = [](Index, Index, Index, std::span<float>) { return PassResult{.loss = std::numeric_limits<double>::quiet_NaN()}; };
  CHECK(step.run(1, nan_loss, values, adamw, 0.1).status == StepStatus::not_finite);
  CHECK(adamw.steps() == 0);
  const auto good = [](Index, Index, Index, std::span<float> g) {
    g[0] = 1;
    return PassResult{};
  };
  CHECK(step.run(1, good, values, adamw, 0.1).status == StepStatus::updated);
  CHECK(adamw.steps() == 1);
  CHECK(values[0] < 1);
  CHECK(is_finite(values[1]));
}
