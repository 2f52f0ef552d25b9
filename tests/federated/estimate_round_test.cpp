#include "lorasb/federated/estimate_round.hpp"

#include "lorasb/adapter/initialize.hpp"
#include "lorasb/adapter/merge.hpp"
#include "lorasb/exact/mean.hpp"
#include "lorasb/federated/base_digest.hpp"
#include "lorasb/federated/in_process.hpp"
#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

/// Two modules, and three clients with 2, 4 and 6 minibatches of 5 examples each.
struct Clinic {
  Weight<float> first = random_matrix<Weight<float>>(9, 7, 1), second = random_matrix<Weight<float>>(6, 9, 2);
  std::vector<Module<float>> modules{{"first", first}, {"second", second}};
  std::vector<std::string> names{"a", "b", "c"};

  static void add_batches(std::size_t m, Index client, GradientEstimate<float>& to) {
    for (Index b = 0; b < 2 * (client + 1); ++b) {
      const std::uint64_t seed = 100 * std::uint64_t(m + 1) + std::uint64_t(client);
      to.add(random_matrix<Matrix<float>>(to.out_features(), 5, seed, std::uint64_t(b)),
             random_matrix<Matrix<float>>(to.in_features(), 5, seed + 50, std::uint64_t(b)), 5);
    }
  }
  std::vector<GradientEstimate<float>> estimates(GradientMoments moments) const {
    std::vector<GradientEstimate<float>> all;
    for (const Module<float>& m : modules) all.emplace_back(m.W0.rows(), m.W0.cols(), m.name, moments);
    return all;
  }
  Digest base() const { return base_digest(AdapterBases<float>(), modules); }
  EstimateRound<float>::Answer answer(GradientMoments moments, const ParameterLayout& layout) const {
    return [this, moments, layout](Index client, std::span<float> values) {
      std::vector<GradientEstimate<float>> own = estimates(moments);
      for (std::size_t m = 0; m < 2; ++m) add_batches(m, client, own[m]);
      put_estimates(own, layout, values);
      return std::uint64_t(own[0].examples());
    };
  }
};

}  // namespace

TEST_CASE("bases from all clients' sums are those of one estimate over all examples") {
  const Clinic clinic;
  for (const GradientMoments moments : {GradientMoments::first, GradientMoments::first_and_second}) {
    ParameterLayout layout;
    append_estimates(clinic.modules, moments, layout);
    std::vector<float> bits;
    for (const int threads : {1, 3}) {
      EstimateRound<float> round("start", clinic.base(), layout, clinic.names, clinic.answer(moments, layout));
      InProcessTransport transport(round.host(), threads);
      const auto found = round.collect(transport, {.min_clients = 3}, 60);
      CHECK(found.round.total_weight == 60);
      CHECK(found.question_bytes < 1000);
      const std::vector<GradientEstimate<float>> joint = take_estimates(found.mean, clinic.modules, found.round.total_weight, 5);
      std::vector<GradientEstimate<float>> together = clinic.estimates(moments);
      for (std::size_t m = 0; m < 2; ++m) {
        for (Index client = 0; client < 3; ++client) Clinic::add_batches(m, client, together[m]);
        CHECK(joint[m].examples() == together[m].examples());
        CHECK(joint[m].batches() == together[m].batches());
        CHECK(relative_error(joint[m].sum(), together[m].sum()) < 1e-6);
        if (moments == GradientMoments::first) continue;
        CHECK(relative_error(joint[m].sum_of_squares(), together[m].sum_of_squares()) < 1e-6);
        const InitializeOptions options{.rank = 3, .rule = FirstStep::moments};
        const Eigen::MatrixXd expected = delta(initialize(together[m], options).adapter);
        CHECK(relative_error(delta(initialize(joint[m], options).adapter), expected) < 1e-3);
      }
      const std::span<const float> mean = found.mean.flat();
      if (threads == 1) bits.assign(mean.begin(), mean.end());
      CHECK(std::ranges::equal(bits, mean));  // exact: the same bits in any order
    }
  }
}

TEST_CASE("a client that fails or has no examples is left out, and too few are an error with its words") {
  const Clinic clinic;
  ParameterLayout layout;
  append_estimates(clinic.modules, GradientMoments::first, layout);
  const auto whole = clinic.answer(GradientMoments::first, layout);
  const auto answer = [&](Index client, std::span<float> values) -> std::uint64_t {
    if (client == 0) throw std::runtime_error("no power");
    return client == 1 ? 0 : whole(client, values);
  };
  EstimateRound<float> round("start", clinic.base(), layout, clinic.names, answer);
  InProcessTransport transport(round.host(), 1);
  const auto found = round.collect(transport, {.min_clients = 1}, 60);
  CHECK(found.round.clients == std::vector<Index>{2});
  REQUIRE(found.round.failures.size() == 1);
  std::vector<float> alone(std::size_t(layout.size()));
  whole(2, alone);
  CHECK(std::ranges::equal(found.mean.flat(), alone));
  CHECK_ERROR(round.collect(transport, {.min_clients = 2}, 60), ErrorId::value, "1 of 3 clients answered, expected at least 2");
  CHECK_ERROR(round.collect(transport, {.min_clients = 2}, 60), ErrorId::value, "no power");
}

TEST_CASE("a question of another session or another base model is refused") {
  const Clinic clinic;
  ParameterLayout layout;
  append_estimates(clinic.modules, GradientMoments::first, layout);
  EstimateRound<float> ours("start", clinic.base(), layout, clinic.names, clinic.answer(GradientMoments::first, layout));
  EstimateRound<float> other("other", clinic.base(), layout, clinic.names, clinic.answer(GradientMoments::first, layout));
  InProcessTransport transport(ours.host(), 1);
  CHECK_ERROR(other.collect(transport, {}, 60), ErrorId::value, "wrong_session");
  EstimateRound<float> base("start", Digest{}, layout, clinic.names, clinic.answer(GradientMoments::first, layout));
  CHECK_ERROR(base.collect(transport, {}, 60), ErrorId::value, "base_hash_mismatch");
  std::vector<GradientEstimate<float>> empty = clinic.estimates(GradientMoments::first);
  std::vector<float> values(std::size_t(layout.size()));
  CHECK_ERROR(put_estimates(empty, layout, std::span<float>(values)), ErrorId::no_examples, "\"first\"");
}
