#include "lorasb/optim/schedule.hpp"

#include "golden_file.hpp"

using namespace lorasb;
using lorasb::optim::Decay;
using lorasb::optim::Schedule;

namespace {

// As in golden/optimizers.py.
constexpr double rate = 3e-4, minimum = 2e-5;
constexpr std::int64_t total = 24, warmup = 6;

/// rate(t) against golden[t - 1 + shift] for t = first, ..., total - shift.
void compare(const Schedule& schedule, const std::string& name, std::int64_t first = 1, std::int64_t shift = 0) {
  const std::vector<double> expected = test::golden_numbers<double>(name);
  REQUIRE(std::ssize(expected) == total);
  for (std::int64_t t = first; t <= total - shift; ++t) {
    INFO(name << ", step " << t);
    // torch multiplies its way from rate to rate, a few roundings a step.
    CHECK(std::abs(schedule.rate(t) - expected[static_cast<std::size_t>(t - 1 + shift)]) <=
          rate * test::Tolerance<double>::sum);
  }
}

}  // namespace

TEST_CASE("Without warm-up the schedules are torch's LinearLR and CosineAnnealingLR at counter t - 1") {
  compare(Schedule({.decay = Decay::linear, .learning_rate = rate, .total_steps = total}), "torch.linear");
  compare(Schedule({.decay = Decay::cosine, .learning_rate = rate, .total_steps = total, .minimum_rate = minimum}),
          "torch.cosine");
}

TEST_CASE("With warm-up the schedules are torch's SequentialLR of a LinearLR and the decay") {
  compare(Schedule({.learning_rate = rate, .warmup_steps = warmup}), "torch.warm_constant");
  compare(Schedule({.decay = Decay::linear, .learning_rate = rate, .warmup_steps = warmup, .total_steps = total}),
          "torch.warm_linear");
  compare(Schedule({.decay = Decay::cosine,
                    .learning_rate = rate,
                    .warmup_steps = warmup,
                    .total_steps = total,
                    .minimum_rate = minimum}),
          "torch.warm_cosine");
}

TEST_CASE("Transformers' schedules have the same decay, and the same warm-up one step later") {
  const auto check = [](Decay decay, const std::string& name) {
    const Schedule schedule({.decay = decay, .learning_rate = rate, .warmup_steps = warmup, .total_steps = total});
    compare(schedule, name, warmup + 1);
    const std::vector<double> expected = test::golden_numbers<double>(name);
    CHECK(expected[0] == 0);
    for (std::int64_t t = 1; t <= warmup; ++t)
      CHECK(schedule.rate(t) == Approx(expected[static_cast<std::size_t>(t)]).epsilon(1e-12));
  };
  check(Decay::constant, "transformers.constant");
  check(Decay::linear, "transformers.linear");
  check(Decay::cosine, "transformers.cosine");
}

TEST_CASE("No step of a run has rate zero, and the first rate is the one that LoRA-SB starts from") {
  for (const Decay decay : {Decay::constant, Decay::linear, Decay::cosine})
    for (const std::int64_t warm : {0, 1, 3, 10})
      for (const std::int64_t steps : {1, 2, 10, 11}) {
        if (steps < warm) continue;
        const Schedule schedule({.decay = decay, .learning_rate = 0.5, .warmup_steps = warm, .total_steps = steps});
        for (std::int64_t t = 1; t <= steps; ++t) {
          CHECK(schedule.rate(t) > 0);
          CHECK(schedule.rate(t) <= 0.5);
        }
        CHECK(schedule.first_nonzero_rate() == schedule.rate(1));
        CHECK(schedule.first_nonzero_rate() == 0.5 / static_cast<double>(std::max<std::int64_t>(warm, 1)));
        CHECK(schedule.rate(steps + 1) == (decay == Decay::constant ? schedule.rate(steps + 2) : 0));
      }
}

TEST_CASE("After the run the rate stays at its minimum") {
  const Schedule schedule({.decay = Decay::cosine, .learning_rate = 1, .total_steps = 4, .minimum_rate = 0.25});
  CHECK(schedule.rate(5) == 0.25);
  CHECK(schedule.rate(1'000'000'000'000) == 0.25);
}

TEST_CASE("A schedule refuses numbers that mean nothing") {
  CHECK_ERROR(Schedule({.learning_rate = 0}), ErrorId::value, "learning_rate is 0");
  CHECK_ERROR(Schedule({.learning_rate = std::nan("")}), ErrorId::value, "learning_rate is nan");
  CHECK_ERROR(Schedule({.warmup_steps = -1}), ErrorId::value, "warmup_steps is -1");
  CHECK_ERROR(Schedule({.decay = Decay::linear}), ErrorId::value, "total_steps is 0");
  CHECK_ERROR(Schedule({.decay = Decay::cosine, .warmup_steps = 5, .total_steps = 4}), ErrorId::value,
              "at least warmup_steps, 5");
  CHECK_ERROR(Schedule({.learning_rate = 1, .minimum_rate = 2}), ErrorId::value, "minimum_rate is 2");
  CHECK_ERROR(Schedule({.learning_rate = 1}).rate(0), ErrorId::value, "step is 0");
}
