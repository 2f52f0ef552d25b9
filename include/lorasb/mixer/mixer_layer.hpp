// A projection with several low-rank experts and a router, behind the contract of a linear layer.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/borrowed.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/linalg/weight_product.hpp"
#include "lorasb/mixer/balance_loss.hpp"
#include "lorasb/mixer/expert.hpp"
#include "lorasb/mixer/router.hpp"

namespace lorasb::mixer {

/// The router of a layer. Layers of one group (0, 1, ...) have one router, that of the layer which runs forward first: the
/// others follow its division of the tokens. They run on as many columns, and backward in the opposite order. Followers have no
/// G.
template <Real S>
struct RouterTensors {
  ConstWeightView<S> G = {nullptr, 0, 0};  // experts x inputs, out of x or A x
  RouterInput input = RouterInput::projection;
  bool trained = true;
  Index group = -1;  // -1: the layer's own
  bool leads = true;
};

/// y_t = W0 x_t + Σ_e g_te s_e B_e R_e A_e x_t    (plain LoRA: s_e B_e A_e), g_t by the router and the mode of routing
/// (LoRA-Mixer)
///
/// Only experts that are chosen work: tokens are grouped by expert, so that the cost grows with k and not with the number of
/// experts. Experts that share one basis (AdapterBasis) become h_t = Σ_e g_te s R_e A x_t and y_t = W0 x_t + B h_t: a token's
/// adapter is one core, R(x_t) = Σ_e g_te R_e. A batch whose tokens all take one expert with gate 1 has the bits of
/// AdaptedLinear or LoraLinear. Columns with the task -1 (padding) have W0 x alone and count in no sum.
///
/// The gradient is that of the trained experts, each R or B and then A, and then G's. The balance loss is the layer's auxiliary
/// loss. Everything that is viewed must outlive the layer, options of the loss too: they may be changed between steps.
template <Real S>
class MixerLayer final : public LinearLayer<S> {
 public:
  /// `loss_factor`: of the loss of this layer, 1 over the number of routers where it is averaged. Throws ErrorId::value, shape.
  MixerLayer(FrozenWeight<S> W0 LORASB_LIFETIMEBOUND, std::vector<ExpertTensors<S>> experts, RouterTensors<S> router,
             RoutingOptions routing, Borrowed<BalanceLossOptions> loss LORASB_LIFETIMEBOUND, double loss_factor = 1,
             std::string name = "layer")
      : LinearLayer<S>("MixerLayer", std::move(name), W0.rows(), W0.cols(), count_trained(experts, router)),
        W0_(W0),
        experts_(std::move(experts)),
        router_(router),
        routing_(routing),
        loss_(loss),
        loss_factor_(loss_factor) {
    check();
  }

  Index experts() const { return std::ssize(experts_); }
  bool wants_gradient() const override { return this->trainable() > 0 || (!router_.leads && router_.trained); }
  /// How the last forward pass with this cache divided its tokens.
  Routing<S> routing(LinearCache<S>& cache) const { return Routing<S>(routing_cache(cache)); }

  Index statistics_size() const override { return has_loss() ? BalanceSums<double>::size(experts()) : 0; }
  double auxiliary_loss(std::span<const double> statistics) const override {
    if (!has_loss()) return 0;
    double loss = router_.leads ? balance_loss(statistics, *loss_) : 0;
    if (BalanceSums<const double>(statistics).tokens() > 0) loss += loss_->preserve * distance_to_start();
    return loss_->multiplier * loss_factor_ * loss;
  }

 private:
  // Of the layer's own cache. The division of the tokens is in child(0), or in that of the pass;
  // child(1) is work space of the experts, whose own caches follow.
  enum Slot : std::size_t { z, h, p, q, dz, means };

  static Index count_trained(const std::vector<ExpertTensors<S>>& experts, const RouterTensors<S>& router) {
    Index count = router.leads && router.trained ? router.G.size() : 0;
    for (const ExpertTensors<S>& e : experts) count += e.trained ? e.size() : 0;
    return count;
  }
  void check() {
    routing_.validate(experts());
    loss_->validate(experts());
    shared_basis_ = true;
    for (std::size_t e = 0; e < experts_.size(); ++e) {
      const ExpertTensors<S>& expert = experts_[e];
      const std::string where = concat("MixerLayer: expert ", e, " of ", in_quotes(this->name()));
      const Index rank = expert.rank();
      require(rank >= 1, ErrorId::rank, where, ": rank is 0");
      require_shape(expert.B, this->out_features(), rank, where, "B", "out_features x rank");
      require_shape(expert.A, rank, this->in_features(), where, "A", "rank x in_features");
      if (expert.has_core()) require_shape(expert.R, rank, rank, where, "R", "rank x rank");
      require(is_finite(expert.scale) && expert.scale != 0, ErrorId::value, where, ": scale is ", expert.scale,
              ", expected finite and not 0");
      require(expert.start.empty() || std::ssize(expert.start) == expert.size(), ErrorId::shape, where, ": start has ",
              expert.start.size(), " numbers, expected ", expert.size());
      shared_basis_ = shared_basis_ && expert.shares_basis(experts_.front());
      protects_ = protects_ || (!expert.start.empty() && expert.trained);
    }
    if (!router_.leads) {
      require(router_.group >= 0, ErrorId::value, "MixerLayer: ", in_quotes(this->name()), " follows no group of layers");
      return;
    }
    const bool reads_basis = router_.input == RouterInput::basis;
    require(!reads_basis || shared_basis_, ErrorId::value, "MixerLayer: the router of ", in_quotes(this->name()),
            " reads A x, but its experts do not share one basis");
    require_shape(router_.G, experts(), reads_basis ? experts_.front().rank() : this->in_features(), "MixerLayer", "G",
                  "experts x inputs of the router of ", in_quotes(this->name()));
  }

  bool has_loss() const { return router_.leads ? loss_->wanted() : loss_->preserve != 0 && protects_; }
  bool loss_of_router() const { return loss_->balance != 0 || loss_->entropy != 0 || loss_->alignment != 0; }
  /// Whether the gates depend on the router's logits.
  bool gates_by_router() const {
    const bool one_of_them = *routing_.mode == RoutingMode::top_k && routing_.k == 1 && routing_.renormalise;  // its gate is 1
    return *routing_.mode != RoutingMode::hard && experts() > 1 && !one_of_them;
  }
  double distance_to_start() const {
    double sum = 0;
    for (const ExpertTensors<S>& e : experts_)
      if (e.trained && !e.start.empty())
        e.for_each_value([&](Index i, S x) {
          const double d = double(x) - double(e.start[static_cast<std::size_t>(i)]);
          sum += d * d;
        });
    return sum;
  }
  LinearCache<S>& routing_cache(LinearCache<S>& cache) const {
    if (router_.group < 0) return cache.child(0);
    require(cache.shared != nullptr, ErrorId::value, "MixerLayer: ", in_quotes(this->name()),
            " shares its router, but the model gives its layers no shared cache (LinearCache::shared)");
    return cache.shared->child(static_cast<std::size_t>(router_.group));
  }
  LinearCache<S>& expert_cache(LinearCache<S>& cache, std::size_t e) const { return cache.child(2 + e); }

  void divide(ConstMatrixView<S> U, LinearCache<S>& cache, Routing<S>& routing) const {
    const std::span<const Index> tasks = cache.tasks;
    require(tasks.empty() || std::ssize(tasks) == U.cols(), ErrorId::shape, "MixerLayer: ", tasks.size(), " task labels for ",
            U.cols(), " columns of ", in_quotes(this->name()));
    if (*routing_.mode == RoutingMode::hard) routing.by_label(experts(), U.cols(), tasks);
    if (loss_->alignment != 0)
      for (const Index task : tasks)
        require(task < experts(), ErrorId::value, "MixerLayer: a column of ", in_quotes(this->name()), " has task label ", task,
                ", expected -1 to ", experts() - 1);
    if (*routing_.mode != RoutingMode::hard || loss_of_router()) {
      route<S>(router_.G, U, routing_.temperature, routing, this->name());
    } else {
      routing.probabilities().reshape(0, 0);
    }
    if (*routing_.mode != RoutingMode::hard) routing.by_probability(routing_, tasks);
  }
  void write_statistics(Index columns, LinearCache<S>& cache, const Routing<S>& routing) const {
    cache.statistics.assign(static_cast<std::size_t>(statistics_size()), 0.0);
    if (!has_loss()) return;
    if (router_.leads && loss_of_router()) {
      add_balance_sums<S>(std::as_const(routing.probabilities()).view(), std::as_const(routing.log_probabilities()).view(),
                          cache.tasks, *loss_, cache.statistics);
    } else {
      BalanceSums<double>(cache.statistics).tokens() = counted(cache.tasks, 0, columns);
    }
  }
  /// Columns that are no padding.
  static double counted(std::span<const Index> tasks, Index first, Index count) {
    if (tasks.empty()) return double(count);
    double n = 0;
    for (const Index task : tasks.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count))) n += task >= 0;
    return n;
  }

  void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const override {
    Routing<S> routing(routing_cache(cache));
    MatrixView<S> Z = cache.buffer(z).reshape(shared_basis_ ? experts_.front().rank() : 0, X.cols());
    if (shared_basis_) linalg::multiply(experts_.front().A, X, Z);
    if (router_.leads) divide(router_.input == RouterInput::basis ? std::as_const(cache.buffer(z)).view() : X, cache, routing);
    require(routing.tokens() == X.cols() && routing.experts() == experts(), ErrorId::shape,
            "MixerLayer: ", in_quotes(this->name()), " has ", X.cols(), " columns and ", experts(),
            " experts, but the router that it follows divided ", routing.tokens(), " among ", routing.experts());
    write_statistics(X.cols(), cache, routing);
    linalg::multiply(W0_, X, Y);
    MatrixView<S> H = cache.buffer(h).reshape(Z.rows(), X.cols());  // s R(x) A x
    bool first = true;
    for (std::size_t e = 0; e < experts_.size(); ++e) {
      ExpertPass<S> pass(experts_[e], routing, Index(e), expert_cache(cache, e), cache.child(1));
      if (pass.count() == 0) continue;
      if (!shared_basis_) {
        pass.add_forward(X, Y);
        continue;
      }
      const bool overwrite = first && pass.count() == X.cols();
      if (first && !overwrite) H.setZero();
      pass.add_core_forward(std::as_const(cache.buffer(z)).view(), H, overwrite);
      first = false;
    }
    if (!first) linalg::multiply(experts_.front().B, H, Y, 1, 1);
  }

  void run_backward(ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache, const LayerGradient<S>& gradient,
                    const InputGradient<S>& dX) const override {
    if (!gradient.wanted() && !dX.wanted() && router_.group < 0) return;
    const Routing<S> routing(routing_cache(cache));
    const bool basis = shared_basis_ && X.cols() > 0;
    MatrixView<S> P = cache.buffer(p).reshape(basis ? experts_.front().rank() : 0, X.cols());  // s Bᵀ dY
    MatrixView<S> Q = cache.buffer(q).reshape(P.rows(), X.cols());                             // d(A x)
    if (basis) linalg::multiply(linalg::transposed(experts_.front().B), dY, P, experts_.front().scale);
    if (dX.wanted()) linalg::multiply_transposed(W0_, dY, dX.view());
    bool first = true;
    Index place = 0;
    for (std::size_t e = 0; e < experts_.size(); ++e) {
      ExpertPass<S> pass(experts_[e], routing, Index(e), expert_cache(cache, e), cache.child(1));
      if (pass.count() > 0 && !basis) pass.add_backward(X, dY, gradient, place, dX);
      if (pass.count() > 0 && basis) {
        const bool overwrite = first && pass.count() == X.cols();
        if (first && !overwrite) Q.setZero();
        pass.add_core_backward(std::as_const(cache.buffer(z)).view(), std::as_const(cache.buffer(p)).view(), gradient, place, Q,
                               overwrite);
        first = false;
      }
      add_preserving_gradient(experts_[e], cache, gradient, X.cols(), place);
      if (experts_[e].trained) place += experts_[e].size();
    }
    if (basis && first) Q.setZero();
    if (router_.leads) backward_router(X, cache, routing, gradient, place, Q, dX);
    if (dX.wanted() && basis) linalg::multiply(linalg::transposed(experts_.front().A), Q, dX.view(), 1, 1);
  }

  /// dG += dz uᵀ / τ,    du += Gᵀ dz / τ    with u = x or A x, whose gradient is Q.
  void backward_router(ConstMatrixView<S> X, LinearCache<S>& cache, const Routing<S>& routing, const LayerGradient<S>& gradient,
                       Index place, MatrixView<S> Q, const InputGradient<S>& dX) const {
    const bool wanted = (router_.trained && gradient.wanted()) || dX.wanted();
    const bool by_loss = loss_of_router() && experts() > 1;
    if (!wanted || !(gates_by_router() || by_loss)) return routing.dgates().setZero(), void();
    MatrixView<S> dlogits = cache.buffer(dz).reshape(experts(), X.cols());
    dlogits.setZero();
    if (gates_by_router()) add_gate_gradient(routing, routing_, cache.buffer(means), dlogits);
    if (by_loss)
      add_balance_gradient<S>(std::as_const(routing.probabilities()).view(), std::as_const(routing.log_probabilities()).view(),
                              cache.tasks, batch_statistics(cache), *loss_, loss_->multiplier * loss_factor_, dlogits);
    routing.dgates().setZero();
    const S per_temperature = S(1 / routing_.temperature);
    const ConstMatrixView<S> U = router_.input == RouterInput::basis ? std::as_const(cache.buffer(z)).view() : X;
    if (router_.trained)
      gradient.for_each(X.cols(), [&](Index from, Index n, std::span<S> to) {
        WeightView<S> dG(to.data() + place, router_.G.rows(), router_.G.cols());
        linalg::multiply(dlogits.middleCols(from, n), linalg::transposed(U.middleCols(from, n)), dG, per_temperature, 1);
      });
    if (!dX.wanted()) return;
    MatrixView<S> dU = router_.input == RouterInput::basis ? Q : dX.view();
    linalg::multiply(linalg::transposed(router_.G), dlogits, dU, per_temperature, 1);
  }

  static std::span<const double> batch_statistics(const LinearCache<S>& cache) {
    return cache.batch_statistics.empty() ? std::span<const double>(cache.statistics) : cache.batch_statistics;
  }
  /// 2 β (θ − θ⁰), of which a part of the batch adds its share of the tokens.
  void add_preserving_gradient(const ExpertTensors<S>& expert, const LinearCache<S>& cache, const LayerGradient<S>& gradient,
                               Index tokens, Index place) const {
    if (loss_->preserve == 0 || !expert.trained || expert.start.empty()) return;
    const double all = BalanceSums<const double>(batch_statistics(cache)).tokens();
    if (all == 0) return;
    gradient.for_each(tokens, [&](Index first, Index n, std::span<S> to) {
      const double factor = 2 * loss_->preserve * loss_->multiplier * loss_factor_ * counted(cache.tasks, first, n) / all;
      expert.for_each_value([&](Index i, S x) {
        to[static_cast<std::size_t>(place + i)] += S(factor * (double(x) - double(expert.start[static_cast<std::size_t>(i)])));
      });
    });
  }

  FrozenWeight<S> W0_;
  std::vector<ExpertTensors<S>> experts_;
  RouterTensors<S> router_;
  RoutingOptions routing_;
  Borrowed<BalanceLossOptions> loss_;
  double loss_factor_;
  bool shared_basis_ = false;  // all experts have one A and one B
  bool protects_ = false;
};

}  // namespace lorasb::mixer
