#include "lorasb/adapter/data_free.hpp"

#include <Eigen/SVD>

#include "support.hpp"

using namespace lorasb;

TEMPLATE_TEST_CASE("bases without data are orthonormal and start at the weight itself", "", float, double) {
  using S = TestType;
  const Weight<S> W0 = test::random_matrix<Weight<S>>(12, 9, 3);
  for (const LowRankAdapter<S>& adapter : {bases_of_weight<S>(W0, 4), random_bases<S>(12, 9, 4, 7)}) {
    adapter.validate_shapes();
    CHECK(adapter.R.isZero(0));
    CHECK((adapter.B.transpose() * adapter.B).isIdentity(test::Tolerance<S>::exact * 10));
    CHECK((adapter.A * adapter.A.transpose()).isIdentity(test::Tolerance<S>::exact * 10));
  }
  // those of the weight hold its largest part
  const LowRankAdapter<S> xs = bases_of_weight<S>(W0, 4);
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(W0.template cast<double>());
  const double energy = (xs.B.transpose() * W0 * xs.A.transpose()).template cast<double>().norm();
  CHECK(energy == Approx(svd.singularValues().head(4).norm()).epsilon(1e-3));
  CHECK((random_bases<S>(12, 9, 4, 7).B - random_bases<S>(12, 9, 4, 8).B).norm() > 0.1);
  CHECK_ERROR(random_bases<S>(12, 9, 10, 1), ErrorId::rank, "rank is 10");
}

TEST_CASE("bases of a model are those of its modules, each with a seed of its own") {
  const Weight<float> W = test::random_matrix<Weight<float>>(12, 9, 3);
  const std::vector<Module<float>> modules{{"a", W}, {"b", W}};
  const AdapterSet<float> of_weights = bases_of_weights(modules, 4, 7), random = random_bases(modules, 4, 7);
  CHECK(of_weights.at("b").B == bases_of_weight<float>(W, 4, derive_seed(7, 1)).B);
  CHECK(random.at("a").A == random_bases<float>(12, 9, 4, derive_seed(7, 0)).A);
  CHECK(random.at("b").A == random_bases<float>(12, 9, 4, derive_seed(7, 1)).A);
  CHECK(random.at("a").A != random.at("b").A);
}
