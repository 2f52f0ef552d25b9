#include "lorasb/adapter/lora/lora_xs.hpp"

#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEMPLATE_TEST_CASE("LoRA-XS takes its factors from the best rank-r part of W0", "", float, double) {
  using S = TestType;
  const Weight<S> W0 = random_matrix<Weight<S>>(24, 18, 1);
  const LowRankAdapter<S> adapter = initialize_lora_xs<S>(W0, {.rank = 5, .seed = 2});
  const double best = singular_values(W0.template cast<double>()).tail(13).norm();
  const Eigen::MatrixXd BA = adapter.B.template cast<double>() * adapter.A.template cast<double>();
  CHECK((BA - W0.template cast<double>()).norm() == Approx(best).epsilon(1e-3));  // the SVD is randomized, W0's spectrum flat
  CHECK((adapter.A * adapter.A.transpose()).isIdentity(Tolerance<S>::sum));
  CHECK(adapter.R.cwiseAbs().maxCoeff() < 5e-5);
  CHECK(adapter.R.cwiseAbs().maxCoeff() > 5e-6);
  CHECK(adapter.trainable() == 25);
  CHECK_ERROR(initialize_lora_xs<S>(W0, {.rank = 19}), ErrorId::rank, "19");
}
