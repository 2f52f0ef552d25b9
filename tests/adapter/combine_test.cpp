#include "lorasb/adapter/combine.hpp"

#include <cstring>
#include <limits>
#include <vector>

#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

template <Real S>
bool same_bits(const LowRankAdapter<S>& a, const LowRankAdapter<S>& b) {
  const auto same = [](const Weight<S>& x, const Weight<S>& y) {
    return x.rows() == y.rows() && x.cols() == y.cols() &&
           std::memcmp(x.data(), y.data(), std::size_t(x.size()) * sizeof(S)) == 0;
  };
  return same(a.B, b.B) && same(a.R, b.R) && same(a.A, b.A) && a.scale == b.scale;
}
template <Real S>
LowRankAdapter<S> combined(const std::vector<LowRankAdapter<S>>& adapters, const std::vector<double>& weights) {
  return combine<S>(std::span<const LowRankAdapter<S>>(adapters), weights);
}

}  // namespace

TEMPLATE_TEST_CASE("one adapter with the weight 1 is that adapter, bit for bit, and weights 1 and -1 of equals give 0", "",
                   float, double) {
  using S = TestType;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    LowRankAdapter<S> a = random_adapter<S>(7, 5, 3, seed, 0.3, seed % 2 == 0);
    a.R(0, 0) = S(-0.0);
    a.R(1, 1) = std::numeric_limits<S>::denorm_min();
    a.R(2, 2) = std::numeric_limits<S>::max();
    CHECK(same_bits(combined<S>({a}, {1}), a));
    CHECK(combined<S>({a, a}, {1, -1}).R.isZero(0));
    CHECK(same_bits(combined<S>({a, a}, {1, 0}), a));
  }
}

TEMPLATE_TEST_CASE("a weighted sum of adapters changes a weight as its terms together do", "", float, double) {
  using S = TestType;
  LowRankAdapter<S> a = random_adapter<S>(9, 6, 4, 1, -0.7), b = a;
  b.R = random_matrix<Weight<S>>(4, 4, 8);
  const LowRankAdapter<S> sum = combined<S>({a, b}, {0.25, -3});
  CHECK(relative_error(delta(sum), Eigen::MatrixXd(0.25 * delta(a) - 3 * delta(b))) < Tolerance<S>::sum);
  AdapterSet<S> first, second, other;
  first.add("q", a);
  second.add("q", b);
  const std::vector<AdapterSet<S>> sets{first, second};
  CHECK(same_bits(combine<S>(std::span<const AdapterSet<S>>(sets), std::vector<double>{0.25, -3}).at("q"), sum));
  other.add("q", b);
  other.add("k", b);
  const std::vector<AdapterSet<S>> unequal{first, other};
  CHECK_ERROR(combine<S>(std::span<const AdapterSet<S>>(unequal), std::vector<double>{1, 1}), ErrorId::unknown_name, "\"k\"");
}

TEST_CASE("a sum over other bases, ranks or scales is refused, and so are weights that are none") {
  const LowRankAdapter<float> a = random_adapter<float>(7, 5, 3, 1);
  const auto refused = [&](const LowRankAdapter<float>& b, ErrorId id, const std::string& why) {
    CHECK_ERROR(combined<float>({a, b}, {0.5, 0.5}), id, why);
  };
  LowRankAdapter<float> b = a;
  b.B(6, 2) = std::nextafter(b.B(6, 2), 9.0f);
  refused(b, ErrorId::value, "another basis");
  b = a;
  b.A(0, 0) += 1;
  refused(b, ErrorId::value, "another basis");
  b = a;
  b.scale = 2;
  refused(b, ErrorId::value, "has the scale 2, the first has 1");
  refused(random_adapter<float>(7, 5, 2, 1), ErrorId::rank, "has rank 2, the first has 3");
  refused(random_adapter<float>(8, 5, 3, 1), ErrorId::shape, "B");
  b = a;
  b.R(1, 1) = std::numeric_limits<float>::quiet_NaN();
  refused(b, ErrorId::not_finite, "R");
  CHECK_ERROR(combined<float>({a, a}, {1}), ErrorId::value, "2 adapters and 1 weights");
  CHECK_ERROR(combined<float>({}, {}), ErrorId::value, "0 adapters");
  CHECK_ERROR(combined<float>({a}, {std::numeric_limits<double>::infinity()}), ErrorId::value, "weight 0");
  b = a;
  b.R.setConstant(std::numeric_limits<float>::max());
  CHECK_ERROR(combined<float>({b, b}, {1, 1}), ErrorId::not_finite, "leaves the range");
}
