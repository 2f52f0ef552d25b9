#include "lorasb/optim/sign_sgd.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a step along the signs moves every number with a gradient by the rate") {
  optim::SignSgd<float> optimizer(4);
  optimizer.set_rate_factor(3, 1, 4);
  std::vector<float> values{1, 1, 1, 1};
  const std::vector<float> gradients{1e-30f, -5, 0, 2};
  optimizer.step(values, gradients, 0.25);
  CHECK(values == std::vector<float>{0.75f, 1.25f, 1, 0});
  CHECK(optimizer.state().layout().size() == 0);
  CHECK(optimizer.steps() == 1);
}
