// Fed-SB in one process: three clients train the core of one layer on data of their own, a server averages it exactly.
#include <cstdio>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/initialize.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/federated/base_digest.hpp"
#include "lorasb/federated/client.hpp"
#include "lorasb/federated/exactness.hpp"
#include "lorasb/federated/in_process.hpp"
#include "lorasb/optim/sgd.hpp"

using namespace lorasb;

int main() {
  const auto normal = [](Index rows, Index cols, std::uint64_t seed) {
    Random random(seed);
    Matrix<float> M(rows, cols);
    for (float& x : flat(M)) x = float(random.normal());
    return M;
  };
  // What all members share: the frozen layer, and bases from the first step on examples that anybody may see.
  const Weight<float> W0 = normal(32, 24, 1), target = W0 + 0.2f * normal(32, 2, 2) * normal(2, 24, 3);
  const Matrix<float> X_public = normal(24, 64, 4), dY_public = (W0 - target) * X_public;
  GradientEstimate<float> estimate(32, 24);
  estimate.add(dY_public, X_public, 64);
  const LowRankAdapter<float> start = initialize(estimate, {.rank = 4, .rule = FirstStep::sgd, .learning_rate = 0.1}).adapter;
  AdapterBases<float> bases;
  bases.add("layer", {.B = start.B, .A = start.A});
  federated::Session session{.id = "quickstart", .base = federated::base_digest(bases, {{"layer", W0}})};
  session.layout.add("layer", Role::core, 4, 4);

  // A client: ten steps of SGD on examples of its own, from the values that the round starts with.
  const auto train = [&](Index client, int, std::uint64_t, std::span<float> values, federated::LeadingMask<float>&) {
    const Index examples = 100 * (client + 1);
    const Matrix<float> X = normal(24, examples, 10 + std::uint64_t(client)), wanted = target * X;
    const AdaptedLinear<float> layer(W0, bases.at("layer"), {values.data(), 4, 4});
    optim::Sgd<float> sgd(16);
    LinearCache<float> cache;
    Matrix<float> Y(32, examples);
    for (int step = 0; step < 10; ++step) {
      const ForwardPass<float> pass = layer.forward(X, Y, cache);
      const Matrix<float> dY = (Y - wanted) / float(examples);
      Weight<float> dR = Weight<float>::Zero(4, 4);
      layer.backward(pass, dY, cache, dR, not_wanted);
      sgd.step(values, flat(dR), 0.1);
    }
    return std::uint64_t(examples);  // the weight of its update
  };
  const std::vector<std::string> names{"anna", "ben", "cleo"};
  federated::Clients<float> clients(session, {.train = train, .names = names});
  federated::InProcessTransport transport(clients, 2);  // two threads

  // The server: rounds that end with the exact weighted mean of what was accepted, or change nothing.
  federated::Server<float> server(session, flat(start.R), names, {.keep_updates = true});
  for (int round = 1; round <= 3; ++round) {
    const auto message = std::make_shared<const federated::Bytes>(
        federated::encode_broadcast<float>(session, server.round(), server.global()));
    const federated::RoundReport report = federated::run_round(server, transport, message, 60);
    const ConstWeightView<float> R(server.global().data(), 4, 4);
    const double missing = (W0 + start.B * R * start.A - target).norm() / (W0 - target).norm();
    const double error = federated::core_exactness_error<float>(bases, session.layout, server.admitted(), server.global());
    std::printf("round %d: %td updates of %td values, distance to the target %.3f, mean is exact: %s\n", round, report.accepted,
                session.layout.size(), missing, error < 1e-7 ? "yes" : "no");
  }
}
