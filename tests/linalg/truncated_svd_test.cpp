#include "lorasb/linalg/truncated_svd.hpp"

#include <cmath>

#include "linalg/orthonormality.hpp"
#include "support.hpp"

using namespace lorasb;
using test::departure;
using test::orthonormal;
using linalg::SvdMethod;
using linalg::SvdStatus;
using linalg::truncated_svd;
using linalg::TruncatedSvd;

namespace {

/// What every result promises, whatever W is.
template <Real S>
void check_promises(const Weight<S>& W, const TruncatedSvd<S>& svd, Index rank) {
  REQUIRE(svd.U.rows() == W.rows());
  REQUIRE(svd.V.rows() == W.cols());
  REQUIRE(svd.U.cols() == rank);
  REQUIRE(svd.V.cols() == rank);
  REQUIRE(svd.singular_values.size() == rank);
  CHECK(svd.status != SvdStatus::not_converged);
  CHECK(departure(svd.U) < orthonormal<S>);
  CHECK(departure(svd.V) < orthonormal<S>);
  CHECK(svd.singular_values(rank - 1) >= 0);
  for (Index i = 0; i + 1 < rank; ++i) CHECK(svd.singular_values(i) >= svd.singular_values(i + 1));

  const Eigen::MatrixXd w = W.template cast<double>(), U = svd.U.template cast<double>(), V = svd.V.template cast<double>();
  const Eigen::VectorXd sigma = svd.singular_values.template cast<double>();
  // One of the two relations holds to rounding, however flat the spectrum.
  const Eigen::MatrixXd wide = w.transpose() * U - V * sigma.asDiagonal();
  const Eigen::MatrixXd tall = w * V - U * sigma.asDiagonal();
  const double rounding = test::Tolerance<S>::sum * w.norm();
  CHECK((w.rows() <= w.cols() ? wide : tall).norm() <= rounding);
  const double energy = w.squaredNorm() - (w - U * sigma.asDiagonal() * V.transpose()).squaredNorm();
  CHECK(std::abs(svd.captured_energy - energy) <= rounding * w.norm());
  CHECK(std::abs(sigma.squaredNorm() - energy) <= rounding * w.norm());
  if (svd.status != SvdStatus::exact) return;
  CHECK(wide.norm() <= rounding);
  CHECK(tall.norm() <= rounding);
}

template <Real S>
Weight<S> random_signs(Index rows, Index cols, std::uint64_t seed) {
  return test::random_matrix<Weight<S>>(rows, cols, seed).unaryExpr([](S x) { return x < 0 ? S(-1) : S(1); });
}

template <Real S>
Weight<S> with_spectrum(Index rows, Index cols, const Vector<S>& sigma, std::uint64_t seed) {
  Matrix<S> U = test::random_matrix<Matrix<S>>(rows, sigma.size(), seed, 1);
  Matrix<S> V = test::random_matrix<Matrix<S>>(cols, sigma.size(), seed, 2);
  linalg::orthonormalize<S>(U, 1);
  linalg::orthonormalize<S>(V, 1);
  return U * sigma.asDiagonal() * V.transpose();
}

}  // namespace

TEST_CASE("the defaults capture 99 % of the best rank-32 energy of 768 x 768 random signs, two power steps 90 %") {
  const Weight<float> W = random_signs<float>(768, 768, 1);
  const double best = test::singular_values_by_gram(W.template cast<double>()).head(32).squaredNorm();
  for (std::uint64_t seed : {1, 2, 3}) {
    const TruncatedSvd<float> krylov = truncated_svd<float>(W, {.rank = 32, .seed = seed});
    check_promises(W, krylov, 32);
    CHECK(krylov.status == SvdStatus::approximate);
    CHECK(krylov.products == 2 * (krylov.steps + 1));
    CHECK(krylov.steps <= 10);
    CHECK(krylov.captured_energy > 0.99 * best);
    CHECK(krylov.captured_energy < (1 + 1e-6) * best);
    const TruncatedSvd<float> power =
        truncated_svd<float>(W, {.rank = 32, .steps = 2, .method = SvdMethod::subspace, .seed = seed});
    check_promises(W, power, 32);
    CHECK(power.products == 6);
    CHECK(power.captured_energy > 0.87 * best);
    CHECK(power.captured_energy < 0.93 * best);
  }
}

TEMPLATE_TEST_CASE("random signs of other shapes and ranks are captured to 99 % too", "", float, double) {
  using S = TestType;
  const auto [m, n] = GENERATE(table<Index, Index>({{300, 500}, {500, 300}, {256, 256}}));
  const Weight<S> W = random_signs<S>(m, n, 2);
  const Eigen::VectorXd sigma = test::singular_values_by_gram(W.template cast<double>());
  for (Index rank : {1, 4, 24, 100}) {
    CAPTURE(m, n, rank);
    const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = rank, .steps = rank == 100 ? 10 : 6, .seed = 7});
    check_promises(W, svd, rank);
    CHECK(svd.captured_energy > 0.99 * sigma.head(rank).squaredNorm());
    CHECK((svd.status == SvdStatus::exact) == (rank == 100));  // 50 columns in 11 blocks are the whole space
  }
}

TEMPLATE_TEST_CASE("spectra that decay are captured to rounding, flat and stepped ones to half a percent", "", float, double) {
  using S = TestType;
  const auto [m, n] = GENERATE(table<Index, Index>({{150, 400}, {400, 150}, {200, 200}}));
  const Index p = std::min(m, n);
  Vector<S> sigma(p);
  bool decays = false;
  SECTION("geometric") {
    for (Index i = 0; i < p; ++i) sigma(i) = static_cast<S>(std::pow(0.8, double(i)));
    decays = true;
  }
  SECTION("one over i squared") {
    for (Index i = 0; i < p; ++i) sigma(i) = static_cast<S>(1 / double((i + 1) * (i + 1)));
    decays = true;
  }
  SECTION("linear") { sigma = Vector<S>::LinSpaced(p, S(1), S(0)); }
  SECTION("all equal") { sigma.setOnes(); }
  SECTION("ten large and the rest small") {
    sigma.setConstant(S(0.01));
    sigma.head(10).setOnes();
  }
  for (std::uint64_t seed : {1, 2}) {
    const Weight<S> W = with_spectrum<S>(m, n, sigma, seed);
    for (Index rank : {1, 5, 12}) {
      CAPTURE(m, n, rank, seed);
      const double best = sigma.head(rank).template cast<double>().squaredNorm();
      const TruncatedSvd<S> svd =
          truncated_svd<S>(W, {.rank = rank, .block = rank + 16, .steps = 4, .tolerance = 0, .seed = seed});
      check_promises(W, svd, rank);
      CHECK(svd.captured_energy > (decays ? 1 - test::Tolerance<S>::sum : 0.995) * best);
      const TruncatedSvd<S> power =
          truncated_svd<S>(W, {.rank = rank, .steps = 4, .tolerance = 0, .method = SvdMethod::subspace, .seed = seed});
      check_promises(W, power, rank);
      CHECK(power.captured_energy > (decays ? 1 - test::Tolerance<S>::sum : 0.9) * best);
    }
  }
}

TEMPLATE_TEST_CASE("the iteration stops when a step adds less than the tolerance, and misses about as little", "", float,
                   double) {
  using S = TestType;
  Vector<S> sigma(400);
  for (Index i = 0; i < 400; ++i) sigma(i) = static_cast<S>(std::pow(0.95, double(i)));
  const Weight<S> W = with_spectrum<S>(400, 500, sigma, 1);
  const double best = sigma.head(20).template cast<double>().squaredNorm();
  int before = 0;
  for (const double tolerance : {1e-1, 1e-3, 1e-7}) {
    const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = 20, .block = 10, .steps = 30, .tolerance = tolerance});
    check_promises(W, svd, 20);
    CAPTURE(tolerance, svd.steps);
    CHECK(svd.steps > before);
    CHECK(svd.steps < 12);
    CHECK(svd.products == 2 * (svd.steps + 1));
    CHECK(svd.captured_energy > (1 - 2 * tolerance) * best);
    before = svd.steps;
  }
  const TruncatedSvd<S> flat = truncated_svd<S>(random_signs<S>(400, 500, 1), {.rank = 20, .block = 10, .steps = 12});
  CHECK(flat.steps == 12);
  const TruncatedSvd<S> zero =
      truncated_svd<S>(Weight<S>::Zero(400, 500).eval(), {.rank = 20, .block = 10, .steps = 30, .tolerance = 0});
  CHECK(zero.steps < 5);
}

TEMPLATE_TEST_CASE("blocks far narrower than the rank find it, and a basis that would be too narrow is widened", "", float,
                   double) {
  using S = TestType;
  const Weight<S> W = random_signs<S>(300, 400, 1);
  const double best = test::singular_values_by_gram(W.template cast<double>()).head(30).squaredNorm();
  const TruncatedSvd<S> narrow = truncated_svd<S>(W, {.rank = 30, .block = 6, .steps = 30});
  check_promises(W, narrow, 30);
  CHECK(narrow.captured_energy > 0.98 * best);
  const TruncatedSvd<S> few = truncated_svd<S>(W, {.rank = 30, .block = 1, .steps = 2});
  check_promises(W, few, 30);
  CHECK(few.steps == 2);
  CHECK(few.captured_energy > 0.3 * best);
}

TEMPLATE_TEST_CASE("at full rank, and where the basis fills the space, the result is the whole SVD", "", float, double) {
  using S = TestType;
  const auto [m, n] = GENERATE(table<Index, Index>({{1, 1}, {1, 30}, {30, 1}, {40, 25}, {25, 40}, {33, 33}, {2, 100}}));
  CAPTURE(m, n);
  const Weight<S> W = test::random_matrix<Weight<S>>(m, n, 3);
  const Eigen::VectorXd sigma = test::singular_values_by_gram(W.template cast<double>());
  const Index p = std::min(m, n);
  const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = p});
  check_promises(W, svd, p);
  CHECK(svd.status == SvdStatus::exact);
  CHECK(svd.products == 1);
  CHECK(test::relative_error(svd.singular_values, sigma) < test::Tolerance<S>::sum);
  CHECK(std::abs(svd.captured_energy / sigma.squaredNorm() - 1) < test::Tolerance<S>::sum);
}

TEMPLATE_TEST_CASE("rank-deficient and zero matrices give orthonormal bases and zeros", "", float, double) {
  using S = TestType;
  const auto [m, n] = GENERATE(table<Index, Index>({{300, 500}, {500, 300}, {40, 20}, {1, 20}, {20, 1}}));
  const SvdMethod method = GENERATE(SvdMethod::block_krylov, SvdMethod::subspace);
  const Index rank = std::min<Index>({m, n, 12});
  CAPTURE(m, n, int(method));
  SECTION("zero") {
    const Weight<S> W = Weight<S>::Zero(m, n);
    const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = rank, .block = 28, .steps = 4, .method = method});
    check_promises(W, svd, rank);
    CHECK(svd.singular_values.isZero(0));
    CHECK(svd.captured_energy == 0);
  }
  SECTION("rank at most 3") {
    const Weight<S> W = test::random_matrix<Weight<S>>(m, 3, 1) * test::random_matrix<Weight<S>>(3, n, 2);
    const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = rank, .block = 28, .steps = 4, .method = method});
    check_promises(W, svd, rank);
    CHECK(std::abs(svd.captured_energy / W.template cast<double>().squaredNorm() - 1) < test::Tolerance<S>::sum);
    if (rank > 3) CHECK(svd.singular_values(3) < test::Tolerance<S>::sum * svd.singular_values(0));
  }
  SECTION("one entry") {
    Weight<S> W = Weight<S>::Zero(m, n);
    W(m / 2, n / 3) = -2;
    const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = rank, .block = 28, .steps = 4, .method = method});
    check_promises(W, svd, rank);
    CHECK(std::abs(svd.singular_values(0) - 2) < 2 * test::Tolerance<S>::exact);
  }
  SECTION("equal rows") {
    const Weight<S> W = Weight<S>::Ones(m, n);
    const TruncatedSvd<S> svd = truncated_svd<S>(W, {.rank = rank, .block = 28, .steps = 4, .method = method});
    check_promises(W, svd, rank);
    CHECK(std::abs(svd.captured_energy / double(m * n) - 1) < test::Tolerance<S>::sum);
  }
}

TEMPLATE_TEST_CASE("tiny and huge matrices have the singular vectors of their multiples", "", float, double) {
  using S = TestType;
  const Weight<S> W = test::random_matrix<Weight<S>>(120, 90, 1);
  const TruncatedSvd<S> plain = truncated_svd<S>(W, {.rank = 4, .block = 8, .steps = 3});
  const S scale = GENERATE(S(0x1p-80), S(0x1p+80));
  const TruncatedSvd<S> scaled = truncated_svd<S>((scale * W).eval(), {.rank = 4, .block = 8, .steps = 3});
  CHECK(departure(scaled.U) < orthonormal<S>);
  CHECK(departure(scaled.V) < orthonormal<S>);
  CHECK(test::relative_error(scaled.singular_values / scale, plain.singular_values) < test::Tolerance<S>::sum);
  const double energy_scale = static_cast<double>(scale) * static_cast<double>(scale);
  CHECK(std::abs(scaled.captured_energy / energy_scale / plain.captured_energy - 1) < test::Tolerance<S>::sum);
}

namespace {

/// D + u vᵀ, never formed, that counts its products.
template <Real S>
struct DiagonalPlusOuter final : linalg::LinearOperator<S> {
  DiagonalPlusOuter(Vector<S> D, Vector<S> left, Vector<S> right) : diagonal(D), u(left), v(right) {}
  Vector<S> diagonal, u, v;
  mutable int calls = 0;

  Index rows() const override { return u.size(); }
  Index cols() const override { return v.size(); }
  void multiply(ConstMatrixView<S> X, MatrixView<S> Y) const override {
    Y = u * (v.transpose() * X);
    Y += diagonal.asDiagonal() * X;
    ++calls;
  }
  void multiply_transposed(ConstMatrixView<S> X, MatrixView<S> Y) const override {
    Y = v * (u.transpose() * X);
    Y += diagonal.asDiagonal() * X;
    ++calls;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("an operator that is only products decomposes as its matrix does, and products are counted", "", float,
                   double) {
  using S = TestType;
  const Index n = 300;
  const DiagonalPlusOuter<S> op{Vector<S>::LinSpaced(n, S(2), S(0.1)), test::random_matrix<Matrix<S>>(n, 1, 1).col(0),
                                test::random_matrix<Matrix<S>>(n, 1, 2).col(0)};
  Weight<S> W = op.u * op.v.transpose();
  W.diagonal() += op.diagonal;
  const linalg::TruncatedSvdOptions options{.rank = 6, .block = 16, .steps = 5, .tolerance = 0, .seed = 3};
  const TruncatedSvd<S> svd = truncated_svd<S>(op, options);
  check_promises(W, svd, 6);
  CHECK(svd.products == 12);
  CHECK(op.calls == 12);
  const TruncatedSvd<S> dense = truncated_svd<S>(W, options);
  CHECK(test::relative_error(svd.singular_values, dense.singular_values) < test::Tolerance<S>::chain);
}

TEMPLATE_TEST_CASE("a seed names a result, and a strided block is read where it lies", "", float, double) {
  using S = TestType;
  const Weight<S> memory = test::random_matrix<Weight<S>>(150, 170, 1);
  const Weight<S> copy = memory.block(10, 20, 120, 130);
  const TruncatedSvd<S> a = truncated_svd<S>(copy, {.rank = 3, .steps = 2, .seed = 4});
  const TruncatedSvd<S> b = truncated_svd<S>(memory.block(10, 20, 120, 130), {.rank = 3, .steps = 2, .seed = 4});
  const TruncatedSvd<S> c = truncated_svd<S>(copy, {.rank = 3, .steps = 2, .seed = 5});
  CHECK(a.U == b.U);
  CHECK(a.singular_values == b.singular_values);
  CHECK(a.V == b.V);
  CHECK(a.U != c.U);
}

TEMPLATE_TEST_CASE("a rank that cannot be, bad options and broken entries are refused", "", float, double) {
  using S = TestType;
  Weight<S> W = Weight<S>::Ones(48, 32);
  CHECK_ERROR(truncated_svd<S>(W, {.rank = 0}), ErrorId::rank, "rank is 0, expected 1 to 32 for a matrix of 48 x 32");
  CHECK_ERROR(truncated_svd<S>(W, {.rank = 33}), ErrorId::rank, "rank is 33, expected 1 to 32");
  CHECK_ERROR(truncated_svd<S>(Weight<S>(0, 5), {.rank = 1}), ErrorId::rank, "rank is 1, expected 1 to 0");
  CHECK_ERROR(truncated_svd<S>(W, {.block = -1}), ErrorId::value, "block is -1, expected 0 or more");
  CHECK_ERROR(truncated_svd<S>(W, {.steps = -1}), ErrorId::value, "steps is -1, expected 0 or more");
  CHECK_ERROR(truncated_svd<S>(W, {.tolerance = -1}), ErrorId::value, "tolerance is -1, expected 0 or more");
  W(3, 4) = std::numeric_limits<S>::quiet_NaN();
  CHECK_ERROR(truncated_svd<S>(W, {.rank = 2}), ErrorId::not_finite, "linalg::truncated_svd: W holds nan at row 3, column 4");
  W(3, 4) = std::numeric_limits<S>::infinity();
  CHECK_ERROR(truncated_svd<S>(W, {.rank = 2}), ErrorId::not_finite, "W holds inf at row 3, column 4");

  DiagonalPlusOuter<S> op{Vector<S>::Ones(200), Vector<S>::Ones(200), Vector<S>::Ones(200)};
  op.u(7) = std::numeric_limits<S>::quiet_NaN();
  CHECK_ERROR(truncated_svd<S>(op, {.rank = 2, .steps = 2}), ErrorId::not_finite,
              "a product of the operator holds nan at row 7");
  CHECK_ERROR(truncated_svd<S>(op, {.rank = 200}), ErrorId::not_finite, "a product of the transposed operator holds nan");
}

TEST_CASE("what the eigenvectors of squares cannot tell apart is not called exact") {
  Weight<double> deep = Weight<double>::Zero(20, 20);
  for (Index k = 0; k < 20; ++k) deep(k, k) = std::pow(10.0, -double(k));
  CHECK(truncated_svd<double>(deep, {.rank = 5}).status == SvdStatus::exact);
  CHECK(truncated_svd<double>(deep, {.rank = 11}).status == SvdStatus::approximate);
  CHECK(truncated_svd<double>(deep, {.rank = 20}).status == SvdStatus::exact);
}

TEST_CASE("a zero matrix of any size has orthonormal vectors, and values beyond the scalar are refused") {
  for (const auto& [m, n] : {std::array<Index, 2>{176, 177}, {203, 204}}) {
    const TruncatedSvd<float> svd = truncated_svd<float>(Weight<float>::Zero(m, n).eval(), {.rank = 34});
    CHECK(svd.singular_values.isZero(0));
    CHECK((svd.U.transpose() * svd.U - Matrix<float>::Identity(34, 34)).cwiseAbs().maxCoeff() < 5e-7f);
  }
  CHECK_ERROR(truncated_svd<float>(Weight<float>::Constant(2, 2, 3e38f).eval(), {.rank = 1}), ErrorId::not_finite,
              "singular values");
}
