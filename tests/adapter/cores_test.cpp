#include "lorasb/adapter/cores.hpp"

#include "lorasb/adapter/merge.hpp"
#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

struct Model {
  Weight<float> Wq = random_matrix<Weight<float>>(6, 5, 1);
  Weight<float> Wk = random_matrix<Weight<float>>(4, 5, 2);
  std::vector<Module<float>> modules{{"q", Wq}, {"k", Wk}};
  AdapterSet<float> adapters;
  Model() {
    adapters.add("k", random_adapter<float>(4, 5, 3, 4));  // in another order than the modules
    adapters.add("q", random_adapter<float>(6, 5, 2, 3));
  }
};

}  // namespace

TEST_CASE("layers read their cores from one flat buffer, in the order of the modules") {
  Model m;
  ParameterLayout layout;
  append_cores(m.modules, m.adapters, layout);
  CHECK(layout.size() == 4 + 9);
  CHECK(layout.tensors().front().name == "q.R");
  CHECK(layout.tensors().front().role == Role::core);
  Parameters<float> values(layout);
  const Eigen::MatrixXd change = delta(m.adapters.at("k"));
  const AdapterBases<float> bases = take_cores(std::move(m.adapters), values);
  const Layers<float> layers = bind_cores(m.modules, bases, values);
  REQUIRE(layers.size() == 2);
  const Matrix<float> X = random_matrix<Matrix<float>>(5, 3, 5);
  Matrix<float> Y(4, 3);
  LinearCache<float> cache;
  values["k.R"] *= 2;
  layers[1]->forward(X, Y, cache);
  CHECK(relative_error(Y, (m.Wk.cast<double>() + 2 * change) * X.cast<double>()) < Tolerance<float>::sum);
  CHECK_ERROR(bind_cores<float>({{"q", m.Wq}, {"v", m.Wk}}, bases, values), ErrorId::unknown_name, "\"v");
}

TEST_CASE("what is merged and folded is what was trained: the R of the start is nowhere to be read") {
  Model m;
  const LowRankAdapter<float> start = m.adapters.at("q");
  ParameterLayout layout;
  append_cores(m.modules, m.adapters, layout);
  Parameters<float> values(layout);
  const AdapterBases<float> bases = take_cores(std::move(m.adapters), values);
  CHECK(m.adapters.empty());
  CHECK(values.at("q", Role::core) == start.R);
  values.at("q", Role::core) *= -3;  // training

  LowRankAdapter<float> trained = start;
  trained.R *= -3;
  Weight<float> W = m.Wq;
  merge(bases.at("q"), values.at("q", Role::core), W);
  CHECK(relative_error(W.cast<double>() - m.Wq.cast<double>(), delta(trained)) < Tolerance<float>::sum);
  const LoraAdapter<float> folded = fold(bases.at("q"), values.at("q", Role::core));
  CHECK(folded.B == fold(trained).B);
}

TEST_CASE("cores that do not fit their place in the buffer are refused, and no adapter has lost anything") {
  Model m;
  ParameterLayout layout;
  layout.add("k", Role::core, 3, 3);
  layout.add("q", Role::core, 4, 4);
  Parameters<float> values(layout);
  CHECK_ERROR(take_cores(std::move(m.adapters), values), ErrorId::shape, "take_cores: R is 2 x 2, expected 4 x 4");
  CHECK(m.adapters.size() == 2);
  CHECK(m.adapters.at("k").rank() == 3);
  CHECK(values["k.R"].isZero());

  ParameterLayout weights, other;
  weights.add("q.R", 2, 2);  // a tensor of that name that is no core
  Parameters<float> no_cores(weights);
  CHECK_ERROR(take_cores(std::move(m.adapters), no_cores), ErrorId::unknown_name, "\"k.R\"");
  CHECK_ERROR(append_cores<float>({{"q", m.Wq}}, m.adapters, other), ErrorId::unknown_name, "an adapter for \"k\"");
}

TEST_CASE("layers are not bound to bases or values that are gone before them") {
  const auto binds = [](auto&& bases, auto&& values) {
    return requires { bind_cores(std::vector<Module<float>>(), std::forward<decltype(bases)>(bases),
                                 std::forward<decltype(values)>(values)); };
  };
  AdapterBases<float> bases;
  Parameters<float> values{ParameterLayout{}};
  CHECK(binds(bases, values));
  CHECK_FALSE(binds(AdapterBases<float>(), values));
  CHECK_FALSE(binds(bases, Parameters<float>(ParameterLayout())));
}
