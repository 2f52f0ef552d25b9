#include "lorasb/linalg/small_svd.hpp"

#include "linalg/orthonormality.hpp"
#include "support.hpp"

using namespace lorasb;
using test::departure;

namespace {

/// What makes three matrices an SVD of M, and the singular values of another algorithm.
template <Real S>
void check_svd(const Matrix<S>& M, const linalg::SmallSvd<S>& svd) {
  const Index p = std::min(M.rows(), M.cols());
  REQUIRE(svd.U.rows() == M.rows());
  REQUIRE(svd.V.rows() == M.cols());
  REQUIRE(svd.U.cols() == p);
  REQUIRE(svd.V.cols() == p);
  REQUIRE(svd.singular_values.size() == p);
  CHECK(svd.status == linalg::SvdStatus::exact);
  CHECK(departure(svd.U) < test::Tolerance<S>::exact);
  CHECK(departure(svd.V) < test::Tolerance<S>::exact);
  if (p == 0) return;
  CHECK(svd.singular_values.minCoeff() >= 0);
  for (Index i = 0; i + 1 < p; ++i) CHECK(svd.singular_values(i) >= svd.singular_values(i + 1));
  const Eigen::VectorXd sigma = svd.singular_values.template cast<double>();
  const Eigen::MatrixXd product =
      svd.U.template cast<double>() * sigma.asDiagonal() * svd.V.template cast<double>().transpose();
  CHECK(test::relative_error(product, M) < test::Tolerance<S>::sum);
  const Eigen::VectorXd reference = test::singular_values(M.template cast<double>());
  CHECK((sigma - reference).cwiseAbs().maxCoeff() <= test::Tolerance<S>::sum * reference(0));
}

}  // namespace

TEMPLATE_TEST_CASE("U diag(sigma) Vᵀ is the matrix, for random matrices of any shape", "", float, double) {
  using S = TestType;
  const auto [k, l] =
      GENERATE(table<Index, Index>({{1, 1}, {1, 7}, {7, 1}, {2, 2}, {10, 10}, {30, 13}, {13, 30}, {90, 90}, {0, 3}, {3, 0}}));
  CAPTURE(k, l);
  const Matrix<S> M = test::random_matrix<Matrix<S>>(k, l, 1);
  check_svd<S>(M, linalg::small_svd<S>(M));
}

TEMPLATE_TEST_CASE("bases are complete where singular values are zero or equal", "", float, double) {
  using S = TestType;
  const auto [k, l] = GENERATE(table<Index, Index>({{20, 20}, {40, 20}, {20, 40}}));
  const Matrix<S> zero = Matrix<S>::Zero(k, l);
  check_svd<S>(zero, linalg::small_svd<S>(zero));
  const Matrix<S> ones = Matrix<S>::Ones(k, l);
  check_svd<S>(ones, linalg::small_svd<S>(ones));
  const Matrix<S> identity = Matrix<S>::Identity(k, l);
  check_svd<S>(identity, linalg::small_svd<S>(identity));
  const Matrix<S> rank_3 = test::random_matrix<Matrix<S>>(k, 3, 1) * test::random_matrix<Matrix<S>>(3, l, 2);
  check_svd<S>(rank_3, linalg::small_svd<S>(rank_3));
  Matrix<S> repeated = test::random_matrix<Matrix<S>>(k, l, 3);
  repeated.col(5) = repeated.col(0);
  repeated.row(7).setZero();
  check_svd<S>(repeated, linalg::small_svd<S>(repeated));
}

TEMPLATE_TEST_CASE("singular values over many orders of magnitude come out in order and to rounding of the largest", "", float,
                   double) {
  using S = TestType;
  Matrix<S> M = test::random_matrix<Matrix<S>>(40, 40, 1);
  for (Index j = 0; j < 40; ++j) M.col((j * 7) % 40) *= static_cast<S>(std::pow(10.0, -double(j)));  // 1 to 1e-39
  check_svd<S>(M, linalg::small_svd<S>(M));
}

TEMPLATE_TEST_CASE("tiny and huge entries neither vanish nor overflow", "", float, double) {
  using S = TestType;
  const Matrix<S> M = test::random_matrix<Matrix<S>>(12, 9, 1);
  const linalg::SmallSvd<S> plain = linalg::small_svd<S>(M);
  const S scale = GENERATE(std::numeric_limits<S>::min() * 100, std::numeric_limits<S>::max() / 100);
  const Matrix<S> scaled = scale * M;
  const linalg::SmallSvd<S> svd = linalg::small_svd<S>(scaled);
  CHECK(departure(svd.U) < test::Tolerance<S>::exact);
  CHECK(departure(svd.V) < test::Tolerance<S>::exact);
  CHECK(test::relative_error(svd.singular_values / scale, plain.singular_values) < test::Tolerance<S>::exact);
}

TEMPLATE_TEST_CASE("a strided block decomposes as its copy does", "", float, double) {
  using S = TestType;
  const Matrix<S> memory = test::random_matrix<Matrix<S>>(20, 20, 1);
  const Matrix<S> copy = memory.block(3, 4, 9, 6);
  CHECK(linalg::small_svd<S>(memory.block(3, 4, 9, 6)).U == linalg::small_svd<S>(copy).U);
}

TEST_CASE("too few sweeps are a status and leave orthonormal bases and descending values") {
  const Matrix<double> M = test::random_matrix<Matrix<double>>(30, 30, 1);
  const linalg::SmallSvd<double> svd = linalg::small_svd<double>(M, 1);
  CHECK(svd.status == linalg::SvdStatus::not_converged);
  for (Index i = 0; i + 1 < 30; ++i) CHECK(svd.singular_values(i) >= svd.singular_values(i + 1));
  CHECK(departure(svd.U) < 1e-14);
  CHECK(departure(svd.V) < 1e-14);
}

TEMPLATE_TEST_CASE("NaN and infinity are refused with their place", "", float, double) {
  using S = TestType;
  Matrix<S> M = Matrix<S>::Ones(3, 4);
  M(1, 2) = std::numeric_limits<S>::quiet_NaN();
  CHECK_ERROR(linalg::small_svd<S>(M), ErrorId::not_finite, "linalg::small_svd: M holds nan at row 1, column 2");
  M(1, 2) = std::numeric_limits<S>::infinity();
  CHECK_ERROR(linalg::small_svd<S>(M), ErrorId::not_finite, "M holds inf at row 1, column 2");
}
