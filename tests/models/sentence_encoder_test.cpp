#include "lorasb/models/sentence_encoder/model.hpp"

#include "lorasb/adapter/observed_linear.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

namespace {

constexpr SentenceEncoderConfig tiny{
    .vocabulary = 11, .embedding = 8, .hidden = 12, .feed_forward = 10, .heads = 2, .layers = 2, .max_tokens = 6};

/// A tiny encoder with random weights. Every second module is adapted with a core of rank 2, the others are trained in full
/// when `others` says so, and frozen otherwise.
struct TinyEncoder {
  Parameters<double> weights{sentence_encoder_layout(tiny)};
  std::vector<double> timescales{1.0, 0.5, 0.1, 0.02};
  AdapterSet<double> adapters;
  Layers<double> layers;
  nn::PackedBatch batch;
  SentenceEncoderCache<double> cache;
  Matrix<double> dY = random_matrix<Matrix<double>>(12, 3, 77);

  TinyEncoder() {
    Random random(5);
    for (double& w : weights.flat()) w = 0.4 * random.normal();
    batch.add(std::vector<std::int32_t>{3, 1, 4, 1});
    batch.add(std::vector<std::int32_t>{10});
    batch.add(std::vector<std::int32_t>{2, 7, 1, 8, 2, 8});
  }
  SentenceEncoder<double> encoder() const { return {tiny, weights, timescales, layers}; }
  void train_all() {
    for (const LinearShape& m : sentence_encoder_modules(tiny))
      layers.push_back(
          std::make_unique<nn::Linear<double>>(std::as_const(weights)[m.name + ".weight"], nn::WeightGradient::full));
  }
  double loss(const SentenceEncoder<double>& e) {
    Matrix<double> Y(12, 3);
    e.forward(batch, Y, cache);
    return Y.cwiseProduct(dY).sum();
  }
  double difference(const SentenceEncoder<double>& e, double& x) {
    const double step = 1e-5;  // truncation 1e-10, rounding 1e-16 / 1e-5
    const double kept = x;
    x = kept + step;
    const double up = loss(e);
    x = kept - step;
    const double down = loss(e);
    x = kept;
    return (up - down) / (2 * step);
  }
};

}  // namespace

TEST_CASE("the layout puts the modules' weights first and counts every tensor of the pretrained encoder") {
  const ParameterLayout layout = sentence_encoder_layout({});
  CHECK(layout.size() == 6975744);
  CHECK(layout.tensors().front().name == "layers.0.residual.weight");
  CHECK(sentence_encoder_modules({}).size() == 10);
  CHECK(layout.at("layers.1.attention.qkv.weight").rows == 1536);
  CHECK(layout.tensors()[9].name == "projection.weight");
  CHECK(layout.tensors()[10].name == "embedding.weight");
}

TEST_CASE("all gradients of the encoder are those of central differences") {
  TinyEncoder t;
  t.train_all();
  const SentenceEncoder<double> encoder = t.encoder();
  Parameters<double> gradient(t.weights.layout());
  t.loss(encoder);
  const std::size_t modules = static_cast<std::size_t>(encoder.trainable());
  encoder.backward(t.batch, t.dY, t.cache, gradient.flat().first(modules), gradient.flat().subspan(modules));
  Random pick(3);
  for (const ParameterLayout::Tensor& tensor : t.weights.layout().tensors()) {
    const std::span<double> numbers = t.weights.flat(tensor.name);
    for (int trial = 0; trial < 12; ++trial) {
      const std::size_t i = pick.below(numbers.size());
      INFO(tensor.name << " [" << i << "]");
      CHECK(gradient.flat(tensor.name)[i] == Approx(t.difference(encoder, numbers[i])).epsilon(1e-5).margin(1e-7));
    }
  }
}

TEST_CASE("the gradient of any single layer alone is what it is among all") {
  // the backward pass stops below the lowest layer that wants a gradient: nothing that a layer needs may be left out
  TinyEncoder all;
  all.train_all();
  const SentenceEncoder<double> whole = all.encoder();
  Parameters<double> expected(all.weights.layout());
  all.loss(whole);
  whole.backward(all.batch, all.dY, all.cache, expected.flat().first(static_cast<std::size_t>(whole.trainable())));
  const std::vector<LinearShape> modules = sentence_encoder_modules(tiny);
  for (std::size_t only = 0; only < modules.size(); ++only) {
    TinyEncoder t;
    for (std::size_t m = 0; m < modules.size(); ++m)
      t.layers.push_back(std::make_unique<nn::Linear<double>>(std::as_const(t.weights)[modules[m].name + ".weight"],
                                                              m == only ? nn::WeightGradient::full : nn::WeightGradient::none));
    const SentenceEncoder<double> encoder = t.encoder();
    t.loss(encoder);
    std::vector<double> gradient(static_cast<std::size_t>(encoder.trainable()), 1.0);  // added to
    encoder.backward(t.batch, t.dY, t.cache, gradient);
    const std::span<double> among_all = expected.flat(modules[only].name + ".weight");
    REQUIRE(gradient.size() == among_all.size());
    INFO(modules[only].name);
    CHECK((as_vector(std::span(gradient)).array() - 1 - as_vector(among_all).array()).abs().maxCoeff() < 1e-12);
  }
}

TEST_CASE("gradients per text are those of each text alone, and add up to that of the batch") {
  TinyEncoder t;
  std::vector<Module<double>> modules;
  ParameterLayout layout;
  for (const LinearShape& m : sentence_encoder_modules(tiny)) {
    modules.push_back({m.name, std::as_const(t.weights)[m.name + ".weight"]});
    t.adapters.add(m.name, {.B = random_matrix<Weight<double>>(m.out_features, 2, 1),
                            .R = random_matrix<Weight<double>>(2, 2, 2),
                            .A = random_matrix<Weight<double>>(2, m.in_features, 3)});
  }
  append_cores(modules, t.adapters, layout);
  Parameters<double> cores(layout);
  store_cores(t.adapters, cores);
  t.layers = bind_cores(modules, t.adapters, cores);
  const SentenceEncoder<double> encoder = t.encoder();
  const Index size = encoder.trainable();
  t.loss(encoder);
  Vector<double> summed = Vector<double>::Zero(size);
  encoder.backward(t.batch, t.dY, t.cache, flat(summed));
  Matrix<double> each = Matrix<double>::Ones(size, 3);  // added to
  encoder.backward_per_example(t.batch, t.dY, t.cache, each);
  CHECK(relative_error(each.rowwise().sum() - Vector<double>::Constant(size, 3.0), summed) < Tolerance<double>::chain);
  for (Index i = 0; i < 3; ++i) {
    nn::PackedBatch one;
    const Index first = t.batch.offsets()[std::size_t(i)];
    one.add(t.batch.tokens().subspan(std::size_t(first), std::size_t(t.batch.offsets()[std::size_t(i) + 1] - first)));
    Matrix<double> Y(12, 1);
    encoder.forward(one, Y, t.cache);
    Vector<double> alone = Vector<double>::Ones(size);
    encoder.backward(one, t.dY.middleCols(i, 1), t.cache, flat(alone));
    CHECK(relative_error(each.col(i), alone) < Tolerance<double>::chain);
  }
  Matrix<double> short_of_one(size, 2);
  CHECK_ERROR(encoder.backward_per_example(t.batch, t.dY, t.cache, short_of_one), ErrorId::shape, "module_gradients");
  t.layers[3] = std::make_unique<nn::Linear<double>>(modules[3].W0, nn::WeightGradient::full);
  Matrix<double> more(size - 4 + modules[3].W0.size(), 3);
  const SentenceEncoder<double> mixed = t.encoder();
  t.loss(mixed);
  CHECK_ERROR(mixed.backward_per_example(t.batch, t.dY, t.cache, more), ErrorId::value, "no gradients per example");
}

TEST_CASE("a text's vector does not depend on its neighbours in the batch") {
  TinyEncoder t;
  t.train_all();
  const SentenceEncoder<double> encoder = t.encoder();
  Matrix<double> together(12, 3);
  encoder.forward(t.batch, together, t.cache);
  nn::PackedBatch alone;
  alone.add(t.batch.tokens().subspan(5, 6));
  Matrix<double> Y(12, 1);
  encoder.forward(alone, Y, t.cache);
  CHECK(relative_error(Y, together.col(2)) < Tolerance<double>::chain);
  CHECK(Y.norm() == Approx(1));
}

TEST_CASE("an encoder refuses texts and parts that do not fit") {
  TinyEncoder t;
  t.train_all();
  const SentenceEncoder<double> encoder = t.encoder();
  nn::PackedBatch long_text;
  long_text.add(std::vector<std::int32_t>(7, 1));
  Matrix<double> Y(12, 1);
  CHECK_ERROR(encoder.forward(long_text, Y, t.cache), ErrorId::value, "text 0 has 7 tokens, expected at most 6");
  nn::PackedBatch unknown;
  unknown.add(std::vector<std::int32_t>{11});
  CHECK_ERROR(encoder.forward(unknown, Y, t.cache), ErrorId::value, "11");
  std::vector<double> short_gradient(3);
  CHECK_ERROR(encoder.backward(t.batch, t.dY, t.cache, short_gradient), ErrorId::shape, "module_gradients has 3 numbers");
  t.layers.pop_back();
  CHECK_ERROR(t.encoder(), ErrorId::model, "9 layers, expected 10");
  t.layers.push_back(std::make_unique<nn::Linear<double>>(std::as_const(t.weights)["layers.0.residual.weight"]));
  CHECK_ERROR(t.encoder(), ErrorId::shape, "layer \"projection\" is 12 x 8, expected 12 x 12");
  t.timescales.pop_back();
  t.layers.clear();
  t.train_all();
  CHECK_ERROR(t.encoder(), ErrorId::model, "3 timescales");
}
