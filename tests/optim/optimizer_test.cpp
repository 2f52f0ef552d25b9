#include "lorasb/optim/optimizer.hpp"

#include <memory>

#include "golden_file.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"

using namespace lorasb;
using lorasb::optim::AdamW;
using lorasb::optim::Optimizer;
using lorasb::optim::Sgd;

namespace {

/// The optimizers of golden/optimizers.py, by the names there.
template <Real S>
std::unique_ptr<Optimizer<S>> make(const std::string& name, Index n) {
  if (name == "sgd") return std::make_unique<Sgd<S>>(n);
  if (name == "sgd_decay") return std::make_unique<Sgd<S>>(n, optim::SgdOptions{.weight_decay = 0.1});
  if (name == "sgd_momentum") return std::make_unique<Sgd<S>>(n, optim::SgdOptions{.momentum = 0.9});
  if (name == "sgd_dampening")
    return std::make_unique<Sgd<S>>(n, optim::SgdOptions{.momentum = 0.8, .dampening = 0.3, .weight_decay = 0.05});
  if (name == "sgd_nesterov")
    return std::make_unique<Sgd<S>>(n, optim::SgdOptions{.momentum = 0.9, .weight_decay = 0.01, .nesterov = true});
  if (name == "adamw") return std::make_unique<AdamW<S>>(n);
  if (name == "adamw_no_decay") return std::make_unique<AdamW<S>>(n, optim::AdamWOptions{.weight_decay = 0});
  REQUIRE(name == "adamw_other");
  return std::make_unique<AdamW<S>>(n, optim::AdamWOptions{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-4, .weight_decay = 0.3});
}

const std::vector<std::string> names{"sgd",          "sgd_decay", "sgd_momentum",   "sgd_dampening",
                                     "sgd_nesterov", "adamw",     "adamw_no_decay", "adamw_other"};

}  // namespace

TEMPLATE_TEST_CASE("Every optimizer follows torch's numbers through five steps", "", float, double) {
  using S = TestType;
  const std::vector<double> rates = test::golden_numbers<double>("rates");
  const std::vector<S> gradients = test::golden_in<S>("gradients");
  for (const std::string& name : names) {
    std::vector<S> values = test::golden_in<S>("start");
    const std::vector<S> expected = test::golden_in<S>(name);
    const std::size_t n = values.size();
    const std::unique_ptr<Optimizer<S>> optimizer = make<S>(name, static_cast<Index>(n));
    std::vector<double> reach(n, 1.0);  // the largest that a number or its step has been: where its rounding comes from
    for (std::size_t step = 0; step < rates.size(); ++step) {
      optimizer->step(values, std::span(gradients).subspan(step * n, n), rates[step]);
      for (std::size_t i = 0; i < n; ++i) {
        INFO(name << ", step " << step + 1 << ", number " << i);
        // Fused multiply-adds round other places than torch does, a few times a step.
        reach[i] = std::max({reach[i], std::abs(static_cast<double>(expected[step * n + i])),
                             std::abs(static_cast<double>(gradients[step * n + i]))});
        CHECK(std::abs(static_cast<double>(values[i]) - static_cast<double>(expected[step * n + i])) <=
              test::Tolerance<S>::exact * reach[i]);
      }
    }
    CHECK(optimizer->steps() == rates.size());
  }
}

TEMPLATE_TEST_CASE("An optimizer with restored state and steps continues with the same bits", "", float, double) {
  using S = TestType;
  const Index n = 1500;  // more than one block of AdamW
  const auto gradients = test::random_matrix<Matrix<S>>(n, 4, 3);
  for (const std::string& name : names) {
    INFO(name);
    Vector<S> straight = test::random_matrix<Matrix<S>>(n, 1, 4);
    Vector<S> resumed = straight;
    const auto run = [&](Optimizer<S>& optimizer, Vector<S>& values, Index from, Index to) {
      for (Index t = from; t < to; ++t)
        optimizer.step(flat(values), std::span<const S>(gradients.col(t).data(), static_cast<std::size_t>(n)), 0.01);
    };
    const auto whole = make<S>(name, n), before = make<S>(name, n), after = make<S>(name, n);
    run(*whole, straight, 0, 4);
    run(*before, resumed, 0, 2);
    after->set_steps(before->steps());
    CHECK(after->state().layout() == before->state().layout());
    std::ranges::copy(std::as_const(*before).state().flat(), after->state().flat().begin());
    run(*after, resumed, 2, 4);
    CHECK(straight == resumed);
  }
}

TEMPLATE_TEST_CASE("A step has the same bits wherever the buffers lie and wherever a number stands in them", "", float,
                   double) {
  using S = TestType;
  const std::size_t n = 300;  // ends inside a block
  for (const std::string& name : names)
    for (const std::size_t shift : {1, 3, 8, 15}) {
      INFO(name << ", shift " << shift);
      const auto one = make<S>(name, static_cast<Index>(n)), other = make<S>(name, static_cast<Index>(n + shift));
      const Vector<S> start = test::random_matrix<Matrix<S>>(n, 1, 5);
      std::vector<S> values(start.begin(), start.end()), shifted(shift, S(1));
      shifted.insert(shifted.end(), start.begin(), start.end());
      for (std::uint64_t t = 0; t < 3; ++t) {
        const Vector<S> g = test::random_matrix<Matrix<S>>(n, 1, 6, t);
        std::vector<S> gradients(g.begin(), g.end()), shifted_gradients(shift + 7, S(2));
        shifted_gradients.insert(shifted_gradients.end(), g.begin(), g.end());
        one->step(values, gradients, 0.01);
        other->step(shifted, std::span<const S>(shifted_gradients).subspan(7), 0.01);
      }
      CHECK(std::ranges::equal(values, std::span(shifted).subspan(shift)));
    }
}

TEST_CASE("A range with a rate factor learns as with an optimizer and a rate of its own, the rest as before") {
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto grouped = make<float>(name, 700), whole = make<float>(name, 700), alone = make<float>(name, 300);
    grouped->set_rate_factor(200, 300, 0.5);
    const Matrix<float> g = test::random_matrix<Matrix<float>>(700, 2, 1);
    Matrix<float> a = test::random_matrix<Matrix<float>>(700, 1, 2), b = a, c = a;
    for (int step = 0; step < 2; ++step) {
      const std::span<const float> gradient(g.col(step).data(), 700);
      grouped->step(flat(a), gradient, 0.25);
      whole->step(flat(b), gradient, 0.25);
      alone->step(flat(c).subspan(200, 300), gradient.subspan(200, 300), 0.125);
    }
    CHECK(a.topRows(200) == b.topRows(200));
    CHECK(a.middleRows(200, 300) == c.middleRows(200, 300));
    CHECK(a.bottomRows(200) == b.bottomRows(200));
    CHECK(a.middleRows(200, 300) != b.middleRows(200, 300));
  }
}

TEST_CASE("A rate factor for numbers that are not there, or that is not a factor, is refused") {
  Sgd<float> optimizer(10);
  CHECK_ERROR(optimizer.set_rate_factor(8, 3, 1), ErrorId::value, "3 numbers from 8 on, of 10");
  CHECK_ERROR(optimizer.set_rate_factor(0, 3, -1), ErrorId::value, "factor is -1");
  CHECK_ERROR(optimizer.set_rate_factor(0, 3, NAN), ErrorId::value, "factor is nan");
  optimizer.set_rate_factor(2, 4, 3);
  CHECK_ERROR(optimizer.set_rate_factor(4, 4, 1), ErrorId::value, "4 numbers from 4 on reach into two groups");
  optimizer.set_rate_factor(3, 1, 0);  // within a group
  std::vector<float> values(10, 0), gradients(10, 1);
  optimizer.step(values, gradients, 1);
  CHECK(values == std::vector<float>{-1, -1, -3, 0, -3, -3, -1, -1, -1, -1});
}

TEST_CASE("The state of an optimizer is known by name and starts at zero") {
  const AdamW<float> adamw(3);
  CHECK(adamw.size() == 3);
  CHECK(adamw.steps() == 0);
  REQUIRE(adamw.state().layout().tensors().size() == 2);
  for (const char* name : {"first_moment", "second_moment"})
    for (const float x : adamw.state().flat(name)) CHECK(x == 0.0f);
  CHECK(Sgd<float>(3).state().flat().empty());
  CHECK(Sgd<float>(3, {.momentum = 0.5}).state().flat("momentum").size() == 3);
}

TEST_CASE("The first AdamW step without decay moves every number by the rate against the sign of its gradient") {
  AdamW<double> optimizer(3, {.weight_decay = 0});
  std::vector<double> values{1, 1, 1};
  const std::vector<double> gradients{1e-3, -1e3, 0};
  optimizer.step(values, gradients, 0.1);
  CHECK(values[0] == Approx(0.9).epsilon(1e-4));  // epsilon / |g| = 1e-5
  CHECK(values[1] == Approx(1.1));
  CHECK(values[2] == 1);
}

TEST_CASE("A rate of zero leaves the values alone, and no numbers at all are fine") {
  for (const std::string& name : names) {
    std::vector<double> values{1, -2};
    const std::vector<double> gradients{3, 4};
    make<double>(name, 2)->step(values, gradients, 0);
    CHECK(values == std::vector<double>{1, -2});
    CHECK_NOTHROW(make<double>(name, 0)->step({}, {}, 0.1));
  }
}

TEST_CASE("An optimizer refuses buffers of another size and rates that are not rates") {
  AdamW<float> optimizer(3);
  std::vector<float> three(3), four(4);
  CHECK_ERROR(optimizer.step(four, three, 0.1), ErrorId::shape, "values holds 4 numbers, expected 3");
  CHECK_ERROR(optimizer.step(three, four, 0.1), ErrorId::shape, "gradients holds 4 numbers, expected 3");
  CHECK_ERROR(optimizer.step(three, three, -0.1), ErrorId::value, "learning_rate is -0.1");
  CHECK_ERROR(optimizer.step(three, three, std::nan("")), ErrorId::value, "learning_rate is nan");
  CHECK(optimizer.steps() == 0);
  CHECK_ERROR(AdamW<float>(-1), ErrorId::value, "size is -1");
}
