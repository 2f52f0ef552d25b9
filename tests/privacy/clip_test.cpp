#include "lorasb/privacy/clip.hpp"

#include "support.hpp"

using namespace lorasb;
using lorasb::privacy::add_clipped_columns;

TEMPLATE_TEST_CASE("columns are clipped one by one and added; one that is not finite adds nothing", "", float, double) {
  using S = TestType;
  Matrix<S> memory = test::random_matrix<Matrix<S>>(7, 4, 1);
  memory.col(0) *= S(100);
  memory.col(1) *= S(1e-3);
  memory(2, 3) = std::numeric_limits<S>::quiet_NaN();
  const auto G = memory.topRows(5);  // columns with gaps
  Vector<S> sum = Vector<S>::Ones(5);
  std::vector<double> norms(4);
  add_clipped_columns<S>(G, 0.5, flat(sum), norms);
  const Eigen::VectorXd first = G.col(0).template cast<double>(), second = G.col(1).template cast<double>(),
                        third = G.col(2).template cast<double>();
  const Eigen::VectorXd expected =
      Eigen::VectorXd::Ones(5) + first * (0.5 / first.norm()) + second + third * std::min(1.0, 0.5 / third.norm());
  CHECK(test::relative_error(sum, expected) < test::Tolerance<S>::exact);
  CHECK(norms[0] == Approx(first.norm()).epsilon(1e-6));
  CHECK(norms[1] == Approx(second.norm()).epsilon(1e-6));
  CHECK(std::isnan(norms[3]));
  CHECK_ERROR(add_clipped_columns<S>(G, 0, flat(sum), norms), ErrorId::value, "max_norm is 0");
  norms.pop_back();
  CHECK_ERROR(add_clipped_columns<S>(G, 1, flat(sum), norms), ErrorId::shape, "norms has 3 numbers");
}
