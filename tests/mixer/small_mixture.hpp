// One projection with experts of every kind, small enough for central differences.
#pragma once

#include <vector>

#include "adapter/random_adapter.hpp"
#include "lorasb/adapter/lora/lora.hpp"
#include "lorasb/mixer/expert_bank.hpp"
#include "lorasb/mixer/mixer_layer.hpp"

namespace lorasb::test {

using mixer::ExpertKind;

template <Real S>
struct SmallMixture {
  static constexpr Index out = 9, in = 7, tokens = 12;
  ExpertKind kind;
  std::vector<LowRankAdapter<S>> adapters;  // R is not used by plain LoRA
  mixer::RouterTensors<S> router;
  mixer::RoutingOptions routing;
  mixer::BalanceLossOptions loss = {};
  Weight<S> W0 = random_matrix<Weight<S>>(out, in, 1);
  Weight<S> G;
  std::vector<Vector<S>> starts = {};  // of protected experts
  Matrix<S> X = random_matrix<Matrix<S>>(in, tokens, 3);
  Matrix<S> dY = random_matrix<Matrix<S>>(out, tokens, 4);
  std::vector<Index> tasks = {};
  LinearCache<S> cache = {};
  Matrix<S> Y = Matrix<S>(out, tokens);

  SmallMixture(ExpertKind of, Index experts, mixer::RoutingOptions options, bool reads_basis = false)
      : kind(of), routing(options) {
    for (Index e = 0; e < experts; ++e) {  // ranks 2, 3, 4, 2, ... where each has its own
      const Index rank = kind == ExpertKind::cores ? 3 : 2 + e % 3;
      adapters.push_back(
          random_adapter<S>(out, in, rank, 10 + std::uint64_t(e), kind == ExpertKind::cores ? 0.7 : 0.7 + 0.2 * double(e)));
    }
    G = random_matrix<Weight<S>>(experts, reads_basis ? adapters[0].rank() : in, 5);
    router.input = reads_basis ? mixer::RouterInput::basis : mixer::RouterInput::projection;
    for (Index t = 0; t < tokens; ++t) tasks.push_back(t * 7 % experts);
  }

  Index experts() const { return std::ssize(adapters); }
  mixer::ExpertTensors<S> expert(std::size_t e) const {
    const LowRankAdapter<S>& own = adapters[e];
    const LowRankAdapter<S>& basis = kind == ExpertKind::cores ? adapters[0] : own;
    mixer::ExpertTensors<S> tensors{basis.B, own.R, basis.A, basis.scale};
    if (kind == ExpertKind::lora) return {basis.B, {nullptr, 0, 0}, basis.A, basis.scale};
    return tensors;
  }
  mixer::MixerLayer<S> layer() const {
    std::vector<mixer::ExpertTensors<S>> all;
    for (std::size_t e = 0; e < adapters.size(); ++e) {
      mixer::ExpertTensors<S> one = expert(e);
      if (e < starts.size()) one.start = flat(starts[e]);
      all.push_back(one);
    }
    return {W0, std::move(all), {G, router.input, router.trained, router.group, router.leads}, routing, loss, 1, "q_proj"};
  }

  /// <dY, Y> + the auxiliary loss.
  double objective() {
    const mixer::MixerLayer<S> l = layer();
    cache.tasks = tasks;
    l.forward(X, Y, cache);
    return double(Y.cwiseProduct(dY).sum()) + l.auxiliary_loss(cache.statistics);
  }
  void gradients(Vector<S>& gradient, Matrix<S>& dX) {
    const mixer::MixerLayer<S> l = layer();
    gradient = Vector<S>::Zero(l.trainable());
    dX = Matrix<S>::Constant(in, tokens, std::numeric_limits<S>::quiet_NaN());
    cache.tasks = tasks;
    const ForwardPass<S> pass = l.forward(X, Y, cache);
    l.backward(pass, dY, cache, gradient, dX);
  }
  /// Every trained number, in the order of the gradient.
  std::vector<std::span<S>> values() {
    std::vector<std::span<S>> all;
    for (LowRankAdapter<S>& a : adapters) {
      if (kind == ExpertKind::lora) {
        all.push_back(flat(a.B));
        all.push_back(flat(a.A));
      } else {
        all.push_back(flat(a.R));
      }
    }
    all.push_back(flat(G));
    return all;
  }

  /// y = W0 x + Σ g s B R A x in double, with gates: experts x tokens.
  Eigen::MatrixXd expected(const Eigen::MatrixXd& gates) const {
    const Eigen::MatrixXd x = X.template cast<double>();
    Eigen::MatrixXd y = W0.template cast<double>() * x;
    for (std::size_t e = 0; e < adapters.size(); ++e) {
      const mixer::ExpertTensors<S> t = expert(e);
      Eigen::MatrixXd h = t.A.template cast<double>() * x;
      if (t.has_core()) h = (t.R.template cast<double>() * h).eval();
      y += double(t.scale) * t.B.template cast<double>() * h * gates.row(Index(e)).asDiagonal();
    }
    return y;
  }
  /// softmax(G u / τ)
  Eigen::MatrixXd expected_probabilities() const {
    const Eigen::MatrixXd x = X.template cast<double>();
    const Eigen::MatrixXd u = router.input == mixer::RouterInput::basis ? adapters[0].A.template cast<double>() * x : x;
    Eigen::MatrixXd p = (G.template cast<double>() * u / routing.temperature).array().exp();
    for (Index t = 0; t < p.cols(); ++t) p.col(t) /= p.col(t).sum();
    return p;
  }
};

}  // namespace lorasb::test
