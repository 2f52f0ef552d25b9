#include "lorasb/adapter/lora/bind.hpp"

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("plain LoRA's factors are one after the other in the buffer") {
  const Weight<double> W0 = random_matrix<Weight<double>>(6, 5, 1);
  ParameterLayout layout;
  append_lora("v", 6, 5, 2, layout);
  Parameters<double> values(layout);
  values["v.B"] = random_matrix<Weight<double>>(6, 2, 2);
  values["v.A"] = random_matrix<Weight<double>>(2, 5, 3);
  const Layers<double> layers = bind_lora<double>({{"v", W0}}, 0.5, values);
  CHECK(layers[0]->trainable() == layout.size());
  const Matrix<double> X = random_matrix<Matrix<double>>(5, 3, 5);
  Matrix<double> Y(6, 3);
  LinearCache<double> cache;
  layers[0]->forward(X, Y, cache);
  const Weight<double> B = values["v.B"];
  const Weight<double> A = values["v.A"];
  CHECK(relative_error(Y, (W0 + 0.5 * B * A) * X) < Tolerance<double>::sum);
}

TEST_CASE("with A frozen, the buffer holds B alone, and clients share one A") {
  const Weight<double> W0 = random_matrix<Weight<double>>(6, 5, 1);
  const std::vector<Module<double>> modules{{"q", W0}, {"v", W0}};
  ParameterLayout layout, frozen_layout;
  for (const Module<double>& module : modules) append_lora(module.name, 6, 5, 2, layout, frozen_layout);
  CHECK(layout.size() == 2 * 12);
  CHECK(frozen_layout.size() == 2 * 10);
  Parameters<double> frozen(frozen_layout), one(layout), other(layout);
  frozen["v.A"] = random_matrix<Weight<double>>(2, 5, 2);
  one["v.B"] = random_matrix<Weight<double>>(6, 2, 3);
  other["v.B"] = random_matrix<Weight<double>>(6, 2, 4);
  const Matrix<double> X = random_matrix<Matrix<double>>(5, 3, 5);
  for (const Parameters<double>* client : {&one, &other}) {
    const Layers<double> layers = bind_lora<double>(modules, 0.5, *client, frozen);
    REQUIRE(layers.size() == 2);
    CHECK(layers[0]->trainable() + layers[1]->trainable() == layout.size());
    Matrix<double> Y(6, 3);
    LinearCache<double> cache;
    layers[1]->forward(X, Y, cache);
    const Weight<double> B = (*client)["v.B"];
    const Weight<double> A = frozen["v.A"];
    CHECK(relative_error(Y, (W0 + 0.5 * B * A) * X) < Tolerance<double>::sum);
    layers[0]->forward(X, Y, cache);
    CHECK(relative_error(Y, W0 * X) < Tolerance<double>::sum);  // B of q is 0
  }
  CHECK_ERROR(bind_lora<double>(modules, 0.5, one, one), ErrorId::unknown_name, "\"q.A\"");
}

TEST_CASE("every module's factors start from a seed of its own, whichever of them are in the buffer") {
  const Weight<double> W0 = random_matrix<Weight<double>>(6, 5, 1);
  const std::vector<Module<double>> modules{{"q", W0}, {"v", W0}};
  ParameterLayout both, B_only, A_only;
  for (const Module<double>& module : modules) {
    append_lora(module.name, 6, 5, 2, both);
    append_lora(module.name, 6, 5, 2, B_only, A_only);
  }
  Parameters<double> values(both), frozen(A_only);
  start_lora(modules, {.rank = 2, .alpha = 2, .seed = 9}, values);
  start_lora(modules, {.rank = 2, .alpha = 2, .seed = 9}, frozen);
  CHECK(values["q.B"].isZero());
  CHECK(values["q.A"] != values["v.A"]);
  CHECK(values["q.A"] == frozen["q.A"]);
  CHECK(values["v.A"] == frozen["v.A"]);
  const NamedSet<LoraAdapter<double>> adapters = lora_adapters(modules, 0.5, values);
  CHECK(adapters.at("v").A == values["v.A"]);
  CHECK(adapters.at("v").scale == 0.5);
}
