#include "lorasb/optim/adamw.hpp"

#include "support.hpp"

using namespace lorasb;
using lorasb::optim::AdamW;

// The numbers are compared with torch's in optimizer_test.cpp.

TEST_CASE("AdamW's decay shrinks the values whatever the gradient") {
  AdamW<double> optimizer(1, {.weight_decay = 0.5});
  std::vector<double> values{8};
  const std::vector<double> gradients{0};
  optimizer.step(values, gradients, 0.5);
  CHECK(values[0] == 6);  // (1 - 0.5 * 0.5) 8
}

TEST_CASE("AdamW refuses options that mean nothing") {
  CHECK_ERROR(AdamW<float>(1, {.beta1 = 1}), ErrorId::value, "beta1 is 1");
  CHECK_ERROR(AdamW<float>(1, {.beta1 = -0.5}), ErrorId::value, "beta1 is -0.5");
  CHECK_ERROR(AdamW<float>(1, {.beta2 = 1.5}), ErrorId::value, "beta2 is 1.5");
  CHECK_ERROR(AdamW<float>(1, {.beta2 = std::nan("")}), ErrorId::value, "beta2 is nan");
  CHECK_ERROR(AdamW<float>(1, {.epsilon = 0}), ErrorId::value, "epsilon is 0");
  CHECK_ERROR(AdamW<float>(1, {.weight_decay = -0.1}), ErrorId::value, "weight_decay is -0.1");
}
