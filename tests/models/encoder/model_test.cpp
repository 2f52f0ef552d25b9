#include "lorasb/models/encoder/model.hpp"

#include "lorasb/adapter/cores.hpp"
#include "lorasb/models/sentence_encoder/cache.hpp"
#include "lorasb/nn/linear.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

namespace {

EncoderConfig tiny_config(EncoderFamily family, Pooling pooling, nn::Activation activation = nn::Activation::gelu) {
  return {.family = family,
          .vocabulary = 11,
          .hidden = 8,
          .layers = 2,
          .heads = 2,
          .feed_forward = 10,
          .positions = 9,
          .token_types = family == EncoderFamily::distilbert ? 0 : 2,
          .padding = is_roberta(family) ? 1 : -1,
          .activation = activation,
          .epsilon = 1e-5,
          .pooling = pooling};
}

const std::vector<EncoderConfig> configs{tiny_config(EncoderFamily::bert, Pooling::mean),
                                         tiny_config(EncoderFamily::bert, Pooling::pooler, nn::Activation::gelu_tanh),
                                         tiny_config(EncoderFamily::roberta, Pooling::first_token, nn::Activation::tanh),
                                         tiny_config(EncoderFamily::distilbert, Pooling::pooler),
                                         tiny_config(EncoderFamily::roberta, Pooling::first_state),
                                         tiny_config(EncoderFamily::roberta_prelayernorm, Pooling::mean),
                                         tiny_config(EncoderFamily::roberta_prelayernorm, Pooling::pooler)};

/// An encoder with random weights and three texts, one of them with two token types, one with RoBERTa's padding in it.
struct TinyEncoder {
  EncoderConfig config;
  Parameters<double> weights;
  FrozenModel<double> model{std::as_const(weights)};
  Layers<double> layers;
  nn::PackedBatch batch;
  EncoderCache<double> cache;
  Matrix<double> dY = random_matrix<Matrix<double>>(8, 3, 77);

  explicit TinyEncoder(const EncoderConfig& c) : config(c), weights(encoder_layout(c)) {
    Random random(5);
    for (const ParameterLayout::Tensor& t : weights.layout().tensors())
      for (double& w : weights.flat(t.name)) w = (t.role == Role::norm_scale ? 1 : 0) + 0.4 * random.normal();
    const std::vector<std::int32_t> types{0, 0, c.token_types > 1 ? 1 : 0, c.token_types > 1 ? 1 : 0};
    batch.add(std::vector<std::int32_t>{3, 1, 4, 2}, types);
    batch.add(std::vector<std::int32_t>{10});
    batch.add(std::vector<std::int32_t>{2, 7, 1, 8, 2, 8});
  }
  /// A layer for each module; the one called `trained`, or every one for "", is trained in full.
  void make_layers(std::string_view trained) {
    for (const ModuleShape& m : encoder_modules(config))
      layers.push_back(std::make_unique<nn::Linear<double>>(
          std::as_const(weights)[m.name + ".weight"],
          trained.empty() || m.name == trained ? nn::WeightGradient::full : nn::WeightGradient::none, m.name));
  }
  Encoder<double> encoder(const ParameterLayout& values) const { return {config, model, layers, values}; }
  double loss(const Encoder<double>& e) {
    Matrix<double> Y(8, 3);
    e.forward(batch, Y, cache);
    return Y.cwiseProduct(dY).sum();
  }
};

/// The gradient of every tensor, in the layout of the weights.
Parameters<double> whole_gradient(TinyEncoder& t) {
  t.make_layers("");
  const Encoder<double> encoder = t.encoder(t.weights.layout());
  Parameters<double> gradient(t.weights.layout());
  t.loss(encoder);
  encoder.backward(t.batch, t.dY, t.cache, gradient.flat());
  return gradient;
}

}  // namespace

TEST_CASE("The modules and tensors have the names and sizes of transformers' classifiers of sequences") {
  EncoderConfig config;
  CHECK(encoder_layout(config).size() == 109482240 - 768 * 769);  // BertModel, without its pooler
  CHECK(encoder_modules(config).front().name == "bert.encoder.layer.0.attention.self.query");
  CHECK(encoder_modules(config).back().name == "bert.encoder.layer.11.output.dense");
  config.pooling = Pooling::pooler;
  CHECK(encoder_layout(config).size() == 109482240);
  CHECK(encoder_modules(config).back().name == "bert.pooler.dense");
  config.family = EncoderFamily::roberta;
  CHECK(encoder_modules(config)[5].name == "roberta.encoder.layer.0.output.dense");
  CHECK(encoder_modules(config).back().name == "classifier.dense");
  config.family = EncoderFamily::distilbert;
  CHECK(encoder_modules(config)[3].name == "distilbert.transformer.layer.0.attention.out_lin");
  CHECK(encoder_modules(config).back().name == "pre_classifier");
}

TEST_CASE("All gradients of every family are those of central differences") {
  for (const EncoderConfig& config : configs) {
    TinyEncoder t(config);
    const Parameters<double> gradient = whole_gradient(t);
    const Encoder<double> encoder = t.encoder(t.weights.layout());
    Random pick(3);
    for (const ParameterLayout::Tensor& tensor : t.weights.layout().tensors()) {
      const std::span<double> numbers = t.weights.flat(tensor.name);
      for (int trial = 0; trial < 8; ++trial) {
        const std::size_t i = pick.below(numbers.size());
        const double kept = numbers[i], step = 1e-5;  // truncation 1e-10, rounding 1e-15 / 1e-5
        numbers[i] = kept + step;
        const double up = t.loss(encoder);
        numbers[i] = kept - step;
        const double down = t.loss(encoder);
        numbers[i] = kept;
        INFO(tensor.name << " [" << i << "]");
        CHECK(gradient.flat(tensor.name)[i] == Approx((up - down) / (2 * step)).epsilon(1e-5).margin(1e-7));
      }
    }
  }
}

TEST_CASE("The gradient of any tensor alone is what it is among all") {
  // the backward pass stops below the lowest tensor that is trained: nothing that it needs may be left out
  for (const EncoderConfig& config : configs) {
    TinyEncoder all(config);
    const Parameters<double> expected = whole_gradient(all);
    for (const ParameterLayout::Tensor& tensor : all.weights.layout().tensors()) {
      if (tensor.role == Role::norm_bias) continue;
      ParameterLayout one;
      one.add(tensor.module, tensor.role, tensor.rows, tensor.cols);
      if (tensor.role == Role::norm_scale) one.add(tensor.module, Role::norm_bias, tensor.rows, tensor.cols);  // a norm is one
      TinyEncoder t(config);
      t.make_layers(tensor.role == Role::weight ? tensor.module : "none");
      const Encoder<double> encoder = t.encoder(one);
      t.loss(encoder);
      std::vector<double> gradient(static_cast<std::size_t>(one.size()), 1.0);  // added to
      encoder.backward(t.batch, t.dY, t.cache, gradient);
      INFO(tensor.name);
      CHECK((as_vector(std::span(gradient).first(std::size_t(tensor.size()))).array() - 1 -
             as_vector(expected.flat(tensor.name)).array()).abs().maxCoeff() < 1e-12);
    }
  }
}

TEST_CASE("Gradients of adapters per text are those of each text alone, and add up to that of the batch") {
  TinyEncoder t(configs[1]);
  std::vector<Module<double>> modules;
  AdapterSet<double> adapters;
  ParameterLayout layout;
  for (const ModuleShape& m : encoder_modules(t.config)) {
    modules.push_back({m.name, t.model.at(m.name + ".weight")});
    adapters.add(m.name, {.B = random_matrix<Weight<double>>(m.out_features, 2, 1),
                          .R = random_matrix<Weight<double>>(2, 2, 2),
                          .A = random_matrix<Weight<double>>(2, m.in_features, 3)});
  }
  append_cores(modules, adapters, layout);
  Parameters<double> cores(layout);
  const AdapterBases<double> bases = take_cores(std::move(adapters), cores);
  t.layers = bind_cores<double>(modules, bases, cores);
  const Encoder<double> encoder = t.encoder(layout);
  t.loss(encoder);
  Vector<double> summed = Vector<double>::Zero(layout.size());
  encoder.backward(t.batch, t.dY, t.cache, flat(summed));
  Matrix<double> each = Matrix<double>::Zero(layout.size(), 3);
  encoder.backward_per_example(t.batch, t.dY, t.cache, each);
  CHECK(relative_error(each.rowwise().sum(), summed) < Tolerance<double>::chain);
  nn::PackedBatch alone;
  alone.add(t.batch.tokens().subspan(5, 6));
  Matrix<double> Y(8, 1);
  encoder.forward(alone, Y, t.cache);
  Vector<double> gradient = Vector<double>::Zero(layout.size());
  encoder.backward(alone, t.dY.middleCols(2, 1), t.cache, flat(gradient));
  CHECK(relative_error(each.col(2), gradient) < Tolerance<double>::chain);
}

TEST_CASE("Token types and positions change a text's vector, its neighbours do not") {
  TinyEncoder t(configs[0]);
  t.make_layers("none");
  const Encoder<double> encoder = t.encoder({});
  Matrix<double> together(8, 3), alone(8, 1);
  encoder.forward(t.batch, together, t.cache);
  const auto vector_of = [&](std::vector<std::int32_t> ids, std::vector<std::int32_t> types) {
    nn::PackedBatch one;
    one.add(ids, types);
    encoder.forward(one, alone, t.cache);
    return Matrix<double>(alone);
  };
  CHECK(relative_error(vector_of({3, 1, 4, 2}, {0, 0, 1, 1}), together.col(0)) < Tolerance<double>::chain);
  CHECK(relative_error(vector_of({3, 1, 4, 2}, {}), together.col(0)) > 0.01);
  CHECK(relative_error(vector_of({3, 4, 1, 2}, {0, 0, 1, 1}), together.col(0)) > 0.01);
  CHECK(together.col(1).norm() == Approx(1));
}

TEST_CASE("An encoder refuses texts, caches, layers and configurations that do not fit") {
  TinyEncoder t(configs[2]);
  t.make_layers("none");
  const Encoder<double> encoder = t.encoder({});
  CHECK(encoder.max_tokens() == 7);  // two of nine positions are before the first
  Matrix<double> Y(8, 1);
  nn::PackedBatch batch;
  batch.add(std::vector<std::int32_t>(8, 2));
  CHECK_ERROR(encoder.forward(batch, Y, t.cache), ErrorId::value, "text 0 has 8 tokens, expected at most 7");
  batch.clear();
  batch.add(std::vector<std::int32_t>{11});
  CHECK_ERROR(encoder.forward(batch, Y, t.cache), ErrorId::value, "11");
  batch.clear();
  batch.add(std::vector<std::int32_t>{3}, std::vector<std::int32_t>{2});
  CHECK_ERROR(encoder.forward(batch, Y, t.cache), ErrorId::value, "ids[0] is 2");
  batch.clear();
  batch.add(std::vector<std::int32_t>{});
  CHECK_ERROR(encoder.forward(batch, Y, t.cache), ErrorId::value, "no tokens");
  SentenceEncoderCache<double> other;
  Matrix<double> three(8, 3);
  CHECK_ERROR(encoder.forward(t.batch, three, other), ErrorId::value, "another kind of encoder");
  t.layers.pop_back();
  CHECK_ERROR(t.encoder({}), ErrorId::model, "11 layers, expected 12");
  const auto refused = [](EncoderConfig config, const char* message) {
    CHECK_ERROR(encoder_layout(config), ErrorId::model, message);
  };
  refused({.hidden = 10, .heads = 3}, "heads is 3, expected a divisor of hidden, 10");
  refused({.hidden = -768}, "hidden is -768");
  refused({.layers = 1000000000}, "layers is 1000000000, expected 1 to 1024");
  refused({.positions = 2, .padding = 1}, "padding is 1");
  refused({.epsilon = -1}, "epsilon is -1");
}
