// A head over an encoder with cores, by each problem: gradients by differences, of each text alone, and in parts.
#include "lorasb/models/classifier.hpp"

#include "adapter/random_adapter.hpp"
#include "lorasb/adapter/cores.hpp"
#include "lorasb/adapter/lora/bind.hpp"
#include "lorasb/models/encoder/model.hpp"
#include "nn/gradient_check.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

namespace {

enum class Adapters { cores, plain };

/// Adapters of every module: cores, or plain LoRA with both factors trained; the pooler's among them.
struct HeadOverAdapters {
  EncoderConfig config{.vocabulary = 11, .hidden = 8, .layers = 1, .heads = 2, .feed_forward = 10, .positions = 9, .epsilon = 1e-5,
                       .pooling = Pooling::pooler};
  Parameters<double> weights{encoder_layout(config)};
  FrozenModel<double> frozen{std::as_const(weights)};
  std::vector<Module<double>> modules;
  AdapterBases<double> bases;
  std::unique_ptr<Parameters<double>> values;
  Layers<double> layers;
  TokenizedTexts texts{.ids = {{3, 1, 4, 1}, {10}, {2, 7, 1, 8, 2, 8}, {5, 6}}};
  std::vector<Index> order{2, 0, 3, 1};

  HeadOverAdapters(nn::ProblemType problem, Matrix<float> targets, Adapters kind = Adapters::cores) {
    texts.problem = problem;
    texts.values = std::move(targets);
    Random random(5);
    for (double& w : weights.flat()) w = 0.4 * random.normal();
    ParameterLayout layout;
    AdapterSet<double> adapters;
    for (const ModuleShape& m : encoder_modules(config)) {
      modules.push_back({m.name, frozen.at(m.name + ".weight")});
      adapters.add(m.name, random_adapter<double>(m.out_features, m.in_features, 2, modules.size()));
    }
    if (kind == Adapters::plain) {
      for (const Module<double>& m : modules) append_lora(m.name, m.W0.rows(), m.W0.cols(), 2, layout);
    } else {
      append_cores(modules, adapters, layout);
    }
    append_head(texts.values.rows(), 8, layout);
    values = std::make_unique<Parameters<double>>(layout);
    for (double& v : values->flat()) v = 0.3 * random.normal();
    if (kind == Adapters::plain) {
      layers = bind_lora<double>(modules, 0.5, *values);
    } else {
      bases = take_cores(std::move(adapters), *values);
      layers = bind_cores<double>(modules, bases, *values);
    }
  }
  TextClassifier<double> classifier(Index parts = 1) {
    return {std::make_unique<const Encoder<double>>(config, frozen, layers, values->layout()), *values, parts};
  }
};

}  // namespace

TEST_CASE("The gradients of a regression and of several labels are those of differences, in sum and for each text") {
  struct Case {
    nn::ProblemType problem;
    Matrix<float> targets;
  };
  for (const Case& c : {Case{nn::ProblemType::regression, Matrix<float>{{0.5, -1, 2, 0.25}}},
                        Case{nn::ProblemType::multi_label, Matrix<float>{{1, 0, 0, 1}, {1, 1, 0, 0}, {0, 0, 0, 1}}}}) {
    HeadOverAdapters m(c.problem, c.targets);
    TextClassifier<double> classifier = m.classifier();
    const auto size = static_cast<std::size_t>(m.values->layout().size());
    std::vector<double> gradient(size), each(size), one(size);
    const nn::PassResult found = classifier.pass(m.texts, m.order, 0, gradient);
    CHECK(found.loss == classifier.measure(m.texts, m.order, 0).loss);
    CHECK(found.correct == classifier.measure(m.texts, m.order, 0).correct);
    const auto loss = [&] { return classifier.measure(m.texts, m.order, 0).loss; };
    CHECK(gradient_error(m.values->flat(), gradient, loss) <= gradient_tolerance);
    classifier.pass_clipped(m.texts, m.order, 0, {1e9, std::span(each)});  // the clipped gradient of each text is its gradient
    CHECK(relative_error(as_vector(std::span<const double>(each)), as_vector(std::span<const double>(gradient))) <
          Tolerance<double>::chain);
    std::ranges::fill(each, 0.0);
    for (const Index i : m.order) {
      std::ranges::fill(one, 0.0);
      classifier.pass(m.texts, std::vector<Index>{i}, 0, one);
      const double norm = as_vector(std::span<const double>(one)).norm();
      as_vector(std::span<double>(each)) += as_vector(std::span<const double>(one)) * std::min(1.0, 0.5 / norm);
    }
    std::ranges::fill(gradient, 0.0);
    classifier.pass_clipped(m.texts, m.order, 0, {0.5, std::span(gradient)});
    CHECK(relative_error(as_vector(std::span<const double>(gradient)), as_vector(std::span<const double>(each))) <
          Tolerance<double>::chain);
  }
}

TEST_CASE("Dropout has one mask in forward and backward, whatever the parts, another in each step, and none in measuring") {
  for (const Adapters kind : {Adapters::cores, Adapters::plain}) {
    HeadOverAdapters m(nn::ProblemType::regression, Matrix<float>{{0.5, -1, 2, 0.25}}, kind);
    TextClassifier<double> classifier = m.classifier(2);
    const auto size = static_cast<std::size_t>(m.values->layout().size());
    std::vector<double> gradient(size), ignored(size), cut(size), each(size);
    const double without = classifier.pass(m.texts, m.order, 0, ignored).loss;
    classifier.set_dropout(0.4, 11);
    const double loss = classifier.pass(m.texts, m.order, 0, gradient).loss;
    CHECK(std::abs(loss - without) > 1e-3);
    CHECK(classifier.measure(m.texts, m.order, 0).loss == without);
    CHECK(classifier.pass(m.texts, m.order, 0, ignored).loss == loss);
    CHECK(gradient_error(m.values->flat(), gradient, [&] { return classifier.pass(m.texts, m.order, 0, ignored).loss; }) <=
          gradient_tolerance);
    const std::span<const Index> order(m.order);
    const double parts = classifier.pass(m.texts, order.subspan(3), 1, cut).loss + classifier.pass(m.texts, order.first(3), 0, cut).loss;
    CHECK(parts == Approx(loss).epsilon(1e-12));
    CHECK(relative_error(as_vector(std::span<const double>(cut)), as_vector(std::span<const double>(gradient))) <
          Tolerance<double>::chain);
    classifier.pass_clipped(m.texts, m.order, 0, {1e9, std::span(each)});
    CHECK(relative_error(as_vector(std::span<const double>(each)), as_vector(std::span<const double>(gradient))) <
          Tolerance<double>::chain);
    classifier.set_dropout(0.4, 12);
    CHECK(std::abs(classifier.pass(m.texts, m.order, 0, ignored).loss - loss) > 1e-3);
    classifier.set_dropout(0, 12);
    CHECK(classifier.pass(m.texts, m.order, 0, ignored).loss == without);
  }
}
