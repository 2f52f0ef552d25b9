#include "lorasb/onednn/backend.hpp"

#include <thread>

#include "lorasb/linalg/weight_product.hpp"
#include "support.hpp"

using namespace lorasb;

// main.cpp chooses the backend; the tests of tests/linalg and tests/adapter run again on it in this program.

TEST_CASE("float32 products are oneDNN's, double ones Eigen's") {
  CHECK(std::string_view(linalg::backend_name()) == "onednn");
  const Weight<double> W = test::random_matrix<Weight<double>>(40, 30, 1);
  const Matrix<double> X = test::random_matrix<Matrix<double>>(30, 20, 2);
  CHECK(test::relative_error(linalg::product(W, X), W * X) < test::Tolerance<double>::sum);
}

TEST_CASE("products of several threads at once are those of one thread, bit for bit") {
  const Weight<float> W = test::random_matrix<Weight<float>>(300, 200, 1);
  const Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> narrow = W.cast<Bfloat16>();
  const Matrix<float> X = test::random_matrix<Matrix<float>>(200, 77, 2);
  const auto both = [&] {
    Matrix<float> Y(600, 77);
    linalg::multiply(FrozenWeight<float>(W), X, Y.topRows(300));
    linalg::multiply(FrozenWeight<float>(narrow), X, Y.bottomRows(300));
    return Y;
  };
  const Matrix<float> alone = both();
  for (int round = 0; round < 20; ++round) {
    Matrix<float> one, two;
    std::thread first([&] { one = both(); }), second([&] { two = both(); });
    first.join();
    second.join();
    REQUIRE(one == alone);
    REQUIRE(two == alone);
  }
}

TEST_CASE("what the caller has set for OpenMP is set again after a product") {
  if (omp_set_num_threads == nullptr) return;
  omp_set_num_threads(3);
  (void)linalg::product(test::random_matrix<Weight<float>>(50, 50, 1), test::random_matrix<Matrix<float>>(50, 50, 2));
  CHECK(omp_get_max_threads() == 3);
}

TEST_CASE("a product that oneDNN refuses throws with its status and the sizes") {
  const float x = 0;
  float y = 0;
  linalg::Gemm<float> g{.rows = 200, .cols = 200, .depth = 30};
  g.left = g.right = &x;
  g.left_stride = g.right_stride = 1;  // less than a column
  g.result = &y;
  g.result_stride = 1;
  CHECK_ERROR(linalg::backend()->gemm(g), ErrorId::backend, "failed with status 2 for 200 x 30 by 30 x 200");
}
