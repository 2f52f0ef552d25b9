#include "lorasb/federated/server_optimizer.hpp"

#include <cmath>
#include <optional>

#include "lorasb/federated/broadcast.hpp"
#include "lorasb/federated/proximal.hpp"
#include "lorasb/federated/round_journal.hpp"
#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

const std::vector<std::string> members{"a", "b"};
constexpr ServerOptimizerOptions momentum{.rule = ServerRule::momentum, .learning_rate = 0.7, .momentum = 0.8};
constexpr ServerOptimizerOptions adam{
    .rule = ServerRule::adam, .learning_rate = 0.05, .momentum = 0.9, .beta2 = 0.95, .epsilon = 1e-2};

/// A server with an optimizer, whose clients send numbers(seed) of their own in every round.
struct Optimized {
  std::shared_ptr<ServerOptimizer<float>> optimizer;
  Server<float> server;

  explicit Optimized(const ServerOptimizerOptions& options)
      : optimizer(std::make_shared<ServerOptimizer<float>>(26, options)),
        server(small_session(), numbers(9), members, {.min_clients = 1},
               std::make_unique<OptimizedAggregator<float>>(std::make_unique<ExactAggregator<float>>(26), optimizer)) {}

  static std::uint64_t seed_of(std::uint64_t round, std::size_t client) { return 100 * round + client; }
  RoundReport round(bool answered = true) {
    const std::uint64_t r = server.round();
    server.open(double(2 * r), double(2 * r + 1));
    for (std::size_t c = 0; answered && c < members.size(); ++c)
      CHECK(server.receive(message_of(members[c], seed_of(r, c), 10 + 10 * c, r), members[c], double(2 * r)).accepted);
    return server.close();
  }
};

/// The papers' formulas, number by number in double.
std::vector<double> reference(const ServerOptimizerOptions& o, std::uint64_t rounds) {
  const std::vector<float> start = numbers(9);
  std::vector<double> x(start.begin(), start.end()), first(26), second(26);
  for (std::uint64_t t = 1; t <= rounds; ++t) {
    const std::vector<float> a = numbers(Optimized::seed_of(t, 0)), b = numbers(Optimized::seed_of(t, 1));
    for (std::size_t i = 0; i < 26; ++i) {
      const double g = x[i] - (10.0 * a[i] + 20.0 * b[i]) / 30;
      if (o.rule == ServerRule::momentum) {
        first[i] = o.momentum * first[i] + g;
        x[i] -= o.learning_rate * first[i];
      } else {
        first[i] = o.momentum * first[i] + (1 - o.momentum) * g;
        second[i] = o.beta2 * second[i] + (1 - o.beta2) * g * g;
        const double m = first[i] / (1 - std::pow(o.momentum, double(t))), v = second[i] / (1 - std::pow(o.beta2, double(t)));
        x[i] -= o.learning_rate * m / (std::sqrt(v) + o.epsilon);
      }
    }
  }
  return x;
}

}  // namespace

TEST_CASE("momentum and Adam of the server are the formulas of FedAvgM and FedAdam on the weighted mean") {
  for (const ServerOptimizerOptions& options : {momentum, adam}) {
    Optimized run(options);
    for (int round = 0; round < 4; ++round) CHECK(run.round().committed);
    const std::vector<double> expected = reference(options, 4);
    for (std::size_t i = 0; i < 26; ++i)  // each round rounds a few numbers of size one in float
      CHECK(std::abs(run.server.global()[i] - expected[i]) <=
            4 * Tolerance<float>::exact * std::max(1.0, std::abs(expected[i])));
  }
}

TEST_CASE("an abandoned round leaves the server's optimizer as it was, and so does one that is not finite") {
  Optimized run(momentum), other(momentum);
  run.round();
  other.round();
  const std::vector<std::byte> state = run.optimizer->state();
  CHECK_FALSE(run.round(false).committed);
  CHECK(run.optimizer->state() == state);
  run.round();
  other.round();
  CHECK(std::ranges::equal(run.server.global(), other.server.global()));

  Optimized huge({.rule = ServerRule::momentum, .learning_rate = 1e38, .momentum = 0});
  const std::vector<std::byte> before = huge.optimizer->state();
  huge.server.open(0, 1);
  Update<float> update = update_of("a", 1);
  update.values.assign(26, 1e30f);
  CHECK(huge.server.receive(encode_update(small_session(), update), "a", 0).accepted);
  CHECK_ERROR(huge.server.close(), ErrorId::not_finite, "the aggregator gave NaN or infinity");
  CHECK(huge.optimizer->state() == before);
}

TEST_CASE("a session with an optimizer that goes on from records of its rounds has the same bits") {
  for (const ServerOptimizerOptions& options : {momentum, adam}) {
    Optimized whole(options);
    std::optional<Bytes> record;
    for (int round = 0; round < 4; ++round) {
      const RoundReport report = whole.round();
      if (round == 1)
        record =
            encode_record({.line = "{}",
                           .clients = report.clients,
                           .message = encode_broadcast<float>(small_session(), whole.server.round(), whole.server.global()),
                           .state = whole.optimizer->state()});
    }
    Optimized resumed(options);
    resumed.round();  // whatever it was: the second round is taken over
    const RoundRecord back = decode_record(*record);
    const auto model = validate_broadcast<float>(small_session(), 0, back.message);
    resumed.optimizer->restore(back.state);
    resumed.server.replay(2, std::get<Broadcast<float>>(model).values, back.clients);
    resumed.round();
    resumed.round();
    CHECK(std::ranges::equal(resumed.server.global(), whole.server.global()));
    CHECK(resumed.optimizer->state() == whole.optimizer->state());
  }
  ServerOptimizer<float> optimizer(26, momentum);
  std::vector<std::byte> state = optimizer.state();
  state.pop_back();
  CHECK_ERROR(optimizer.restore(state), ErrorId::journal, "has 111 bytes, expected 112");
  CHECK_ERROR(optimizer.restore({}), ErrorId::journal, "has 0 bytes");
  state.assign(112, std::byte{0xff});  // NaN
  CHECK_ERROR(optimizer.restore(state), ErrorId::journal, "NaN or infinity");
}

TEST_CASE("options of a server's optimizer that make no sense are refused") {
  CHECK_ERROR(ServerOptimizer<float>(1, {.learning_rate = 0}), ErrorId::value, "learning_rate is 0");
  CHECK_ERROR(ServerOptimizer<float>(1, {.momentum = 1}), ErrorId::value, "momentum is 1");
  CHECK_ERROR(ServerOptimizer<float>(1, {.rule = ServerRule::adam, .beta2 = 1}), ErrorId::value, "beta2 is 1");
  CHECK_ERROR(ServerOptimizer<float>(1, {.rule = ServerRule::adam, .epsilon = 0}), ErrorId::value, "epsilon is 0");
  CHECK_ERROR(OptimizedAggregator<float>(nullptr, nullptr), ErrorId::value, "no mean or no optimizer");
}

TEMPLATE_TEST_CASE("the proximal term's gradient is that of mu/2 |w - w0|^2 for every example", "", float, double) {
  using S = TestType;
  const std::vector<S> w{1, -2, 3}, w0{0.5, -2, 4};
  std::vector<S> sum{10, 20, 30};
  add_proximal_gradient<S>(0.25, 8, w, w0, sum);  // 8 · 0.25 · (w - w0), exact in both scalars
  CHECK(sum == std::vector<S>{11, 20, 28});
  const auto term = [&](double shift) {  // central differences of 8 · mu/2 |w - w0|² in its first number
    double all = 0;
    for (std::size_t i = 0; i < 3; ++i) all += std::pow(double(w[i]) + (i == 0 ? shift : 0) - double(w0[i]), 2);
    return 8 * 0.125 * all;
  };
  CHECK(std::abs((term(1e-3) - term(-1e-3)) / 2e-3 - 1) < 1e-9);
  CHECK_ERROR(add_proximal_gradient<S>(-1, 1, w, w0, sum), ErrorId::value, "mu is -1");
  CHECK_ERROR(add_proximal_gradient<S>(1, 1, w, std::span(w0).first(2), sum), ErrorId::shape, "2 at the start");
}
