#include "lorasb/federated/bases_round.hpp"

#include "lorasb/adapter/merge.hpp"
#include "lorasb/federated/in_process.hpp"
#include "lorasb/models/head.hpp"
#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

/// Two modules that are trained alone, a head, and three clients with 8, 0 and 24 examples, whose gradients are random.
struct Clinic {
  Parameters<float> weights{weight_layout()};
  FrozenModel<float> frozen{std::as_const(weights)};
  std::vector<Module<float>> modules{{"first", frozen.at("first.weight")}, {"second", frozen.at("second.weight")}};
  Parameters<float> head{head_layout()};
  std::vector<std::string> names{"a", "b", "c"};
  std::vector<Index> examples{8, 0, 24};

  Clinic() {
    std::ranges::copy(flat(random_matrix<Weight<float>>(9 + 6, 7, 1)), weights.flat().begin());
    std::ranges::fill(head.flat(), 0.5f);
  }
  static ParameterLayout weight_layout() {
    ParameterLayout layout;
    layout.add("first", Role::weight, 9, 7);
    layout.add("second", Role::weight, 6, 7);
    return layout;
  }
  static ParameterLayout head_layout() {
    ParameterLayout layout;
    models::append_head(3, 6, layout);
    return layout;
  }
  /// Forward and backward of a client's examples, `batch` at a time; both modules see the same inputs.
  void pass(Index client, Index batch, const Layers<float>& layers) const {
    for (std::size_t m = 0; m < layers.size(); ++m) {
      const Index out = modules[m].W0.rows();
      const auto seed = 100 * std::uint64_t(m + 1) + std::uint64_t(client);
      const Matrix<float> X = random_matrix<Matrix<float>>(7, examples[std::size_t(client)], seed), dY = random_matrix<Matrix<float>>(out, X.cols(), seed + 50);
      for (Index first = 0; first < X.cols(); first += batch) {
        Matrix<float> Y(out, batch);
        LinearCache<float> cache;
        const ForwardPass<float> forward = layers[m]->forward(X.middleCols(first, batch), Y, cache);
        layers[m]->backward(forward, dY.middleCols(first, batch), cache, not_wanted, not_wanted);
      }
    }
  }
  BasesWork<float> work(Index batch) const {
    BasesWork<float> work{.examples = examples};
    work.pass = [this, batch](Index client) -> train::EstimationPass<float> {
      return [this, batch, client](const Layers<float>& layers) {
        pass(client, batch, layers);
        return train::EstimationResult(examples[std::size_t(client)]);
      };
    };
    work.look_ahead = [](Index client, train::Scout<float>& scout) {
      std::span<float> values = scout.values().flat();
      for (std::size_t i = 0; i < values.size(); ++i) values[i] += 0.01f * float((i * std::size_t(client + 3)) % 17);
    };
    work.noise = [](Index client) { return std::make_unique<privacy::SeededNoise>(std::uint64_t(client), 2); };
    return work;
  }
  BasesRoundResult<float> collect(BasesWork<float> work, const BasesRoundOptions& options, int threads = 2) const {
    BasesRound<float> round("start", modules, frozen, head, names, std::move(work), options);
    InProcessTransport transport(round.host(), threads);
    return round.collect(transport, {.min_clients = 2}, 60);
  }
};

std::size_t bytes_of(const AdapterSet<float>& adapters) {
  std::size_t numbers = 0;
  for (const auto& [name, a] : adapters) numbers += std::size_t(a.B.size() + a.R.size() + a.A.size());
  return numbers * sizeof(float);
}

}  // namespace

TEST_CASE("bases from gradients are those of one estimate over the examples of all clients") {
  const Clinic clinic;
  for (const FirstStep rule : {FirstStep::adamw, FirstStep::moments}) {
    const bool moments = rule == FirstStep::moments;
    const InitializeOptions adapter{.rank = 3, .rule = rule, .learning_rate = 1e-3, .seed = 4};
    const BasesRoundResult<float> found = clinic.collect(clinic.work(4), {.adapter = adapter, .batch = 4});
    std::vector<GradientEstimate<float>> together;
    for (const Module<float>& m : clinic.modules)
      together.emplace_back(m.W0.rows(), m.W0.cols(), m.name, moments ? GradientMoments::first_and_second : GradientMoments::first);
    for (const Index client : {0, 2}) clinic.pass(client, 4, train::observed_layers<float>(clinic.modules, 0, together));
    for (GradientEstimate<float>& estimate : together) estimate.count(32);
    const train::InitializedModules<float> expected = train::initialize_modules(together, adapter);
    for (const Module<float>& m : clinic.modules)
      CHECK(relative_error(delta(found.modules.adapters.at(m.name)), delta(expected.adapters.at(m.name))) < 1e-3);
    CHECK(found.round.total_weight == 32);
    CHECK(std::ranges::equal(found.head.flat(), clinic.head.flat()));
    const std::size_t numbers = (moments ? 2 : 1) * (9 + 6) * 7;
    CHECK(found.bytes_up_per_client > numbers * sizeof(float));
    CHECK(found.bytes_up_per_client < numbers * sizeof(float) + 2000);
    CHECK(found.bytes_down_per_client > bytes_of(found.modules.adapters));
    CHECK(found.bytes_total == found.round.bytes_received + 3 * found.bytes_down_per_client);
  }
}

TEST_CASE("bases from a look-ahead are those of the mean update by examples, and the head is the mean head") {
  const Clinic clinic;
  const BasesRoundOptions options{.source = BasesSource::look_ahead, .adapter = {.rank = 6}};
  const BasesRoundResult<float> found = clinic.collect(clinic.work(4), options), again = clinic.collect(clinic.work(4), options, 1);
  train::Scout<float> a(clinic.modules, clinic.head), c(clinic.modules, clinic.head);
  const BasesWork<float> work = clinic.work(4);
  work.look_ahead(0, a);
  work.look_ahead(2, c);
  for (const Module<float>& m : clinic.modules) {
    const Eigen::MatrixXd mean = (8 * a.update(m.name).cast<double>() + 24 * c.update(m.name).cast<double>()) / 32;
    CHECK(relative_error(delta(found.modules.adapters.at(m.name)), mean) < (m.name == "second" ? 1e-4 : 0.1));  // rank 6 of 6, and of 7
    CHECK(again.modules.adapters.at(m.name).R == found.modules.adapters.at(m.name).R);
  }
  const Parameters<float> from = std::as_const(a).head(), to = std::as_const(c).head();
  for (std::size_t i = 0; i < from.flat().size(); ++i)
    CHECK(found.head.flat()[i] == Approx((8 * from.flat()[i] + 24 * to.flat()[i]) / 32).epsilon(1e-6));
  CHECK(found.bytes_down_per_client > bytes_of(found.modules.adapters) + found.head.flat().size_bytes());
}

TEST_CASE("clipped and noised gradients leave a client as its own noise made them") {
  const Clinic clinic;
  const BasesRoundOptions options{
      .source = BasesSource::noised_gradients, .adapter = {.rank = 6}, .noised = {.clip = 0.5, .noise = 2}};
  const BasesRoundResult<float> found = clinic.collect(clinic.work(1), options);
  std::vector<Weight<double>> sums{Weight<double>::Zero(9, 7), Weight<double>::Zero(6, 7)};
  for (const Index client : {0, 2}) {
    privacy::SeededNoise noise(std::uint64_t(client), 2);
    const train::PartedPass<float> pass{.run = [&](const Layers<float>& layers, Index) {
      clinic.pass(client, 1, layers);
      return train::EstimationResult(clinic.examples[std::size_t(client)]);
    }};
    const auto own = train::noised_sums<float>(clinic.modules, pass, options.noised, noise);
    for (std::size_t m = 0; m < 2; ++m) sums[m] += own[m].sum().cast<double>() / 32;
  }
  for (std::size_t m = 0; m < 2; ++m)
    CHECK(relative_error(delta(found.modules.adapters.at(clinic.modules[m].name)), Eigen::MatrixXd(sums[m])) < 0.5);
  CHECK(relative_error(delta(found.modules.adapters.at("second")), Eigen::MatrixXd(sums[1])) < 1e-4);  // of full rank
}

TEST_CASE("work without what its source needs, factors, and too few answers are refused") {
  const Clinic clinic;
  BasesWork<float> none{.examples = clinic.examples};
  CHECK_ERROR(clinic.collect(none, {}), ErrorId::value, "lacks pass");
  CHECK_ERROR(clinic.collect(none, {.source = BasesSource::look_ahead}), ErrorId::value, "lacks look_ahead");
  none.pass = clinic.work(1).pass;
  CHECK_ERROR(clinic.collect(none, {.source = BasesSource::noised_gradients}), ErrorId::value, "lacks noise");
  CHECK_ERROR(clinic.collect(clinic.work(4), {.source = BasesSource::look_ahead, .scout = train::ScoutKind::lora}), ErrorId::value,
              "no exact mean");
  BasesWork<float> two = clinic.work(4);
  two.examples.pop_back();
  CHECK_ERROR(clinic.collect(two, {}), ErrorId::shape, "2 clients, expected 3");
  BasesWork<float> idle = clinic.work(4);
  idle.examples = {0, 0, 24};
  CHECK_ERROR(clinic.collect(idle, {}), ErrorId::value, "1 of 3 clients answered, expected at least 2");
}
