#include "lorasb/train/tuned_model.hpp"

#include "adapter/random_adapter.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/train/train_head.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// Two modules, a bias, and a head of 3 classes over 4 features.
struct Base {
  ParameterLayout layout;
  Parameters<float> weights{make()};
  FrozenModel<float> model{std::as_const(weights)};
  std::vector<Module<float>> modules{{"q", model.at("q.weight")}, {"k", model.at("k.weight")}};
  Parameters<float> head{head_layout()};

  Base() {
    Random random(1);
    for (float& x : weights.flat()) x = float(random.normal());
    for (float& x : head.flat()) x = float(random.normal());
  }
  ParameterLayout make() {
    layout.add("q", Role::weight, 6, 5);
    layout.add("q", Role::bias, 1, 6);
    layout.add("k", Role::weight, 4, 6);
    return layout;
  }
  static ParameterLayout head_layout() {
    ParameterLayout of_head;
    models::append_head(3, 4, of_head);
    return of_head;
  }
  /// What both modules of a tuned model do to X.
  Matrix<float> run(const TunedModel<float>& tuned) const {
    const Matrix<float> X = random_matrix<Matrix<float>>(5, 3, 9);
    Matrix<float> middle(6, 3), Y(4, 3);
    LinearCache<float> q, k;
    tuned.layers[0]->forward(X, middle, q);
    tuned.layers[1]->forward(middle, Y, k);
    return Y;
  }
};

}  // namespace

TEST_CASE("each method trains its own values and the head, and starts at the base model") {
  Base base;
  AdapterSet<float> adapters;
  adapters.add("q", random_adapter<float>(6, 5, 2, 3));
  adapters.add("k", random_adapter<float>(4, 6, 2, 4));
  const LowRankAdapter<float> q = adapters.at("q");

  TunedModel<float> cores = tune_cores(Method::lora_sb, base.model, base.modules, std::move(adapters), base.head);
  const TunedModel<float> lora = tune_lora(base.model, base.modules, {.rank = 2}, base.head);
  const TunedModel<float> full = tune_all(base.model, base.modules, base.layout, base.head);
  const TunedModel<float> head = tune_head(base.model, base.modules, base.head);
  const TunedModel<float> ffa = tune_ffa_lora(base.model, base.modules, {.rank = 2}, base.head);
  const Index of_head = base.head.layout().size();
  CHECK(ffa.values->layout().size() == 2 * 6 + 2 * 4 + of_head);
  CHECK(ffa.frozen->at("q", Role::factor_A) == lora.values->at("q", Role::factor_A));
  CHECK(base.run(ffa) == base.run(lora));
  ffa.frozen->at("q", Role::factor_A).setZero();
  ffa.values->at("q", Role::factor_B).setOnes();
  CHECK(relative_error(base.run(ffa), base.run(lora)) < Tolerance<float>::sum);
  CHECK(lora_adapters(base.modules, ffa.lora_scale, *ffa.values, ffa.frozen.get()).at("k").A == ffa.frozen->at("k", Role::factor_A));
  CHECK(cores.values->layout().size() == 2 * 4 + of_head);
  CHECK(lora.values->layout().size() == 2 * (6 + 5) + 2 * (4 + 6) + of_head);
  CHECK(full.values->layout().size() == base.layout.size() + of_head);
  CHECK(head.values->layout().size() == of_head);
  for (const TunedModel<float>* model : std::initializer_list<const TunedModel<float>*>{&cores, &lora, &full, &head}) {
    CHECK(std::ranges::equal(model->values->flat("classifier.weight"), base.head.flat("classifier.weight")));
    REQUIRE(model->layers.size() == 2);
  }
  CHECK(cores.values->at("q", Role::core) == q.R);
  CHECK(base.run(full) == base.run(head));
  CHECK(relative_error(base.run(lora), base.run(head)) < Tolerance<float>::sum);  // B = 0
  for (const ParameterLayout::Tensor& t : cores.values->layout().tensors())
    if (t.role == Role::core) cores.values->at(t.module, t.role).setZero();
  CHECK(relative_error(base.run(cores), base.run(head)) < Tolerance<float>::sum);

  // a full model computes with its own copy of the weights; moving a model does not move what its layers read
  const float first = base.weights.flat()[0];
  const TunedModel<float> moved = std::move(cores);
  moved.values->at("q", Role::core).setOnes();
  CHECK(relative_error(base.run(moved), base.run(head)) > 1e-3);
  full.values->at("q", Role::weight).setZero();
  CHECK(base.weights.flat()[0] == first);
  CHECK(full.weights.at("q.weight").wide()(0, 0) == 0);
}

TEST_CASE("LoRA goes on from adapters of several ranks and scales, which are one scale afterwards") {
  Base base;
  const auto adapter = [](Index out, Index in, Index rank, float scale) {
    return LoraAdapter<float>{
        .B = random_matrix<Weight<float>>(out, rank, 5), .A = random_matrix<Weight<float>>(rank, in, 6), .scale = scale};
  };
  NamedSet<LoraAdapter<float>> start;
  start.add("k", adapter(4, 6, 3, 4));
  start.add("q", adapter(6, 5, 2, 0.5f));
  const TunedModel<float> lora = tune_lora(base.model, base.modules, start, base.head);
  CHECK(lora.lora_scale == 0.5f);
  CHECK(lora.values->at("q", Role::factor_B) == start.at("q").B);
  CHECK(lora.values->at("k", Role::factor_A) == start.at("k").A);
  CHECK(lora.values->at("k", Role::factor_B) == 8 * start.at("k").B);
  const NamedSet<LoraAdapter<float>> now = lora_adapters(base.modules, lora.lora_scale, std::as_const(*lora.values));
  for (const auto& [name, a] : start)  // powers of two: exact
    CHECK(Weight<float>(now.at(name).scale * now.at(name).B) == Weight<float>(a.scale * a.B));
  NamedSet<LoraAdapter<float>> wrong;
  wrong.add("q", adapter(6, 5, 2, 1));
  CHECK_ERROR(tune_lora(base.model, base.modules, wrong, base.head), ErrorId::unknown_name, "\"k\"");
  wrong.add("k", adapter(4, 5, 2, 1));
  CHECK_ERROR(tune_lora(base.model, base.modules, wrong, base.head), ErrorId::shape, "in_features of \"k\"");
}

TEST_CASE("a head that is trained on vectors of separated classes finds them all") {
  Random random(2);
  const Index texts = 90;
  Matrix<float> E(4, texts);
  std::vector<std::int32_t> labels;
  for (Index i = 0; i < texts; ++i) {
    for (float& x : E.col(i)) x = float(0.2 * random.normal());
    labels.push_back(std::int32_t(i % 3));
    E(i % 3, i) += 1;
    E.col(i).normalize();
  }
  const Parameters<float> head = train_head<float>(E, labels, 3, {.epochs = 40, .batch = 32, .learning_rate = 3e-2});
  CHECK(head.layout().size() == 3 * 4 + 3);
  CHECK(head_accuracy<float>(head, E, labels) > 0.95);
  const Parameters<float> untrained(head.layout());
  CHECK(head_accuracy<float>(untrained, E, labels) < 0.5);

  // it goes on from where it was, and weighs classes
  const std::vector<std::int32_t> found = head_predictions<float>(head, E);
  Index right = 0;
  for (std::size_t i = 0; i < found.size(); ++i) right += found[i] == labels[i];
  CHECK(double(right) / double(texts) == head_accuracy<float>(head, E, labels));
  CHECK(found != head_predictions<float>(untrained, E));
  CHECK(std::ranges::equal(train_head<float>(E, labels, head, {.epochs = 1, .learning_rate = 1e-30}).flat(), head.flat()));
  const Parameters<float> heavy =
      train_head<float>(E, labels, 3, {.epochs = 40, .batch = 32, .class_weights = {1e-3, 1e-3, 1}});
  CHECK(std::ranges::count(head_predictions<float>(heavy, E), 2) > 60);
}

TEST_CASE("a head with a dense layer finds classes that no linear head can") {
  const Index texts = 80, features = 8;  // exclusive or of two signs, with numbers that say nothing beside them
  Matrix<float> E(features, texts);
  std::vector<std::int32_t> labels;
  Random random(2);
  for (Index i = 0; i < texts; ++i) {
    const bool a = i % 2 == 0, b = i / 2 % 2 == 0;
    for (float& x : E.col(i)) x = float(0.1 * random.normal());
    E(0, i) += a ? 1 : -1;
    E(1, i) += b ? 1 : -1;
    labels.push_back(a != b);
  }
  const HeadOptions options{.epochs = 60, .batch = 16, .learning_rate = 5e-2, .scale = 1};
  CHECK(head_accuracy<float>(train_head<float>(E, labels, 2, options), E, labels, options) < 0.8);
  ParameterLayout layout;
  models::append_dense(features, layout);
  models::append_head(2, features, layout);
  Parameters<float> start(layout);
  for (float& w : start.flat(models::dense_module, Role::head_weight)) w = float(random.normal());
  CHECK(head_accuracy<float>(train_head<float>(E, labels, std::move(start), options), E, labels, options) > 0.95);
}
