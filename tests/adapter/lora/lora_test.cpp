#include "lorasb/adapter/lora/lora.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("plain LoRA starts at W0 with A as PEFT draws it") {
  const LoraAdapter<float> lora = initialize_lora<float>(20, 100, {.rank = 8, .alpha = 16, .seed = 3});
  CHECK(lora.scale == 2);
  CHECK(lora.B.isZero());
  CHECK(lora.A.cwiseAbs().maxCoeff() <= 0.1f);  // 1/√100
  CHECK(lora.A.cwiseAbs().maxCoeff() > 0.095f);
  CHECK(std::abs(lora.A.mean()) < 5 * 0.1 / std::sqrt(3.0 * 800));  // five standard errors of a uniform mean
  CHECK(lora.trainable() == 8 * 120);
  CHECK_ERROR(initialize_lora<float>(20, 100, {.rank = 0}), ErrorId::rank, "rank is 0, expected 1 to min(out, in) = 20");
  CHECK_ERROR(initialize_lora<float>(20, 100, {.rank = 21}), ErrorId::rank, "rank is 21");
  CHECK_ERROR(initialize_lora<float>(20, 100, {.alpha = 0}), ErrorId::value, "alpha is 0");
}
