#include "lorasb/linalg/inner_products.hpp"

#include "support.hpp"

using namespace lorasb;

TEMPLATE_TEST_CASE("inner products are Lᵀ M, whatever the sizes leave of a tile", "", float, double) {
  using S = TestType;
  const auto [m, p, q] = GENERATE(table<Index, Index, Index>(
      {{1, 1, 1}, {3, 4, 4}, {16, 5, 3}, {128, 1, 9}, {129, 7, 5}, {300, 12, 13}, {7, 2, 0}, {0, 3, 2}}));
  CAPTURE(m, p, q);
  const Matrix<S> L = test::random_matrix<Matrix<S>>(m, p, 1), M = test::random_matrix<Matrix<S>>(m, q, 2);
  Matrix<double> C = Matrix<double>::Constant(p, q, 7);  // overwritten
  linalg::inner_products<S>(L, M, C);
  for (Index i = 0; i < p; ++i)
    for (Index j = 0; j < q; ++j) {
      double expected = 0;
      for (Index k = 0; k < m; ++k) expected += double(L(k, i)) * double(M(k, j));
      CHECK(C(i, j) == Approx(expected).epsilon(0).margin(1e-14 * double(m)));
    }
}

TEST_CASE("inner products of views write where they are told and nowhere else") {
  const Matrix<float> L = test::random_matrix<Matrix<float>>(40, 9, 3);
  Matrix<double> whole(9, 9);
  linalg::inner_products<float>(L, L, whole);
  Matrix<double> C = Matrix<double>::Constant(9, 9, 7);
  linalg::inner_products<float>(L.middleCols(2, 3), L.leftCols(5), C.block(4, 1, 3, 5));
  CHECK(C.block(4, 1, 3, 5).isApprox(whole.block(2, 0, 3, 5), 1e-14));
  C.block(4, 1, 3, 5).setConstant(7);
  CHECK((C.array() == 7).all());
}

TEST_CASE("the lower triangle of inner products is the same alone") {
  const Matrix<float> L = test::random_matrix<Matrix<float>>(140, 10, 4);
  Matrix<double> whole(10, 10), lower = Matrix<double>::Zero(10, 10);
  linalg::inner_products<float>(L, L, whole);
  linalg::inner_products<float>(L, L, lower, true);
  for (Index j = 0; j < 10; ++j)
    for (Index i = j; i < 10; ++i) CHECK(lower(i, j) == whole(i, j));
}

TEST_CASE("a squared length of floats is summed in double") {
  Matrix<float> v = Matrix<float>::Constant(100'000, 1, 0.1f);
  v(0, 0) = 4096;  // beside its square, single precision loses a third of each 0.01
  Matrix<double> C(1, 1);
  linalg::inner_products<float>(v, v, C);
  CHECK(C(0, 0) == Approx(4096.0 * 4096 + 99'999 * double(0.1f) * double(0.1f)).epsilon(1e-13));
}

TEST_CASE("inner products name the argument of the wrong size") {
  const Matrix<float> L(4, 2), M(5, 3);
  Matrix<double> C(2, 3);
  CHECK_ERROR(linalg::inner_products<float>(L, M, C), ErrorId::shape, "M is 5 x 3, expected 4 rows (rows of L)");
  CHECK_ERROR(linalg::inner_products<float>(L, L, C), ErrorId::shape, "C is 2 x 3, expected 2 x 2");
}
