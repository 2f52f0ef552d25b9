// What the compiler must refuse: layers over a weight, adapter or buffer that is gone before they are used.
#include <type_traits>

#include "lorasb/adapter/cores.hpp"
#include "lorasb/adapter/lora/lora_linear.hpp"
#include "lorasb/adapter/observed_linear.hpp"
#include "lorasb/linalg/linear_operator.hpp"
#include "lorasb/nn/linear.hpp"
#include "support.hpp"

using namespace lorasb;

namespace {

using F = Weight<float>;
using ConstW = ConstWeightView<float>;
using Adapter = LowRankAdapter<float>;

}  // namespace

TEST_CASE("No layer is made over a weight that is gone before it, and any is over one that stays") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<AdaptedLinear<float>, F, const Adapter&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<AdaptedLinear<float>, F&, Adapter>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<nn::Linear<float>, F>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<LoraLinear<float>, F, ConstW, ConstW, float>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<LoraLinear<float>, F, ConstW, ConstW, float, const char*, TrainedFactors>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<ObservedLinear<float>, F, ObservedLinear<float>::Observer>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<linalg::ThinOperator<float>, F>);

  STATIC_REQUIRE(std::is_constructible_v<AdaptedLinear<float>, F&, const Adapter&>);
  STATIC_REQUIRE(std::is_constructible_v<AdaptedLinear<float>, const F&, Adapter&, const char*>);
  STATIC_REQUIRE(std::is_constructible_v<AdaptedLinear<float>, ConstW, const Adapter&>);
  STATIC_REQUIRE(std::is_constructible_v<AdaptedLinear<float>, decltype(std::declval<F&>().topRows(2)), const Adapter&>);
  STATIC_REQUIRE(std::is_constructible_v<nn::Linear<float>, const F&>);
  STATIC_REQUIRE(std::is_constructible_v<LoraLinear<float>, F&, ConstW, ConstW, float>);
  STATIC_REQUIRE(std::is_constructible_v<LoraLinear<float>, F&, ConstW, ConstW, float, const char*, TrainedFactors>);
}

TEST_CASE("No view of the transpose is made of a matrix that is gone before it") {
  const auto transposes = [](auto&& m) {
    return requires { linalg::transposed(std::forward<decltype(m)>(m)); };
  };
  F weight(2, 3);
  CHECK(transposes(weight));
  CHECK(transposes(weight.topRows(1)));
  CHECK_FALSE(transposes(F(2, 3)));
}
