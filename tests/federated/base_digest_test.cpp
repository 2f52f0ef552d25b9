#include "lorasb/federated/base_digest.hpp"

#include <array>

#include "small_session.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using test::small_bases;

namespace {

AdapterBases<float> one_basis() {
  AdapterBases<float> bases;
  bases.add("q", {.B = Weight<float>{{1}, {2}}, .A = Weight<float>{{3, 4, 5}}, .scale = 2});
  return bases;
}
const Weight<float> W0{{1, 2, 3}, {4, 5, 6}};

}  // namespace

// The hexadecimal digits are of Python's hashlib over: "lorasb base 1 F32", 1, "q", the double 2, 2, 1, B, 1, 3, A; and over
// "lorasb base with weights 1", those 32 bytes, 1, "q", 2, 3, W0. Numbers are 8 bytes, the lowest first, texts follow theirs.
TEST_CASE("The digest of what is frozen has the bytes of its description, with weights and without") {
  CHECK(hex(base_digest(one_basis())) == "760ec51c68dd8e3369ac380d61546433c29ade21cf180c4e9cebd7e12eecece0");
  CHECK(hex(base_digest(one_basis(), {Module<float>{"q", W0}})) ==
        "c5304d2df4adfd56b4e1fdf13d675f15a67355885679780bd840b9f4871e8a69");
}

TEST_CASE("Row 8: the digest with weights tells base models apart that have the same adapters") {
  const Weight<float> other = test::random_matrix<Weight<float>>(4, 4, 2);
  const std::vector<Module<float>> modules{{"q", W0}, {"v", other}};
  const Digest digest = base_digest(small_bases(), modules);
  CHECK(base_digest(small_bases(), modules) == digest);
  CHECK(base_digest(small_bases(2), modules) != digest);

  Weight<float> changed = other;
  changed(3, 3) = std::nextafter(changed(3, 3), 9.0f);
  const Weight<float> reshaped = Eigen::Map<const Weight<float>>(W0.data(), 3, 2);
  for (const std::vector<Module<float>>& others : {std::vector<Module<float>>{{"q", W0}, {"v", changed}},
                                                   {{"q", reshaped}, {"v", other}},
                                                   {{"q", W0}, {"w", other}},
                                                   {{"v", other}, {"q", W0}},
                                                   {{"q", W0}},
                                                   {}})
    CHECK(base_digest(small_bases(), others) != digest);
}

TEST_CASE("A weight with gaps between its lines has the digest of its numbers") {
  Weight<float> wide = Weight<float>::Constant(2, 5, 9);
  wide.block(0, 1, 2, 3) = W0;
  const std::vector<Module<float>> gaps{{"q", wide.block(0, 1, 2, 3)}}, whole{{"q", W0}};
  CHECK(base_digest(one_basis(), gaps) == base_digest(one_basis(), whole));
}

TEST_CASE("the digest of frozen weights tells bfloat16 from its widened copy, and sees each number of either") {
  const AdapterBases<float> none;
  Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> narrow =
      test::random_matrix<Weight<float>>(3, 4, 1).cast<Bfloat16>();
  const Weight<float> wide = narrow.cast<float>();
  const Digest of_narrow = base_digest<float>(none, {{"layer", narrow}});
  CHECK(of_narrow != base_digest<float>(none, {{"layer", wide}}));
  narrow(2, 3).value ^= 1;
  CHECK(of_narrow != base_digest<float>(none, {{"layer", narrow}}));
}
