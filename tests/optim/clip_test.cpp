#include "lorasb/optim/clip.hpp"

#include "golden_file.hpp"
#include "lorasb/core/view.hpp"

using namespace lorasb;
using lorasb::optim::clip_global_norm;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The norm without clipping.
template <Real S>
double norm_of(std::vector<S> x) {
  return clip_global_norm(std::span<S>(x), infinity);
}

}  // namespace

TEMPLATE_TEST_CASE("A norm above the limit is scaled to it, and the norm before comes back", "", float, double) {
  using S = TestType;
  Vector<S> g = test::random_matrix<Matrix<S>>(1003, 1, 5);
  const Vector<S> before = g;
  const double norm = before.template cast<double>().norm();
  CHECK(clip_global_norm(flat(g), 2.5) == Approx(norm).epsilon(1e-14));
  CHECK(g.template cast<double>().norm() == Approx(2.5).epsilon(test::Tolerance<S>::exact));
  CHECK(test::relative_error(g, before * static_cast<S>(2.5 / norm)) <= test::Tolerance<S>::exact);
}

TEMPLATE_TEST_CASE("A norm at or below the limit leaves every bit alone", "", float, double) {
  using S = TestType;
  Vector<S> g = test::random_matrix<Matrix<S>>(40, 1, 6);
  const Vector<S> before = g;
  const double norm = clip_global_norm(flat(g), infinity);
  CHECK(g == before);
  clip_global_norm(flat(g), norm);
  CHECK(g == before);
}

TEST_CASE("Several parts are clipped by their common norm, as torch does up to its 1e-6") {
  std::vector<double> first = test::golden_numbers<double>("clip.first"), second = test::golden_numbers<double>("clip.second");
  const std::vector<std::span<double>> parts{first, second};
  const double norm = clip_global_norm<double>(parts, 0.5);
  CHECK(norm == Approx(test::golden_numbers<double>("clip.norm")[0]).epsilon(1e-14));
  const auto compare = [&](const std::vector<double>& ours, const std::vector<double>& torchs) {
    for (std::size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] * norm / (norm + 1e-6) == Approx(torchs[i]).epsilon(1e-13));
  };
  compare(first, test::golden_numbers<double>("clip.clipped_first"));
  compare(second, test::golden_numbers<double>("clip.clipped_second"));
}

TEST_CASE("Norms of huge and tiny numbers are right") {
  const auto is = [](double expected) { return Approx(expected).epsilon(1e-14); };
  CHECK(norm_of<float>({3e38f, 3e38f}) == is(std::sqrt(2.0) * double{3e38f}));
  CHECK(norm_of<float>({3e-45f, -4.2e-45f}) == is(std::hypot(double{3e-45f}, double{4.2e-45f})));
  CHECK(norm_of<double>({3e300, -4e300}) == is(5e300));
  CHECK(norm_of<double>({3e-310, 4e-310}) == is(5e-310));
  CHECK(norm_of<double>({3e-160, 4e-160}) == is(5e-160));
  CHECK(norm_of<double>({1e300, 1e-300}) == is(1e300));
}

TEST_CASE("Huge numbers are clipped without losing digits") {
  std::vector<float> narrow{3e38f, -4e37f};
  const double norm = clip_global_norm(std::span(narrow), 1.0);
  CHECK(narrow[0] == Approx(double(3e38f) / norm).epsilon(1e-6));
  CHECK(narrow[1] == Approx(double(-4e37f) / norm).epsilon(1e-6));
  std::vector<double> wide{3e307, 4e307};
  CHECK(clip_global_norm(std::span(wide), 1e-3) == Approx(5e307));
  CHECK(wide[0] == Approx(6e-4).epsilon(1e-14));
  CHECK(wide[1] == Approx(8e-4).epsilon(1e-14));
}

TEST_CASE("A norm that is not finite is reported and nothing is scaled") {
  std::vector<float> g{1, std::numeric_limits<float>::infinity(), 2};
  CHECK(clip_global_norm(std::span(g), 0.1) == infinity);
  CHECK(g[0] == 1.0f);
  g[2] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(clip_global_norm(std::span(g), 0.1)));
  CHECK(g[0] == 1.0f);
  for (std::size_t place = 0; place < 19; ++place) {
    std::vector<double> x(19, 1.0);
    x[place] = std::nan("");
    CHECK(std::isnan(norm_of(x)));
    x[place] = -infinity;
    CHECK(norm_of(x) == infinity);
  }
}

TEST_CASE("Nothing at all has norm zero") {
  CHECK(clip_global_norm(std::span<float>(), 1.0) == 0);
  CHECK(clip_global_norm<float>(std::span<const std::span<float>>(), 1.0) == 0);
  CHECK(norm_of<double>({0, 0, -0.0}) == 0);
}

TEST_CASE("The norm has the same bits wherever the numbers lie in memory") {
  const auto x = test::random_matrix<Matrix<float>>(777, 1, 8);
  std::vector<float> room(777 + 16);
  const double expected = norm_of(std::vector<float>(x.data(), x.data() + x.size()));
  for (std::size_t shift = 0; shift < 16; ++shift) {
    std::copy_n(x.data(), x.size(), room.begin() + static_cast<std::ptrdiff_t>(shift));
    CHECK(clip_global_norm(std::span(room).subspan(shift, 777), infinity) == expected);
  }
}

TEST_CASE("Clipping refuses a limit that is not positive") {
  std::vector<float> g{1};
  CHECK_ERROR(clip_global_norm(std::span(g), 0.0), ErrorId::value, "max_norm is 0");
  CHECK_ERROR(clip_global_norm(std::span(g), std::nan("")), ErrorId::value, "max_norm is nan");
}
