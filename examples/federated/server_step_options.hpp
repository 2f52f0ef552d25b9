// The options of the server's own optimizer.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "examples/common/option_table.hpp"
#include "lorasb/federated/server_optimizer.hpp"

namespace lorasb::examples {

enum class ServerStep { none, momentum, adam };
inline constexpr std::array<std::string_view, 3> server_step_names{"none", "momentum", "adam"};
static_assert(std::ranges::equal(std::span(server_step_names).subspan(1), federated::server_rule_names));

struct ServerStepOptions {
  ServerStep step = ServerStep::none;
  double learning_rate = 0;  // 0: 1 for momentum, 0.01 for adam
  double momentum = 0.9, beta2 = 0.99, epsilon = 1e-3;

  bool enabled() const { return step != ServerStep::none; }
  /// When it is enabled.
  federated::ServerOptimizerOptions optimizer() const {
    const double rate = learning_rate > 0 ? learning_rate : step == ServerStep::momentum ? 1 : 0.01;
    return {.rule = static_cast<federated::ServerRule>(static_cast<int>(step) - 1),
            .learning_rate = rate,
            .momentum = momentum,
            .beta2 = beta2,
            .epsilon = epsilon};
  }
};

namespace detail {

inline void describe_server_step(ServerStepOptions& o, OptionTable& t) {
  const CLI::Validator positive = above_0(), below_one = between(0.0, 0.999999);
  t.choice("--server-optimizer", o.step, server_step_names,
           "What the server makes of a round's mean: none (the mean is the new model, exact), or a step of momentum or adam "
           "along it");
  t.add("--server-learning-rate", o.learning_rate, "Of the server's optimizer (default: 1 for momentum, 0.01 for adam)",
        {.check = positive, .show_default = false});
  t.add("--server-momentum", o.momentum, "Of the server's optimizer: share of the direction that is kept, beta1 of adam",
        {.check = below_one});
  t.add("--server-beta2", o.beta2, "Of --server-optimizer adam: share of the squares that is kept", {.check = below_one});
  t.add("--server-epsilon", o.epsilon, "Of --server-optimizer adam: added to the root of the squares", {.check = positive});
  if (!o.enabled()) return;  // no words that older sessions have not
  t.set("server_optimizer", concat(server_step_names[std::size_t(o.step)], " ", o.optimizer().learning_rate, " ", o.momentum,
                                   " ", o.beta2, " ", o.epsilon));
}

}  // namespace detail
}  // namespace lorasb::examples
