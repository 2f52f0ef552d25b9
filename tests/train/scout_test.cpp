#include "lorasb/train/scout.hpp"

#include "adapter/random_adapter.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/train/step.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// Two layers one after the other, a head that nobody reads, and the loss <dY, layers(X)> + ‖layers(X)‖² / 2 of 24 examples.
struct Chain {
  Weight<double> first = random_matrix<Weight<double>>(10, 8, 1);
  Weight<double> second = random_matrix<Weight<double>>(7, 10, 2);
  Matrix<double> X = random_matrix<Matrix<double>>(8, 24, 3), dY = random_matrix<Matrix<double>>(7, 24, 4);
  Parameters<double> head{head_layout()};

  Chain() {
    for (double& x : head.flat()) x = 0.5;
  }
  static ParameterLayout head_layout() {
    ParameterLayout layout;
    models::append_head(3, 7, layout);
    return layout;
  }
  std::vector<Module<double>> modules() const { return {{"first", first}, {"second", second}}; }

  /// Forward and backward; each layer's gradient is added where `layout` has its module.
  PassResult pass(const Layers<double>& layers, const ParameterLayout& layout, std::span<double> gradient) const {
    Matrix<double> middle(10, 24), Y(7, 24), d_middle(10, 24);
    LinearCache<double> c0, c1;
    const ForwardPass<double> p0 = layers[0]->forward(X, middle, c0), p1 = layers[1]->forward(middle, Y, c1);
    const double loss = Y.cwiseProduct(dY).sum() + Y.squaredNorm() / 2;
    const Matrix<double> d = dY + Y;
    const auto range_of = [&](const char* module) {
      const auto ranges = layout.ranges([&](const auto& t) { return t.module == module; });
      return ranges.empty() ? std::span<double>() : ranges[0].of(gradient);
    };
    layers[1]->backward(p1, d, c1, range_of("second"), d_middle);
    layers[0]->backward(p0, d_middle, c0, range_of("first"), not_wanted);
    return {.loss = loss, .correct = 0};
  }
  StepResult take_step(Scout<double>& scout, optim::Optimizer<double>& optimizer, double rate) const {
    Step<double> step(scout.values().layout().size(), 1, 1);
    const StepResult result = step.run(
        24, [&](Index, Index, Index, std::span<double> g) { return pass(scout.layers(), scout.values().layout(), g); },
        scout.values().flat(), optimizer, rate);
    scout.after_step();
    return result;
  }
};

}  // namespace

TEST_CASE("one step of AdamW on the initialiser's examples is LoRA-SB's first step") {
  const Chain chain;
  Scout<double> scout(chain.modules(), chain.head);
  optim::AdamW<double> adamw(scout.values().layout().size(), {.epsilon = 1e-200, .weight_decay = 0});
  chain.take_step(scout, adamw, 1e-4);
  const InitializeOptions options{.rank = 3, .learning_rate = 1e-4, .seed = 5};
  const InitializedModules<double> ahead = scout.adapters(options);
  const EstimationPass<double> pass = [&](const Layers<double>& layers) {
    std::vector<double> none;
    return EstimationResult(24, chain.pass(layers, ParameterLayout(), none).loss);
  };
  const InitializedModules<double> first = initialize_modules<double>(chain.modules(), pass, {.adapter = options});
  for (const char* module : {"first", "second"}) {
    INFO(module);
    const Weight<double> expected = delta(first.adapters.at(module));
    CHECK((delta(ahead.adapters.at(module)) - expected).norm() < 1e-9 * expected.norm());
  }
  for (std::size_t m = 0; m < 2; ++m)
    CHECK(ahead.reports[m].captured_energy == Approx(first.reports[m].captured_energy).epsilon(1e-9));
}

TEST_CASE("the scout's layers multiply by W0 + ΔW, and what it learned is what the adapters start with") {
  const Chain chain;
  for (const ScoutKind kind : {ScoutKind::full, ScoutKind::sign, ScoutKind::lora}) {
    INFO(scout_names[std::size_t(kind)]);
    Scout<double> scout(chain.modules(), chain.head, {.kind = kind, .lora_rank = 4, .seed = 9});
    const auto optimizer = scout.make_optimizer();
    CHECK(scout.update("first").isZero(0));
    const double before = chain.take_step(scout, *optimizer, 1e-2).mean_loss;
    double after = 0;
    for (int t = 0; t < 30; ++t) after = chain.take_step(scout, *optimizer, 1e-2).mean_loss;
    CHECK(after < before);
    Matrix<double> Y(10, 24);
    LinearCache<double> cache;
    scout.layers()[0]->forward(chain.X, Y, cache);
    const Matrix<double> expected = (chain.first + scout.update("first")) * chain.X;
    CHECK(relative_error(Y, expected) < 1e-13);
    const InitializedModules<double> all = scout.adapters({.rank = 7});
    const Weight<double> update = scout.update("second");
    CHECK((delta(all.adapters.at("second")) - update).norm() < 1e-9 * update.norm());  // the rank is full
    const InitializedModules<double> some = scout.adapters({.rank = 2});
    const double captured = delta(some.adapters.at("second")).squaredNorm() / update.squaredNorm();
    CHECK(some.reports[1].captured_energy == Approx(captured).epsilon(1e-9));
    CHECK(std::ranges::equal(std::as_const(scout).head().flat(), chain.head.flat()));  // nobody trained it, nothing decayed it
  }
}

TEST_CASE("a scout of signs moves every number by the rate, and holds less than one with moments") {
  const Chain chain;
  Scout<double> scout(chain.modules(), chain.head, {.kind = ScoutKind::sign});
  const auto optimizer = scout.make_optimizer();
  chain.take_step(scout, *optimizer, 1e-3);
  for (const char* module : {"first", "second"}) CHECK((scout.update(module).cwiseAbs().array() == 1e-3).all());
  const Scout<double> full(chain.modules(), chain.head);
  const std::size_t numbers = 10 * 8 + 7 * 10, head = 3 * 7 + 3;
  CHECK(std::size_t(full.numbers()) == numbers);
  CHECK(full.bytes(2) == ((numbers + head) * (1 + 2 + 2 + 1) + numbers) * sizeof(double));
  CHECK(scout.bytes(2) == ((numbers + head) * (1 + 2 + 1) + numbers) * sizeof(double));
}

TEST_CASE("a module that the scout never moved is named") {
  const Chain chain;
  const Scout<double> scout(chain.modules(), chain.head);
  CHECK_ERROR(scout.adapters({.rank = 2}), ErrorId::zero_update, "\"first\"");
  CHECK_ERROR(Scout<double>(chain.modules(), chain.head, {.kind = ScoutKind::lora, .lora_rank = 0}), ErrorId::rank, "rank");
}

TEST_CASE("a scout of bfloat16 weights starts at the numbers that they hold") {
  const Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> narrow =
      random_matrix<Weight<float>>(6, 5, 1).cast<Bfloat16>();
  const Scout<float> scout({{"only", FrozenWeight<float>(narrow)}}, Parameters<float>(ParameterLayout()));
  const Matrix<float> X = Matrix<float>::Identity(5, 5);
  Matrix<float> Y(6, 5);
  LinearCache<float> cache;
  scout.layers()[0]->forward(X, Y, cache);
  CHECK(Y == narrow.cast<float>());
}
