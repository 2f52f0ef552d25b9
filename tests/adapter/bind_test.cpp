#include "lorasb/adapter/bind.hpp"

#include "random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("layers read their cores from one flat buffer, in the order of the modules") {
  const Weight<float> Wq = random_matrix<Weight<float>>(6, 5, 1);
  const Weight<float> Wk = random_matrix<Weight<float>>(4, 5, 2);
  const std::vector<Module<float>> modules{{"q", Wq}, {"k", Wk}};
  AdapterSet<float> adapters;
  adapters.add("k", random_adapter<float>(4, 5, 3, 4));  // in another order than the modules
  adapters.add("q", random_adapter<float>(6, 5, 2, 3));
  ParameterLayout layout;
  append_cores(modules, adapters, layout);
  CHECK(layout.size() == 4 + 9);
  CHECK(layout.tensors().front().name == "q.R");
  Parameters<float> values(layout);
  store_cores(adapters, values);
  const Layers<float> layers = bind_cores(modules, adapters, std::as_const(values));
  REQUIRE(layers.size() == 2);
  const Matrix<float> X = random_matrix<Matrix<float>>(5, 3, 5);
  Matrix<float> Y(4, 3);
  LinearCache<float> cache;
  values["k.R"] *= 2;
  layers[1]->forward(X, Y, cache);
  const Eigen::MatrixXd W = Wk.cast<double>() + 2 * delta(adapters.at("k"));
  CHECK(relative_error(Y, W * X.cast<double>()) < Tolerance<float>::sum);
  load_cores(values, adapters);
  CHECK(adapters.at("k").R == values["k.R"]);

  ParameterLayout other;
  CHECK_ERROR(append_cores<float>({{"q", Wq}}, adapters, other), ErrorId::unknown_name, "an adapter for \"k\"");
  CHECK_ERROR(bind_cores<float>({{"q", Wq}, {"v", Wk}}, adapters, values), ErrorId::unknown_name, "\"v");
}

TEST_CASE("a core and its place in the buffer that differ in size are refused both ways, and nothing is read or written") {
  AdapterSet<float> adapters;
  adapters.add("q", random_adapter<float>(5, 4, 3, 2, 1));
  ParameterLayout layout;
  layout.add("q.R", 4, 4);
  Parameters<float> values(layout);
  CHECK_ERROR(store_cores(adapters, values), ErrorId::shape, "store_cores: R is 3 x 3, expected 4 x 4");
  CHECK_ERROR(load_cores(values, adapters), ErrorId::shape, "load_cores: the buffer's core is 4 x 4, expected 3 x 3");
  CHECK(adapters.at("q").rank() == 3);
}

TEST_CASE("plain LoRA's factors stand one after the other in the buffer") {
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
