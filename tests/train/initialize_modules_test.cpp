#include "lorasb/train/initialize_modules.hpp"

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// Three linear layers one after the other; the loss of a text is <dY, layers(X)>.
struct Chain {
  Weight<double> first = random_matrix<Weight<double>>(10, 8, 1);
  Weight<double> second = random_matrix<Weight<double>>(9, 10, 2);
  Weight<double> third = random_matrix<Weight<double>>(7, 9, 3);
  Matrix<double> X = random_matrix<Matrix<double>>(8, 30, 4);
  Matrix<double> dY = random_matrix<Matrix<double>>(7, 30, 5);
  int passes = 0;

  std::vector<Module<double>> modules() const { return {{"first", first}, {"second", second}, {"third", third}}; }

  /// Batches of 12, 12 and 6 examples.
  Index pass(const Layers<double>& layers) {
    ++passes;
    for (Index begin = 0; begin < 30; begin += 12) {
      const Index examples = std::min<Index>(12, 30 - begin);
      const Matrix<double> x0 = X.middleCols(begin, examples);
      Matrix<double> x1(10, examples), x2(9, examples), y(7, examples), d2(9, examples), d1(10, examples), d0(8, examples);
      LinearCache<double> cache;
      layers[0]->forward(x0, x1, cache);
      layers[1]->forward(x1, x2, cache);
      layers[2]->forward(x2, y, cache);
      const Matrix<double> d = dY.middleCols(begin, examples);
      layers[2]->backward(x2, d, cache, {}, d2);
      layers[1]->backward(x1, d2, cache, {}, d1);
      layers[0]->backward(x0, d1, cache, {}, d0);
    }
    return X.cols();
  }
  InitializedModules<double> initialize(InitializeModulesOptions options) {
    options.adapter.rank = 3;
    return initialize_modules<double>(
        modules(), [&](const Layers<double>& layers) { return pass(layers); }, options);
  }
};

}  // namespace

TEST_CASE("a whole model is initialised as each of its modules alone would be") {
  Chain chain;
  const InitializedModules<double> found = chain.initialize({});
  REQUIRE(found.adapters.size() == 3);
  CHECK(found.passes == 1);
  GradientEstimate<double> middle(9, 10, "second");
  const Matrix<double> d2 = chain.third.transpose() * chain.dY;
  const Matrix<double> x1 = chain.first * chain.X;
  middle.add(d2, x1, 30);
  const Initialized<double> alone = initialize(middle, {.rank = 3, .seed = derive_seed(0, 1)});  // the second module's seed
  CHECK(relative_error(found.adapters.at("second").R, alone.adapter.R) < 1e-9);
  CHECK(found.reports[1].module == "second");
  CHECK(found.reports[1].captured_energy == Approx(alone.report.captured_energy));
}

TEST_CASE("less memory takes more passes and gives the same bits") {
  Chain plenty;
  const InitializedModules<double> at_once = plenty.initialize({});
  Chain scarce;
  InitializeModulesOptions options;
  options.memory_bytes = (10 * 8 + 9 * 10) * sizeof(double);  // two modules, then one
  const InitializedModules<double> in_groups = scarce.initialize(options);
  CHECK(plenty.passes == 1);
  CHECK(scarce.passes == 2);
  CHECK(in_groups.passes == 2);
  Chain least;
  options.memory_bytes = 1;
  CHECK(least.initialize(options).passes == 3);
  for (const auto& [name, adapter] : at_once.adapters) {
    CHECK(in_groups.adapters.at(name).B == adapter.B);
    CHECK(in_groups.adapters.at(name).R == adapter.R);
    CHECK(in_groups.adapters.at(name).A == adapter.A);
  }
}

TEST_CASE("sketches take one pass and SGD's rule") {
  Chain chain;
  InitializeModulesOptions options;
  options.kind = EstimateKind::sketch;
  CHECK_ERROR(chain.initialize(options), ErrorId::value, "sign(G) is not linear in G");
  options.adapter.rule = FirstStep::sgd;
  const InitializedModules<double> found = chain.initialize(options);
  CHECK(found.passes == 1);
  // matrices this small are sketched whole, so the sketch finds what the dense estimate finds
  options.kind = EstimateKind::dense;
  Chain again;
  const InitializedModules<double> dense = again.initialize(options);
  for (const auto& [name, adapter] : dense.adapters) CHECK(relative_error(found.adapters.at(name).R, adapter.R) < 1e-6);
}

TEST_CASE("an example counts once however many batches and places of a module it goes through") {
  Chain chain;
  const std::vector<Module<double>> modules{{"shared", chain.first}};
  const Matrix<double> dY = random_matrix<Matrix<double>>(10, 3, 6) * random_matrix<Matrix<double>>(3, 30, 7);  // of rank 3
  for (const EstimateKind kind : {EstimateKind::dense, EstimateKind::sketch}) {
    const InitializedModules<double> found = initialize_modules<double>(
        modules,
        [&](const Layers<double>& layers) {
          LinearCache<double> cache;
          for (Index begin = 0; begin < 30; begin += 10)  // 15 examples, each in two places
            layers[0]->backward_parameters(chain.X.middleCols(begin, 10), dY.middleCols(begin, 10), cache, {});
          return Index(15);
        },
        {.adapter = {.rank = 3, .rule = FirstStep::sgd, .learning_rate = 1}, .kind = kind});
    const LowRankAdapter<double>& adapter = found.adapters.at("shared");
    const Matrix<double> mean = dY * chain.X.transpose() / 15;
    CHECK(relative_error(Matrix<double>(-adapter.B * adapter.R * adapter.A), mean) < Tolerance<double>::iterative);
  }
}

TEST_CASE("a pass over no examples is refused") {
  Chain chain;
  const auto pass = [](const Layers<double>&) { return Index(0); };
  CHECK_ERROR(initialize_modules<double>(chain.modules(), pass, {.adapter = {.rank = 3}}), ErrorId::no_examples,
              "the pass went over 0 examples");
}
