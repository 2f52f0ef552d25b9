#include "lorasb/federated/baselines/factors.hpp"

#include "lorasb/federated/baselines/fedex_lora.hpp"
#include "lorasb/federated/baselines/flora.hpp"

#include <limits>
#include <vector>

#include "lorasb/exact/mean.hpp"
#include "lorasb/linalg/product.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using namespace lorasb::test;

namespace {

template <Real S>
struct FactorClients {
  static constexpr Index out = 9, in = 7;
  std::vector<Weight<S>> B, A;
  std::vector<std::uint32_t> weights;

  /// Random factors, those of client k of rank ranks[k].
  FactorClients(const std::vector<Index>& ranks, std::vector<std::uint32_t> w) : weights(std::move(w)) {
    for (std::size_t k = 0; k < ranks.size(); ++k) {
      B.push_back(random_matrix<Weight<S>>(out, ranks[k], 1, k));
      A.push_back(random_matrix<Weight<S>>(ranks[k], in, 2, k));
    }
  }
  std::vector<ClientFactors<S>> views() const {
    std::vector<ClientFactors<S>> clients;
    for (std::size_t k = 0; k < B.size(); ++k) clients.push_back({.B = B[k], .A = A[k], .weight = weights[k]});
    return clients;
  }
  Weight<S> mean(const std::vector<Weight<S>>& matrices) const {
    ExactMean<S> sum(matrices[0].size());
    for (std::size_t k = 0; k < matrices.size(); ++k) sum.add(flat(matrices[k]), weights[k]);
    Weight<S> mean(matrices[0].rows(), matrices[0].cols());
    sum.mean(flat(mean));
    return mean;
  }
  LowRankDelta<S> residue() const { return fedex_residue<S>(views(), mean(B), mean(A)); }

  double share(std::size_t k) const {
    double total = 0;
    for (const std::uint32_t w : weights) total += w;
    return weights[k] / total;
  }
  /// Σ p_k B_k A_k, dense and in double.
  Eigen::MatrixXd mean_product() const {
    Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(out, in);
    for (std::size_t k = 0; k < B.size(); ++k) sum += share(k) * B[k].template cast<double>() * A[k].template cast<double>();
    return sum;
  }
};

template <Real S>
Eigen::MatrixXd product(const Weight<S>& B, const Weight<S>& A) {
  return B.template cast<double>() * A.template cast<double>();
}

const std::vector<std::vector<std::uint32_t>> weightings{
    {1}, {4294967295}, {1, 1}, {5, 300}, {1, 1, 1, 1, 1, 1, 1}, {20, 1, 7, 4294967295, 13, 0, 2000000000}};

}  // namespace

TEMPLATE_TEST_CASE("the product of the means and FedEx-LoRA's residue are the mean of the clients' products", "", float,
                   double) {
  using S = TestType;
  for (const std::vector<std::uint32_t>& weights : weightings) {
    const FactorClients<S> clients(std::vector<Index>(weights.size(), 3), weights);
    const LowRankDelta<S> residue = clients.residue();
    CAPTURE(weights);
    CHECK(residue.rank() == 3 * (Index(weights.size()) - 1));
    CHECK(residue.B.cols() == residue.rank());
    const Eigen::MatrixXd of_means = product(clients.mean(clients.B), clients.mean(clients.A));
    // three roundings: of the means, of differences, of p_k (A_k - A_j); sums of a few products of numbers near one
    CHECK(relative_error(of_means + product(residue.B, residue.A), clients.mean_product()) < Tolerance<S>::exact);
    if (weights.size() > 1) CHECK(relative_error(of_means, clients.mean_product()) > 0.01);  // what FedIT leaves
  }
}

TEMPLATE_TEST_CASE("FLoRA's stack is the mean of the clients' products, whatever their ranks", "", float, double) {
  using S = TestType;
  for (const std::vector<std::uint32_t>& weights : weightings) {
    std::vector<Index> ranks;
    Index sum = 0;
    for (std::size_t k = 0; k < weights.size(); ++k) sum += ranks.emplace_back(1 + (5 * Index(k)) % 4);
    const FactorClients<S> clients(ranks, weights);
    const LowRankDelta<S> stack = flora_stack<S>(clients.views());
    CAPTURE(weights);
    CHECK(stack.rank() == sum);
    CHECK(relative_error(product(stack.B, stack.A), clients.mean_product()) < Tolerance<S>::exact);
    CHECK(stack.B.leftCols(ranks[0]) == clients.B[0]);
    if (weights.size() == 1) CHECK(stack.A == clients.A[0]);
  }
}

TEMPLATE_TEST_CASE("what clients agree on leaves no residue", "", float, double) {
  using S = TestType;
  FactorClients<S> clients({2, 2, 2}, {3, 5, 11});
  const Weight<S> A = clients.A[0];
  clients.A = {A, A, A};  // as in FFA-LoRA, and after FedIT's first step from B = 0
  CHECK(clients.residue().A.isZero(0));
  const Weight<S> B = clients.B[0];
  clients = FactorClients<S>({2, 2, 2}, {3, 5, 11});
  clients.B = {B, B, B};
  CHECK(clients.residue().B.isZero(0));
}

TEMPLATE_TEST_CASE("one client of little weight that is far from the others costs the residue no accuracy", "", float, double) {
  using S = TestType;
  for (const std::size_t outlier : {0u, 1u, 2u, 3u}) {
    FactorClients<S> clients({2, 2, 2, 2}, {1000000, 1000000, 1000000, 1000000});
    clients.weights[outlier] = 1;
    clients.A[outlier] *= S(1e5);
    const Weight<S> mean_B = clients.mean(clients.B), mean_A = clients.mean(clients.A);
    const LowRankDelta<S> residue = clients.residue();
    // Were A_j the outlier's, every term would be 1e5 times as large, and so would be its rounding.
    const Eigen::MatrixXd sum = product(mean_B, mean_A) + product(residue.B, residue.A);
    CHECK(relative_error(sum, clients.mean_product()) < Tolerance<S>::exact);
  }
}

TEMPLATE_TEST_CASE("another order of the clients moves their parts of the residue and changes no bit of them", "", float,
                   double) {
  using S = TestType;
  const FactorClients<S> clients({2, 2, 2, 2}, {30, 7, 2, 19});
  std::vector<ClientFactors<S>> views = clients.views();
  const Weight<S> mean_B = clients.mean(clients.B), mean_A = clients.mean(clients.A);
  const LowRankDelta<S> residue = fedex_residue<S>(views, mean_B, mean_A);
  const std::vector<ClientFactors<S>> reversed(views.rbegin(), views.rend());
  const LowRankDelta<S> other = fedex_residue<S>(reversed, mean_B, mean_A);
  for (Index k = 0; k < 3; ++k) {
    CHECK(other.B.middleCols(2 * (2 - k), 2) == residue.B.middleCols(2 * k, 2));
    CHECK(other.A.middleRows(2 * (2 - k), 2) == residue.A.middleRows(2 * k, 2));
  }
}

TEMPLATE_TEST_CASE("deltas are added to a weight times s, and one of rank 0 leaves it as it was", "", float, double) {
  using S = TestType;
  const Weight<S> W0 = random_matrix<Weight<S>>(9, 7, 3);
  const FactorClients<S> clients({2, 2}, {3, 4}), one({2}, {3});
  const LowRankDelta<S> stack = flora_stack<S>(clients.views()), none = one.residue();
  Weight<S> W = W0;
  linalg::multiply(stack.B, stack.A, W, S(0.5), S(1));
  CHECK(relative_error(W, W0.template cast<double>() + 0.5 * clients.mean_product()) < Tolerance<S>::exact);
  W = W0;
  linalg::multiply(none.B, none.A, W, S(0.5), S(1));
  CHECK(W == W0);
}

TEST_CASE("factors are read where they lie, with gaps between lines") {
  const FactorClients<float> clients({2, 2, 2}, {3, 5, 11});
  const LowRankDelta<float> residue = clients.residue(), stack = flora_stack<float>(clients.views());
  std::vector<Weight<float>> wide;
  for (std::size_t k = 0; k < 3; ++k) {
    wide.push_back(Weight<float>::Constant(9, 12, NAN));
    wide.back().leftCols(2) = clients.B[k];
    wide.back().block(0, 3, 2, 7) = clients.A[k];
  }
  std::vector<ClientFactors<float>> views;
  for (std::size_t k = 0; k < 3; ++k)
    views.push_back({.B = wide[k].leftCols(2), .A = wide[k].block(0, 3, 2, 7), .weight = clients.weights[k]});
  const LowRankDelta<float> again = fedex_residue<float>(views, clients.mean(clients.B), clients.mean(clients.A));
  CHECK(again.B == residue.B);
  CHECK(again.A == residue.A);
  CHECK(flora_stack<float>(views).A == stack.A);
}

TEST_CASE("the residue is refused for means that are not those of the clients") {
  const FactorClients<float> clients({2, 2, 2}, {3, 5, 11});
  FactorClients<float> equal = clients;
  equal.weights = {1, 1, 1};
  const Weight<float> mean_B = clients.mean(clients.B), mean_A = clients.mean(clients.A);
  const auto views = clients.views();
  CHECK_NOTHROW(fedex_residue<float>(views, mean_B, mean_A));
  CHECK_ERROR(fedex_residue<float>(views, equal.mean(clients.B), mean_A), ErrorId::value,
              "from the weighted mean of these clients");
  CHECK_ERROR(fedex_residue<float>(views, mean_B, equal.mean(clients.A)), ErrorId::value, "mean_A is ");
  Weight<float> plain = Weight<float>::Zero(9, 2);  // a mean by plain sums will do
  for (std::size_t k = 0; k < 3; ++k) plain += float(clients.weights[k]) * clients.B[k];
  plain /= 19;
  CHECK_NOTHROW(fedex_residue<float>(views, plain, mean_A));
}

TEMPLATE_TEST_CASE("factors of zero, the smallest and the largest numbers have residues", "", float, double) {
  using S = TestType;
  FactorClients<S> clients({2, 2}, {1, 2});
  for (const S size : {S(0), std::numeric_limits<S>::denorm_min(), std::numeric_limits<S>::max() / 8}) {
    for (std::size_t k = 0; k < 2; ++k) clients.B[k] = Weight<S>::Constant(9, 2, k == 0 ? size : -3 * size);
    CHECK(clients.residue().B.isConstant(clients.residue().B(0, 0), 0));
  }
  for (std::size_t k = 0; k < 2; ++k) clients.B[k].setConstant((k == 0 ? 1 : -1) * std::numeric_limits<S>::max());
  CHECK_ERROR(clients.residue(), ErrorId::not_finite, "B of the residue holds ");
}

TEST_CASE("clients that do not go together are refused") {
  const std::vector<ClientFactors<float>> none;
  const Weight<float> any = Weight<float>::Zero(3, 2);
  CHECK_ERROR(flora_stack<float>(none), ErrorId::no_examples, "the total weight of 0 clients is 0");
  CHECK_ERROR(fedex_residue<float>(none, any, any), ErrorId::no_examples, "federated::fedex_residue: the total weight");
  CHECK_ERROR(flora_stack<float>(FactorClients<float>({2, 2}, {0, 0}).views()), ErrorId::no_examples, "of 2 clients is 0");

  const FactorClients<float> ranks({2, 3}, {1, 1});
  CHECK_ERROR(fedex_residue<float>(ranks.views(), ranks.B[0], ranks.A[0]), ErrorId::shape,
              "B is 9 x 3, expected 9 x 2 (that of mean_B, client 1)");
  FactorClients<float> shapes({2, 2}, {1, 1});
  shapes.B[1].resize(8, 2);
  CHECK_ERROR(flora_stack<float>(shapes.views()), ErrorId::shape, "B is 8 x 2, expected 9 x 2");
  shapes = FactorClients<float>({2, 2}, {1, 1});
  shapes.A[1].resize(2, 6);
  CHECK_ERROR(flora_stack<float>(shapes.views()), ErrorId::shape, "A is 2 x 6, expected 2 x 7 (rank x in, client 1)");
  shapes.A[1].resize(3, 7);
  CHECK_ERROR(flora_stack<float>(shapes.views()), ErrorId::shape, "B is 9 x 2, expected 9 x 3 (out x rows of A, client 1)");
  FactorClients<float> bad({2, 2}, {1, 1});
  bad.A[1](1, 4) = std::numeric_limits<float>::infinity();
  CHECK_ERROR(flora_stack<float>(bad.views()), ErrorId::not_finite, "A of client 1 holds inf at row 1, column 4");
  bad.B[0](2, 1) = NAN;
  CHECK_ERROR(fedex_residue<float>(bad.views(), bad.B[1], bad.A[0]), ErrorId::not_finite, "B of client 0 holds nan");
}
