#include "lorasb/models/sentence_encoder/model.hpp"

#include "lorasb/adapter/cores.hpp"
#include "lorasb/nn/linear.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

namespace {

constexpr SentenceEncoderConfig tiny{
    .vocabulary = 11, .embedding = 8, .hidden = 12, .feed_forward = 10, .heads = 2, .layers = 2, .max_tokens = 6};

/// A tiny encoder with random weights. Every second module is adapted with a core of rank 2, the others are trained in full
/// when `others` says so, and frozen otherwise.
struct TinySentenceEncoder {
  Parameters<double> weights{sentence_encoder_layout(tiny)};
  FrozenModel<double> model{std::as_const(weights)};
  std::vector<double> timescales{1.0, 0.5, 0.1, 0.02};
  Layers<double> layers;
  nn::PackedBatch batch;
  SentenceEncoderCache<double> cache;
  Matrix<double> dY = random_matrix<Matrix<double>>(12, 3, 77);

  TinySentenceEncoder() {
    Random random(5);
    for (double& w : weights.flat()) w = 0.4 * random.normal();
    batch.add(std::vector<std::int32_t>{3, 1, 4, 1});
    batch.add(std::vector<std::int32_t>{10});
    batch.add(std::vector<std::int32_t>{2, 7, 1, 8, 2, 8});
  }
  /// What is trained is in `values`; by default every tensor.
  SentenceEncoder<double> encoder(const ParameterLayout& values) const { return {tiny, model, timescales, layers, values}; }
  SentenceEncoder<double> encoder() const { return encoder(weights.layout()); }
  void train_all() {
    for (const ModuleShape& m : sentence_encoder_modules(tiny))
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
  TinySentenceEncoder t;
  t.train_all();
  const SentenceEncoder<double> encoder = t.encoder();
  Parameters<double> gradient(t.weights.layout());
  t.loss(encoder);
  encoder.backward(t.batch, t.dY, t.cache, gradient.flat());
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
  TinySentenceEncoder all;
  all.train_all();
  const SentenceEncoder<double> whole = all.encoder();
  Parameters<double> expected(all.weights.layout());
  all.loss(whole);
  whole.backward(all.batch, all.dY, all.cache, expected.flat());
  const std::vector<ModuleShape> modules = sentence_encoder_modules(tiny);
  for (std::size_t only = 0; only < modules.size(); ++only) {
    TinySentenceEncoder t;
    for (std::size_t m = 0; m < modules.size(); ++m)
      t.layers.push_back(std::make_unique<nn::Linear<double>>(std::as_const(t.weights)[modules[m].name + ".weight"],
                                                              m == only ? nn::WeightGradient::full : nn::WeightGradient::none));
    ParameterLayout one;
    one.add(modules[only].name, Role::weight, modules[only].out_features, modules[only].in_features);
    const SentenceEncoder<double> encoder = t.encoder(one);
    t.loss(encoder);
    std::vector<double> gradient(static_cast<std::size_t>(one.size()), 1.0);  // added to
    encoder.backward(t.batch, t.dY, t.cache, gradient);
    const std::span<double> among_all = expected.flat(modules[only].name + ".weight");
    REQUIRE(gradient.size() == among_all.size());
    INFO(modules[only].name);
    CHECK((as_vector(std::span(gradient)).array() - 1 - as_vector(among_all).array()).abs().maxCoeff() < 1e-12);
  }
}

TEST_CASE("the gradient of any bias, norm or the embedding alone is what it is among all") {
  TinySentenceEncoder all;
  all.train_all();
  const SentenceEncoder<double> whole = all.encoder();
  Parameters<double> expected(all.weights.layout());
  all.loss(whole);
  whole.backward(all.batch, all.dY, all.cache, expected.flat());
  for (const ParameterLayout::Tensor& t : all.weights.layout().tensors()) {
    if (t.role == Role::weight || t.role == Role::norm_bias) continue;
    ParameterLayout one;
    one.add(t.module, t.role, t.rows, t.cols);
    if (t.role == Role::norm_scale) one.add(t.module, Role::norm_bias, t.rows, t.cols);  // a norm is trained as a whole
    TinySentenceEncoder only;
    for (const ModuleShape& m : sentence_encoder_modules(tiny))
      only.layers.push_back(std::make_unique<nn::Linear<double>>(only.model.at(m.name + ".weight")));
    const SentenceEncoder<double> encoder = only.encoder(one);
    only.loss(encoder);
    std::vector<double> gradient(static_cast<std::size_t>(one.size()));
    encoder.backward(only.batch, only.dY, only.cache, gradient);
    INFO(t.name);
    CHECK((as_vector(std::span(gradient).first(std::size_t(t.size()))) - as_vector(expected.flat(t.name))).norm() < 1e-12);
  }
}

TEST_CASE("gradients per text are those of each text alone, and add up to that of the batch") {
  TinySentenceEncoder t;
  std::vector<Module<double>> modules;
  AdapterSet<double> adapters;
  ParameterLayout layout;
  layout.add("before", 3, 1);  // a tensor of somebody else's
  for (const ModuleShape& m : sentence_encoder_modules(tiny)) {
    modules.push_back({m.name, t.model.at(m.name + ".weight")});
    adapters.add(m.name, {.B = random_matrix<Weight<double>>(m.out_features, 2, 1),
                          .R = random_matrix<Weight<double>>(2, 2, 2),
                          .A = random_matrix<Weight<double>>(2, m.in_features, 3)});
  }
  append_cores(modules, adapters, layout);
  Parameters<double> cores(layout);
  const AdapterBases<double> bases = take_cores(std::move(adapters), cores);
  t.layers = bind_cores<double>(modules, bases, cores);
  t.layers[3] = std::make_unique<nn::Linear<double>>(modules[3].W0, nn::WeightGradient::full);  // of another kind
  ParameterLayout mixed;
  for (const ParameterLayout::Tensor& tensor : layout.tensors()) {
    if (tensor.module == modules[3].name)
      mixed.add(tensor.module, Role::weight, modules[3].W0.rows(), modules[3].W0.cols());
    else
      mixed.add(tensor.module, tensor.role, tensor.rows, tensor.cols);
  }
  const SentenceEncoder<double> encoder = t.encoder(mixed);
  const Index size = mixed.size();
  t.loss(encoder);
  Vector<double> summed = Vector<double>::Zero(size);
  encoder.backward(t.batch, t.dY, t.cache, flat(summed));
  CHECK(summed.head(3).isZero());
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
  CHECK_ERROR(encoder.backward_per_example(t.batch, t.dY, t.cache, short_of_one), ErrorId::shape, "values x texts");
  mixed.add("projection", Role::bias, 1, 12);
  Matrix<double> more(mixed.size(), 3);
  const SentenceEncoder<double> with_bias = t.encoder(mixed);
  t.loss(with_bias);
  CHECK_ERROR(with_bias.backward_per_example(t.batch, t.dY, t.cache, more), ErrorId::value, "no gradients per example");
}

TEST_CASE("a backward pass for another batch than the last forward pass with its cache is refused") {
  TinySentenceEncoder t;
  t.train_all();
  const SentenceEncoder<double> encoder = t.encoder();
  t.loss(encoder);
  nn::PackedBatch other;  // as many texts and tokens
  other.add(std::vector<std::int32_t>{3, 1, 4, 2});
  other.add(std::vector<std::int32_t>{10});
  other.add(std::vector<std::int32_t>{2, 7, 1, 8, 2, 8});
  Matrix<double> Y(12, 3);
  encoder.forward(other, Y, t.cache);
  Parameters<double> gradient(t.weights.layout());
  CHECK_ERROR(encoder.backward(t.batch, t.dY, t.cache, gradient.flat()), ErrorId::shape, "not the one of the last forward pass");
  CHECK(as_vector(gradient.flat()).isZero());
}

namespace {

/// Y = W X with the auxiliary loss (Σ y)² / 2 of the batch: not a sum over its parts.
class Squared final : public LinearLayer<double> {
 public:
  explicit Squared(FrozenWeight<double> W) : LinearLayer("Squared", "squared", W.rows(), W.cols(), 0), W_(W) {}
  Index statistics_size() const override { return 1; }
  double auxiliary_loss(std::span<const double> sums) const override { return sums[0] * sums[0] / 2; }

 private:
  void run_forward(ConstMatrixView<double> X, MatrixView<double> Y, LinearCache<double>& cache) const override {
    linalg::multiply(W_, X, Y);
    cache.statistics = {Y.sum()};
  }
  void run_backward(ConstMatrixView<double>, ConstMatrixView<double> dY, LinearCache<double>& cache,
                    const LayerGradient<double>&, const InputGradient<double>& dX) const override {
    const double sum = cache.batch_statistics.empty() ? cache.statistics[0] : cache.batch_statistics[0];
    const Matrix<double> with_own = dY.array() + sum;
    if (dX.wanted()) linalg::multiply_transposed(W_, with_own, dX.view());
  }
  FrozenWeight<double> W_;
};

}  // namespace

TEST_CASE("the auxiliary loss of a layer and its gradient do not depend on how a batch is cut into parts") {
  TinySentenceEncoder t;
  for (const ModuleShape& m : sentence_encoder_modules(tiny)) {
    const FrozenWeight<double> W = t.model.at(m.name + ".weight");
    if (m.name == "layers.1.attention.out")
      t.layers.push_back(std::make_unique<Squared>(W));
    else
      t.layers.push_back(std::make_unique<nn::Linear<double>>(W, nn::WeightGradient::full, m.name));
  }
  const SentenceEncoder<double> encoder = t.encoder();
  REQUIRE(encoder.statistics_size() == 1);
  const auto run = [&](const std::vector<std::vector<Index>>& parts, std::span<double> gradient) {
    std::vector<SentenceEncoderCache<double>> caches(parts.size());
    std::vector<nn::PackedBatch> batches(parts.size());
    std::vector<double> sums(1);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      for (const Index i : parts[p])
        batches[p].add(t.batch.tokens().subspan(std::size_t(t.batch.offsets()[std::size_t(i)]),
                                                std::size_t(t.batch.offsets()[std::size_t(i) + 1] - t.batch.offsets()[std::size_t(i)])));
      Matrix<double> Y(12, std::ssize(parts[p]));
      encoder.forward(batches[p], Y, caches[p]);
      encoder.add_statistics(caches[p], sums);
    }
    for (std::size_t p = 0; p < parts.size(); ++p) {
      Matrix<double> dY(12, std::ssize(parts[p]));
      for (std::size_t i = 0; i < parts[p].size(); ++i) dY.col(Index(i)) = t.dY.col(parts[p][i]);
      encoder.set_batch_statistics(caches[p], sums);
      encoder.backward(batches[p], dY, caches[p], gradient);
    }
    return encoder.auxiliary_loss(sums);
  };
  Parameters<double> whole(t.weights.layout()), in_two(t.weights.layout()), in_three(t.weights.layout());
  const double loss = run({{0, 1, 2}}, whole.flat());
  CHECK(loss > 0);
  CHECK(run({{0, 1}, {2}}, in_two.flat()) == Approx(loss));
  CHECK(run({{0}, {1}, {2}}, in_three.flat()) == Approx(loss));
  CHECK(relative_error(as_vector(in_two.flat()), as_vector(whole.flat())) < Tolerance<double>::chain);
  CHECK(relative_error(as_vector(in_three.flat()), as_vector(whole.flat())) < Tolerance<double>::chain);
}

TEST_CASE("a text's vector does not depend on its neighbours in the batch") {
  TinySentenceEncoder t;
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
  TinySentenceEncoder t;
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
  CHECK_ERROR(encoder.backward(t.batch, t.dY, t.cache, short_gradient), ErrorId::shape, "gradient has 3 numbers");
  t.layers.pop_back();
  CHECK_ERROR(t.encoder(), ErrorId::model, "9 layers, expected 10");
  t.layers.push_back(std::make_unique<nn::Linear<double>>(std::as_const(t.weights)["layers.0.residual.weight"]));
  CHECK_ERROR(t.encoder(), ErrorId::shape, "layer \"projection\" is 12 x 8, expected 12 x 12");
  t.timescales.pop_back();
  t.layers.clear();
  t.train_all();
  CHECK_ERROR(t.encoder(), ErrorId::model, "3 timescales");
}
