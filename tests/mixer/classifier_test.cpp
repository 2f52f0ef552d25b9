// A classifier over a mixture: the balance loss is of the whole batch, whatever its parts and threads, and heads by task.
#include "lorasb/models/classifier.hpp"

#include "lorasb/mixer/mixture.hpp"
#include "lorasb/mixer/two_phase.hpp"
#include "lorasb/models/sentence_encoder/model.hpp"
#include "lorasb/optim/sgd.hpp"
#include "lorasb/train/step.hpp"
#include "mixer/small_mixture.hpp"
#include "nn/gradient_check.hpp"

using namespace lorasb;
using namespace lorasb::mixer;
using namespace lorasb::test;

namespace {

constexpr models::SentenceEncoderConfig two_layers{
    .vocabulary = 11, .embedding = 8, .hidden = 12, .feed_forward = 10, .heads = 2, .layers = 1, .max_tokens = 6};
using Encoder = models::SentenceEncoder<double>;

/// Three cores on two modules, a router of its own on each, and a head of two tasks with 2 and 3 classes.
struct Model {
  Parameters<double> weights{models::sentence_encoder_layout(two_layers)};
  FrozenModel<double> frozen{std::as_const(weights)};
  std::vector<double> timescales{1, 0.5, 0.1, 0.02};
  BalanceLossOptions loss{.balance = 0.5,
                          .entropy = 0.3,
                          .alignment = 0.2,
                          .share = RoutedShare::top_k_mass,
                          .share_k = 2,
                          .entropy_sign = EntropySign::specialize,
                          .over_layers = OverLayers::sum};
  Mixture<double> mixture;
  std::unique_ptr<Parameters<double>> values;
  Layers<double> layers;
  models::TokenizedTexts texts{
      .ids = {{3, 1, 4, 1}, {10}, {2, 7, 1, 8, 2, 8}, {5, 6}, {9, 9, 1}}, .labels = {0, 1, 4, 2, 1}, .tasks = {0, 0, 1, 1, 0}};
  std::vector<Index> order{0, 1, 2, 3, 4};

  Model() {
    Random random(5);
    for (double& w : weights.flat()) w = 0.4 * random.normal();
    std::vector<Module<double>> modules;
    for (const ModuleShape& m : models::sentence_encoder_modules(two_layers))
      modules.push_back({m.name, frozen.at(m.name + ".weight")});
    AdapterBases<double> bases;
    for (const std::size_t m : {2, 5}) {
      const LowRankAdapter<double> a = random_adapter<double>(modules[m].W0.rows(), modules[m].W0.cols(), 2, m);
      bases.add(modules[m].name, {.B = a.B, .A = a.A, .scale = 0.5});
    }
    ExpertBank<double> bank(std::move(bases));
    for (const char* name : {"a", "b", "c"}) {
      NamedSet<Weight<double>> cores;
      for (const std::size_t m : {2, 5})
        cores.add(modules[m].name, random_matrix<Weight<double>>(2, 2, m, std::uint64_t(name[0])));
      bank.add_cores(name, std::move(cores));
    }
    mixture = make_mixture(std::move(bank), RouterInput::basis, {}, 1.0, 3);
    ParameterLayout layout;
    append_mixture(modules, mixture, layout);
    models::append_head(5, 12, layout);
    values = std::make_unique<Parameters<double>>(layout);
    for (double& v : values->flat()) v = 0.3 * random.normal();
    take_mixture(mixture, *values);
    layers = bind_mixture<double>(modules, mixture, *values, {.mode = RoutingMode::soft}, loss);
  }
  models::TextClassifier<double> classifier(Index parts) {
    models::TextClassifier<double> c(std::make_unique<const Encoder>(two_layers, frozen, timescales, layers, values->layout()), *values, parts);
    c.set_task_classes({{0, 2}, {2, 3}});
    return c;
  }
  /// Loss and gradient of the whole batch, by a step.
  std::pair<double, Vector<double>> run(Index parts, int threads) {
    models::TextClassifier<double> c = classifier(parts);
    train::Step<double> step(values->layout().size(), parts, threads);
    step.accumulate(5, two_phase_pass(c, texts, order));
    Index routed = 0;
    for_each_routing(c.encoder(), c.cache(0), [&](const Routing<double>&, const LinearCache<double>&) { ++routed; });
    CHECK(routed == 2);  // the modules with experts, and no other layer
    const Vector<double> gradient = as_vector(std::span<const double>(step.gradient_sum()));
    std::vector<double> moved(values->flat().begin(), values->flat().end());
    optim::Sgd<double> sgd(values->layout().size(), {});
    return {step.apply(moved, sgd, 0.1).mean_loss * 5, gradient};
  }
};

}  // namespace

TEST_CASE("loss and gradient of a mixture are those of the whole batch, whatever its parts and threads") {
  Model m;
  const auto [loss, gradient] = m.run(1, 1);
  for (const Index parts : {2, 3, 5}) {
    const auto [again, same] = m.run(parts, 1);
    CHECK(again == Approx(loss).epsilon(1e-13));
    CHECK(relative_error(same, gradient) < Tolerance<double>::chain);
    CHECK(m.run(parts, 3).second == same);  // the same bits
  }
  m.loss.share = RoutedShare::top_1;  // constant between jumps, as central differences need it
  const Vector<double> fixed = m.run(1, 1).second;
  CHECK(gradient_error(m.values->flat(), flat(fixed), [&] { return m.run(2, 1).first; }) < 1e-7);
}

TEST_CASE("a text is classified among the classes of its task alone") {
  Model m;
  models::TextClassifier<double> c = m.classifier(1);
  const double masked = c.measure(m.texts, m.order, 0).loss;
  double expected = 0;
  const models::Head<double> head(*m.values);
  const Matrix<double> E = c.encode(m.texts, m.order, 0);
  Matrix<double> logits(5, 5);
  head.forward(E, logits);
  for (Index i = 0; i < 5; ++i) {
    const Index first = m.texts.tasks[std::size_t(i)] == 0 ? 0 : 2, count = first == 0 ? 2 : 3;
    expected += std::log(logits.col(i).segment(first, count).array().exp().sum()) - logits(m.texts.labels[std::size_t(i)], i);
  }
  CHECK(masked == Approx(expected).epsilon(1e-12));
}
