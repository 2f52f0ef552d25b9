#include "lorasb/optim/sgd.hpp"

#include "support.hpp"

using namespace lorasb;
using lorasb::optim::Sgd;

// The numbers are compared with torch's in optimizer_test.cpp.

TEST_CASE("Plain SGD subtracts the rate times the gradient") {
  Sgd<double> sgd(2);
  std::vector<double> values{1, 2};
  const std::vector<double> gradients{4, -8};
  sgd.step(values, gradients, 0.25);
  CHECK(values == std::vector<double>{0, 4});
}

TEST_CASE("SGD refuses options that mean nothing") {
  CHECK_ERROR(Sgd<float>(1, {.momentum = 1}), ErrorId::value, "momentum is 1");
  CHECK_ERROR(Sgd<float>(1, {.momentum = -0.1}), ErrorId::value, "momentum is -0.1");
  CHECK_ERROR(Sgd<float>(1, {.momentum = 0.5, .dampening = 2}), ErrorId::value, "dampening is 2");
  CHECK_ERROR(Sgd<float>(1, {.weight_decay = -1}), ErrorId::value, "weight_decay is -1");
  CHECK_ERROR(Sgd<float>(1, {.weight_decay = std::nan("")}), ErrorId::value, "weight_decay is nan");
  CHECK_ERROR(Sgd<float>(1, {.nesterov = true}), ErrorId::value, "nesterov with momentum 0");
  CHECK_ERROR(Sgd<float>(1, {.momentum = 0.5, .dampening = 0.5, .nesterov = true}), ErrorId::value, "dampening 0.5");
}
