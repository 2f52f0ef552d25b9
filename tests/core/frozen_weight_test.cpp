#include "lorasb/core/frozen_weight.hpp"

#include <cstring>
#include <vector>

#include "support.hpp"

using namespace lorasb;

namespace {
using Narrow = Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
}

TEMPLATE_TEST_CASE("a frozen weight views S or bfloat16, blocks too, without a copy", "", float, double) {
  using S = TestType;
  const Weight<S> W = test::random_matrix<Weight<S>>(5, 7, 1);
  const FrozenWeight<S> wide = W.middleCols(2, 3);
  CHECK(wide.rows() == 5);
  CHECK(wide.cols() == 3);
  CHECK(wide.size() == 15);
  CHECK(wide.dtype() == dtype_of<S>);
  CHECK(wide.row_bytes() == 7 * sizeof(S));
  CHECK(wide.stored_bytes() == 15 * sizeof(S));
  CHECK(wide.wide().data() == &W(0, 2));
  CHECK(wide.widened() == W.middleCols(2, 3));

  const Narrow N = W.template cast<Bfloat16>();
  const FrozenWeight<S> narrow = N.middleCols(2, 3);
  CHECK(narrow.dtype() == Dtype::bf16);
  CHECK_FALSE(narrow.is_wide());
  CHECK(narrow.bytes() == reinterpret_cast<const std::byte*>(&N(0, 2)));
  CHECK(narrow.widened() == N.middleCols(2, 3).template cast<S>());
  Weight<S> rows(2, 3);
  narrow.widen(1, 2, rows.data());
  CHECK(rows == N.block(1, 2, 2, 3).template cast<S>());
  CHECK_ERROR(narrow.wide(), ErrorId::value, "the weight is stored as BF16");
}

TEST_CASE("what would need a copy is no frozen weight") {
  STATIC_REQUIRE(std::is_constructible_v<FrozenWeight<float>, const Weight<float>&>);
  STATIC_REQUIRE(std::is_constructible_v<FrozenWeight<float>, ConstWeightView<float>>);
  STATIC_REQUIRE(std::is_constructible_v<FrozenWeight<float>, const Narrow&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FrozenWeight<float>, const Weight<double>&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FrozenWeight<float>, const Matrix<float>&>);
}

TEMPLATE_TEST_CASE("stored numbers are widened from any address, half precision too", "", float, double) {
  using S = TestType;
  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> H =
      test::random_matrix<Weight<S>>(3, 4, 2).template cast<Eigen::half>();
  CHECK(FrozenWeight<S>(H).widened() == H.template cast<S>());
  std::vector<std::byte> file(1 + sizeof(float) * 12);  // one byte off
  const Weight<float> W = test::random_matrix<Weight<float>>(3, 4, 3);
  std::memcpy(file.data() + 1, W.data(), sizeof(float) * 12);
  const FrozenWeight<S> odd(file.data() + 1, Dtype::f32, 3, 4);
  CHECK_FALSE(odd.is_wide());
  CHECK(odd.widened() == W.template cast<S>());
}

TEST_CASE("a frozen weight refuses types that its scalar cannot hold, and sizes that cannot be") {
  const std::vector<std::byte> bytes(64);
  CHECK_ERROR(FrozenWeight<float>(bytes.data(), Dtype::f64, 2, 2), ErrorId::value, "numbers of type F64 are not F32");
  CHECK_ERROR(FrozenWeight<float>(bytes.data(), Dtype::i32, 2, 2), ErrorId::value, "numbers of type I32");
  CHECK_ERROR(FrozenWeight<float>(static_cast<const float*>(nullptr), 2, 2), ErrorId::value, "a null pointer");
  CHECK_ERROR(FrozenWeight<float>(bytes.data(), Dtype::f32, -1, 2), ErrorId::value, "-1 x 2");
  CHECK_ERROR(FrozenWeight<float>(bytes.data(), Dtype::f32, 2, 4, 8), ErrorId::value, "rows are 8 bytes apart");
}
