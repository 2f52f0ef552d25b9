#include "lorasb/train/initialize_modules.hpp"

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// Three linear layers one after the other; the loss of a text is <dY, layers(X)>.
struct ModuleChain {
  Weight<double> first = random_matrix<Weight<double>>(10, 8, 1);
  Weight<double> second = random_matrix<Weight<double>>(9, 10, 2);
  Weight<double> third = random_matrix<Weight<double>>(7, 9, 3);
  Matrix<double> X = random_matrix<Matrix<double>>(8, 30, 4);
  Matrix<double> dY = random_matrix<Matrix<double>>(7, 30, 5);
  int passes = 0;
  bool tells_loss = false;
  Vector<double> input_gradient;

  std::vector<Module<double>> modules() const { return {{"first", first}, {"second", second}, {"third", third}}; }

  /// Batches of 12, 12 and 6 examples.
  EstimationResult pass(const Layers<double>& layers) {
    ++passes;
    double loss = 0;
    for (Index begin = 0; begin < 30; begin += 12) {
      const Index examples = std::min<Index>(12, 30 - begin);
      const Matrix<double> x0 = X.middleCols(begin, examples);
      Matrix<double> x1(10, examples), x2(9, examples), y(7, examples), d2(9, examples), d1(10, examples), d0(8, examples);
      LinearCache<double> c0, c1, c2;
      const ForwardPass<double> p0 = layers[0]->forward(x0, x1, c0), p1 = layers[1]->forward(x1, x2, c1),
                                p2 = layers[2]->forward(x2, y, c2);
      const Matrix<double> d = dY.middleCols(begin, examples);
      loss += y.cwiseProduct(d).sum();
      const std::span<double> no_room;  // of a trainer that hands its gradient on, whatever the layer
      layers[2]->backward(p2, d, c2, no_room, d2);
      layers[1]->backward(p1, d2, c1, no_room, d1);
      layers[0]->backward(p0, d1, c0, no_room, d0);
      input_gradient = d0.col(0);
    }
    return tells_loss ? EstimationResult(X.cols(), loss) : EstimationResult(X.cols());
  }
  InitializedModules<double> initialize(InitializeModulesOptions options) {
    options.adapter.rank = 3;
    return initialize_modules<double>(
        modules(), [&](const Layers<double>& layers) { return pass(layers); }, options);
  }
};

}  // namespace

TEST_CASE("a whole model is initialised as each of its modules alone would be") {
  ModuleChain chain;
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
  ModuleChain plenty;
  const InitializedModules<double> at_once = plenty.initialize({});
  ModuleChain scarce;
  InitializeModulesOptions options;
  options.memory_bytes = (10 * 8 + 9 * 10) * sizeof(double);  // two modules, then one
  const InitializedModules<double> in_groups = scarce.initialize(options);
  CHECK(plenty.passes == 1);
  CHECK(scarce.passes == 2);
  CHECK(in_groups.passes == 2);
  ModuleChain least;
  options.memory_bytes = 1;
  CHECK(least.initialize(options).passes == 3);
  for (const auto& [name, adapter] : at_once.adapters) {
    CHECK(in_groups.adapters.at(name).B == adapter.B);
    CHECK(in_groups.adapters.at(name).R == adapter.R);
    CHECK(in_groups.adapters.at(name).A == adapter.A);
  }
}

TEST_CASE("sketches take one pass and SGD's rule") {
  ModuleChain chain;
  InitializeModulesOptions options;
  options.kind = EstimateKind::sketch;
  CHECK_ERROR(chain.initialize(options), ErrorId::value, "are not linear in G");
  options.adapter.rule = FirstStep::sgd;
  const InitializedModules<double> found = chain.initialize(options);
  CHECK(found.passes == 1);
  // matrices this small are sketched whole, so the sketch finds what the dense estimate finds
  options.kind = EstimateKind::dense;
  ModuleChain again;
  const InitializedModules<double> dense = again.initialize(options);
  for (const auto& [name, adapter] : dense.adapters) CHECK(relative_error(found.adapters.at(name).R, adapter.R) < 1e-6);
}

TEST_CASE("an example counts once however many batches and places of a module it goes through") {
  ModuleChain chain;
  const std::vector<Module<double>> modules{{"shared", chain.first}};
  const Matrix<double> dY = random_matrix<Matrix<double>>(10, 3, 6) * random_matrix<Matrix<double>>(3, 30, 7);  // of rank 3
  for (const EstimateKind kind : {EstimateKind::dense, EstimateKind::sketch}) {
    const InitializedModules<double> found = initialize_modules<double>(
        modules,
        [&](const Layers<double>& layers) {
          LinearCache<double> cache;
          Matrix<double> Y(10, 10);
          for (Index begin = 0; begin < 30; begin += 10)  // 15 examples, each in two places
            layers[0]->backward(layers[0]->forward(chain.X.middleCols(begin, 10), Y, cache), dY.middleCols(begin, 10), cache,
                                not_wanted, not_wanted);
          return Index(15);
        },
        {.adapter = {.rank = 3, .rule = FirstStep::sgd, .learning_rate = 1}, .kind = kind});
    const LowRankAdapter<double>& adapter = found.adapters.at("shared");
    const Matrix<double> mean = dY * chain.X.transpose() / 15;
    CHECK(relative_error(Matrix<double>(-adapter.B * adapter.R * adapter.A), mean) < Tolerance<double>::iterative);
  }
}

TEST_CASE("a pass over no examples is refused") {
  ModuleChain chain;
  const auto pass = [](const Layers<double>&) { return Index(0); };
  CHECK_ERROR(initialize_modules<double>(chain.modules(), pass, {.adapter = {.rank = 3}}), ErrorId::no_examples,
              "the pass went over 0 examples");
}

TEST_CASE("a start that raises the loss is seen: it is measured before and with the adapters on") {
  ModuleChain chain;
  chain.tells_loss = true;
  InitializeModulesOptions options;
  options.adapter.rule = FirstStep::sgd;
  options.adapter.learning_rate = 1e-4;
  const InitializedModules<double> found = chain.initialize(options);
  CHECK(found.passes == 2);
  CHECK(found.loss_after < found.loss_before);  // a small step along the gradient of a sum that may be negative
  Matrix<double> y = chain.X;
  for (const auto& [name, W] : std::vector<std::pair<std::string, Weight<double>>>{
           {"first", chain.first}, {"second", chain.second}, {"third", chain.third}}) {
    const LowRankAdapter<double>& a = found.adapters.at(name);
    y = ((W + a.scale * a.B * a.R * a.A) * y).eval();
  }
  CHECK(found.loss_after == Approx(y.cwiseProduct(chain.dY).sum() / 30));
  Vector<double> back = chain.dY.col(24);  // the first example of the last batch, with the adapters on
  for (const auto& [name, W] : std::vector<std::pair<std::string, Weight<double>>>{
           {"third", chain.third}, {"second", chain.second}, {"first", chain.first}}) {
    const LowRankAdapter<double>& a = found.adapters.at(name);
    back = ((W + a.scale * a.B * a.R * a.A).transpose() * back).eval();
  }
  CHECK(relative_error(chain.input_gradient, back) < Tolerance<double>::chain);

  InitializedModules<double> reported;
  reported.loss_before = 0.8;
  reported.loss_after = 27;
  CHECK(reported.raises_loss());
  reported.loss_after = std::numeric_limits<double>::quiet_NaN();
  CHECK(reported.raises_loss());
  reported.loss_after = 0.81;
  CHECK_FALSE(reported.raises_loss());
  CHECK_FALSE(InitializedModules<double>().raises_loss());  // not measured
  ModuleChain silent;
  CHECK(silent.initialize({}).passes == 1);  // a pass that tells no loss is not run again
}

TEST_CASE("parts of a pass add up to the whole, whatever the threads") {
  ModuleChain chain;
  for (const FirstStep rule : {FirstStep::adamw, FirstStep::sgd, FirstStep::gradient, FirstStep::moments}) {
    InitializeModulesOptions options;
    options.adapter = {.rank = 3, .rule = rule, .learning_rate = 0.01};
    const auto run = [&](Index parts, int threads, std::size_t memory) {
      options.memory_bytes = memory;
      const auto part_of = [&](const Layers<double>& layers, Index part) {  // example i is a batch of part i mod parts
        EstimationResult found(0, 0);
        for (Index i = part; i < 30; i += parts) {
          Matrix<double> x1(10, 1), x2(9, 1), y(7, 1), d2(9, 1), d1(10, 1);
          LinearCache<double> c0, c1, c2;
          const Matrix<double> x0 = chain.X.col(i), d = chain.dY.col(i);
          const ForwardPass<double> p0 = layers[0]->forward(x0, x1, c0), p1 = layers[1]->forward(x1, x2, c1),
                                    p2 = layers[2]->forward(x2, y, c2);
          const std::span<double> no_room;
          layers[2]->backward(p2, d, c2, no_room, d2);
          layers[1]->backward(p1, d2, c1, no_room, d1);
          layers[0]->backward(p0, d1, c0, no_room, not_wanted);
          found.loss += y.cwiseProduct(d).sum();
          ++found.examples;
        }
        return found;
      };
      return initialize_modules<double>(chain.modules(), PartedPass<double>{.run = part_of, .parts = parts, .threads = threads},
                                        options);
    };
    const InitializedModules<double> whole = run(1, 1, 1 << 20), parted = run(4, 1, 1 << 20), threaded = run(4, 3, 1 << 20);
    const InitializedModules<double> grouped = run(4, 2, 1);  // no two modules fit
    CHECK(grouped.passes == 4);
    CHECK(parted.loss_before == Approx(whole.loss_before));
    for (const Module<double>& m : chain.modules()) {
      const Weight<double> expected = parted.adapters.at(m.name).R;
      CHECK((expected - whole.adapters.at(m.name).R).norm() < 1e-9 * expected.norm());
      CHECK(threaded.adapters.at(m.name).R == expected);
      CHECK(grouped.adapters.at(m.name).R == expected);
    }
  }
  CHECK_ERROR(initialize_modules<double>(chain.modules(), PartedPass<double>{.run = {}, .parts = 0}, {}), ErrorId::value, "parts is 0");
}
