#include "lorasb/core/layer_gradient.hpp"

#include <tuple>
#include <type_traits>
#include <vector>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a gradient is taken from spans, vectors and matrices that stay, not from temporaries") {
  using G = LayerGradient<float>;
  STATIC_REQUIRE(std::is_constructible_v<G, std::span<float>>);
  STATIC_REQUIRE(std::is_constructible_v<G, std::vector<float>&>);
  STATIC_REQUIRE(std::is_constructible_v<G, Weight<float>&>);
  STATIC_REQUIRE(std::is_constructible_v<G, NotWanted>);
  STATIC_REQUIRE(std::is_constructible_v<G, Matrix<float>&, std::vector<Index>&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<G, std::vector<float>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<G, Weight<float>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<G, const Weight<float>&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<G, Weight<double>&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<G, Matrix<float>, std::vector<Index>&>);

  using X = InputGradient<float>;
  STATIC_REQUIRE(std::is_constructible_v<X, Matrix<float>&>);
  STATIC_REQUIRE(std::is_constructible_v<X, NotWanted>);
  STATIC_REQUIRE(std::is_constructible_v<X, decltype(std::declval<Matrix<float>&>().leftCols(1))>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<X, Matrix<float>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<X, Weight<float>&>);
}

TEST_CASE("a layer is called back once for a sum, once for each example that has columns, and never for nothing") {
  using Call = std::tuple<Index, Index, const float*>;
  const auto calls = [](const LayerGradient<float>& gradient) {
    std::vector<Call> all;
    gradient.for_each(7, [&](Index first, Index count, std::span<float> to) {
      CHECK(to.size() == 5);
      all.emplace_back(first, count, to.data());
    });
    return all;
  };
  CHECK(calls(not_wanted).empty());
  CHECK_FALSE(LayerGradient<float>().wanted());
  std::vector<float> sum(5);
  CHECK(calls(sum) == std::vector<Call>{{0, 7, sum.data()}});
  Matrix<float> wide(8, 3);  // a gradient may be rows of a larger matrix
  const std::vector<Index> offsets{0, 2, 2, 7};
  const LayerGradient<float> each(wide.middleRows(1, 5), offsets);
  CHECK(each.per_example());
  CHECK(calls(each) == std::vector<Call>{{0, 2, &wide(1, 0)}, {2, 5, &wide(1, 2)}});
}

TEST_CASE("the gradient of the input can be asked for under a condition") {
  Matrix<float> dX(2, 3);
  const InputGradient<float> wanted(dX);
  CHECK(wanted.wanted());
  CHECK(wanted.view().data() == dX.data());
  CHECK(wanted.only_if(true).wanted());
  CHECK_FALSE(wanted.only_if(false).wanted());
  CHECK_FALSE(InputGradient<float>(not_wanted).only_if(true).wanted());
}
