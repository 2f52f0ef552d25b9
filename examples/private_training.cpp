// Private training of one LoRA-SB layer within epsilon 3, by the operating system's noise; a step too many is refused.
#include <cstdio>

#include "lorasb/adapter/cores.hpp"
#include "lorasb/adapter/data_free.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/nn/cross_entropy.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/train/ledger_file.hpp"
#include "lorasb/train/private_training.hpp"

using namespace lorasb;

/// Columns of numbers, and the class of each.
struct Points {
  Matrix<float> X;
  std::vector<std::int32_t> labels;
};

int main() {
  // 4,000 private points and 500 public ones, in six classes. W0 knows other classes, which are mixtures of the same features.
  Random random(1);
  const auto normal = [&] { return float(random.normal()); };
  const Weight<float> W0 = Weight<float>::NullaryExpr(6, 20, normal), mixture = Weight<float>::NullaryExpr(6, 6, normal);
  const Weight<float> truth = mixture * W0;
  const auto draw = [&](Index count) {
    Points points{.X = Matrix<float>::NullaryExpr(20, count, normal), .labels = std::vector<std::int32_t>(std::size_t(count))};
    for (Index i = 0; i < count; ++i) (truth * points.X.col(i)).maxCoeff(&points.labels[std::size_t(i)]);
    return points;
  };
  const Points secret = draw(4000), open = draw(500);

  // LoRA-SB cores over bases that no data is needed for: B and A of W0's singular vectors.
  const std::vector<Module<float>> modules{{"layer", W0}};
  AdapterSet<float> adapters = bases_of_weights(modules, 6);
  ParameterLayout layout;
  append_cores(modules, adapters, layout);
  Parameters<float> values(layout);
  const AdapterBases<float> bases = take_cores(std::move(adapters), values);
  const Layers<float> layers = bind_cores(modules, bases, values);

  // What may be spent, written down ahead of every step, and 100 steps that keep within it.
  privacy::Ledger ledger({.population = 4000, .delta = 1e-5, .budget = 3});
  train::LedgerFile("ledger.txt").write_ahead(ledger);
  train::PrivateTraining<float> training(layout.size(), 4000, {.steps = 100, .batch = 200, .origin = train::Origin::no_data}, ledger);

  // The gradients of single examples, which the sum clips.
  const auto pass = [&](std::span<const Index> examples, Index, const privacy::ClippedSum<float>& sum) {
    const Index count = std::ssize(examples);
    Matrix<float> X(20, count), logits(6, count), gradients = Matrix<float>::Zero(layout.size(), count);
    std::vector<std::int32_t> labels;
    std::vector<Index> offsets{0};  // example i is column i
    for (const Index i : examples) {
      X.col(std::ssize(labels)) = secret.X.col(i);
      labels.push_back(secret.labels[std::size_t(i)]);
      offsets.push_back(std::ssize(labels));
    }
    LinearCache<float> cache;
    const ForwardPass<float> forward = layers[0]->forward(X, logits, cache);
    nn::cross_entropy<float>(logits, labels, logits);
    layers[0]->backward(forward, logits, cache, {gradients, offsets}, not_wanted);
    sum.add(gradients);
  };
  const auto accuracy = [&] {  // on public points: a measurement on private ones would not be covered
    Matrix<float> logits(6, open.X.cols());
    LinearCache<float> cache;
    layers[0]->forward(open.X, logits, cache);
    return double(nn::count_correct<float>(logits, open.labels)) / double(open.X.cols());
  };
  const double before = accuracy();
  optim::AdamW<float> optimizer(layout.size());
  for (std::uint64_t t = 1; t <= training.last_step(); ++t) training.step(values.flat(), optimizer, 0.05, pass);

  std::printf("%s", statement(training.report()).c_str());
  std::printf("right before: %.0f %%, twice as many after: %s\n", 100 * before, accuracy() > 2 * before ? "yes" : "no");
  try {
    training.step(values.flat(), optimizer, 0.05, pass);
  } catch (const Error& error) {
    std::printf("a step too many: error %d, before any data was read\n", int(error.id()));
  }
}
