// What a step on R means in weight space (arXiv 2411.19557, section 3.1 and theorem 3).
#include <Eigen/Cholesky>

#include "lorasb/adapter/adapted_linear.hpp"
#include "adapter/random_adapter.hpp"

using namespace lorasb;
using namespace lorasb::test;

namespace {

constexpr Index outputs = 12;
constexpr Index inputs = 9;
constexpr Index core_rank = 3;

/// The gradient of R as the layer computes it, and the gradient g = dY Xᵀ of the full weight, for one random batch.
template <Real S>
struct Gradients {
  Eigen::MatrixXd dR;
  Eigen::MatrixXd g;

  explicit Gradients(const LowRankAdapter<S>& adapter) {
    const Weight<S> W0 = random_matrix<Weight<S>>(outputs, inputs, 1);
    const Matrix<S> X = random_matrix<Matrix<S>>(inputs, 20, 2);
    const Matrix<S> dY = random_matrix<Matrix<S>>(outputs, 20, 3);
    const AdaptedLinear<S> layer(W0, adapter);
    LinearCache<S> cache;
    Matrix<S> Y(outputs, 20);
    Weight<S> core_gradient = Weight<S>::Zero(core_rank, core_rank);
    const ForwardPass<S> pass = layer.forward(X, Y, cache);
    layer.backward(pass, dY, cache, core_gradient, not_wanted);
    dR = core_gradient.template cast<double>();
    g = dY.template cast<double>() * X.template cast<double>().transpose();
  }
};

/// B (BᵀB)⁻¹ Bᵀ g Aᵀ (A Aᵀ)⁻¹ A
template <Real S>
Eigen::MatrixXd projected(const LowRankAdapter<S>& adapter, const Eigen::MatrixXd& g) {
  const Eigen::MatrixXd B = adapter.B.template cast<double>();
  const Eigen::MatrixXd A = adapter.A.template cast<double>();
  return B * (B.transpose() * B).llt().solve(B.transpose() * g * A.transpose()) * (A * A.transpose()).llt().solve(A);
}

}  // namespace

TEMPLATE_TEST_CASE("with orthonormal factors and s = 1 an SGD step on R is the projection of the full SGD step", "", float,
                   double) {
  using S = TestType;
  LowRankAdapter<S> adapter = random_adapter<S>(outputs, inputs, core_rank, 4);
  const Gradients<S> gradients(adapter);
  const double rate = 0.3;
  const Eigen::MatrixXd before = delta(adapter);
  adapter.R -= (rate * gradients.dR).template cast<S>();
  CHECK(relative_error(delta(adapter) - before, -rate * projected(adapter, gradients.g)) < Tolerance<S>::chain);
}

TEMPLATE_TEST_CASE("for any scale and any factors of full rank the corrected gradient takes that same step", "", float,
                   double) {
  using S = TestType;
  for (const double scale : {1.0, 0.25, -3.0}) {
    LowRankAdapter<S> adapter = random_adapter<S>(outputs, inputs, core_rank, 5, scale, false);
    const Gradients<S> gradients(adapter);
    const Eigen::MatrixXd B = adapter.B.template cast<double>();
    const Eigen::MatrixXd A = adapter.A.template cast<double>();
    // (1 / s²) (BᵀB)⁻¹ dR (A Aᵀ)⁻¹
    const Eigen::MatrixXd half = (B.transpose() * B).llt().solve(gradients.dR);
    const Eigen::MatrixXd corrected = (A * A.transpose()).llt().solve(half.transpose()).transpose() / (scale * scale);
    CHECK(relative_error(scale * B * corrected * A, projected(adapter, gradients.g)) < Tolerance<S>::chain);
  }
}

TEST_CASE("nothing of the form s B M A is closer to the full gradient than the projection") {
  const LowRankAdapter<double> adapter = random_adapter<double>(outputs, inputs, core_rank, 6);
  const Gradients<double> gradients(adapter);
  const double distance = (adapter.B * gradients.dR * adapter.A - gradients.g).norm();
  for (std::uint64_t trial = 0; trial < 50; ++trial) {
    const Eigen::MatrixXd other = gradients.dR + 0.1 * random_matrix<Eigen::MatrixXd>(core_rank, core_rank, 100, trial);
    CHECK((adapter.B * other * adapter.A - gradients.g).norm() > distance);
  }
}
