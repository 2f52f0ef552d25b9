#include "lorasb/federated/baselines/tuned_model.hpp"

#include <optional>
#include <vector>

#include "lorasb/exact/mean.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

/// Two modules of a frozen model, and a session of three clients.
struct Trial {
  Weight<float> W[2] = {random_matrix<Weight<float>>(6, 5, 1), random_matrix<Weight<float>>(4, 6, 2)};
  std::vector<Module<float>> modules{{"first", W[0]}, {"second", W[1]}};
  FrozenModel<float> base;
  std::optional<SharedModel<float>> shared;

  explicit Trial(FederatedMethod method, Index experts = 0) {
    for (const Module<float>& m : modules) base.add(m.name + ".weight", m.W0);
    SharedModelStart<float> start{.session_id = "session", .method = method, .rank = 2, .clients = 3, .seed = 5};
    start.head.add("classifier", Role::head_weight, 2, 4);
    start.head_values.assign(8, 0.5f);
    start.modules = start.frozen = modules;
    start.experts = experts;
    if (method == FederatedMethod::fed_sb && experts == 0)
      for (const Module<float>& m : modules)
        start.adapters.add(m.name, {.B = random_matrix<Weight<float>>(m.W0.rows(), 2, 3),
                                    .R = random_matrix<Weight<float>>(2, 2, 7),
                                    .A = random_matrix<Weight<float>>(2, m.W0.cols(), 4)});
    shared.emplace(std::move(start));
  }
  /// Clients that move all values by draws of their own.
  void rounds(int count) {
    shared->take(shared->message(1, shared->values().flat(), {}));
    for (int round = 1; round <= count; ++round) {
      std::vector<AdmittedUpdate<float>> updates;
      ExactMean<float> mean(shared->values().layout().size());
      for (Index c = 0; c < 3; ++c) {
        Parameters<float> values = shared->values();
        shared->start_client(c, values);
        for (float& x : values.flat()) x += 0.1f * random_matrix<Matrix<float>>(1, 1, std::uint64_t(100 * round + c))(0, 0);
        mean.add(values.flat(), std::uint32_t(c + 1));
        updates.push_back({.client = c, .weight = std::uint32_t(c + 1), .values = {values.flat().begin(), values.flat().end()}});
      }
      std::vector<float> global(shared->values().flat().size());
      mean.mean(std::span(global));
      shared->take(shared->message(std::uint64_t(round + 1), global, updates));
    }
  }
};

std::vector<Matrix<float>> outputs(const Layers<float>& layers) {
  std::vector<Matrix<float>> all;
  for (const auto& layer : layers) {
    const Matrix<float> X = random_matrix<Matrix<float>>(layer->in_features(), 3, 9);
    Matrix<float> Y(layer->out_features(), 3);
    LinearCache<float> cache;
    layer->forward(X, Y, cache);
    all.push_back(Y);
  }
  return all;
}

}  // namespace

TEST_CASE("a session's model computes as its members do, and outlives them") {
  const std::vector<std::pair<FederatedMethod, Method>> methods{{FederatedMethod::fed_sb, Method::lora_sb},
                                                                {FederatedMethod::fedit, Method::lora},
                                                                {FederatedMethod::ffa_lora, Method::ffa_lora},
                                                                {FederatedMethod::fedex_lora, Method::full},
                                                                {FederatedMethod::flora, Method::full}};
  for (const auto& [federated, method] : methods) {
    CAPTURE(name_of(federated));
    Trial trial(federated);
    const std::vector<Matrix<float>> before = outputs(trial.shared->bind(trial.shared->values()));
    trial.rounds(2);
    const std::vector<Matrix<float>> expected = outputs(trial.shared->bind(trial.shared->values()));
    const std::vector<float> head(trial.shared->values().flat("classifier.weight").begin(),
                                  trial.shared->values().flat("classifier.weight").end());
    const train::TunedModel<float> model = tuned_model(*trial.shared, trial.base);
    trial.shared.reset();
    CHECK(model.method == method);
    CHECK(std::ranges::equal(std::as_const(*model.values).flat("classifier.weight"), head));
    const std::vector<Matrix<float>> found = outputs(model.layers);
    REQUIRE(found.size() == 2);
    for (std::size_t m = 0; m < 2; ++m) {
      CHECK(relative_error(before[m], expected[m]) > 1e-3);
      if (method == Method::full)
        CHECK(relative_error(found[m], expected[m]) < Tolerance<float>::exact);  // W0 + B A is rounded once more
      else
        CHECK(found[m] == expected[m]);
    }
  }
}

TEST_CASE("a session with experts has no model of one adapter") {
  const Trial trial(FederatedMethod::fed_sb, 2);
  CHECK_ERROR(tuned_model(*trial.shared, trial.base), ErrorId::value, "the session has 2 experts");
}
