// The linear router of a mixture: probabilities of the experts for every token, and their gradient.
#pragma once

#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lorasb/core/layer_gradient.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/mixer/routing.hpp"

namespace lorasb::mixer {

/// What the router reads: the projection's input x (in numbers), or A x (rank numbers) where all experts share A.
enum class RouterInput { projection, basis };
inline constexpr std::array<std::string_view, 2> router_input_names{"projection", "basis"};

/// p_t = softmax(G u_t / τ) for tokens t         G: experts x inputs, u: inputs x tokens (LoRA-Mixer, router)
///
/// Overwrites p and log p. A logit that is NaN or infinite throws ErrorId::not_finite with the layer's name and the token.
template <Real S>
void route(ConstWeightView<S> G, ConstMatrixView<S> U, double temperature, const Routing<S>& routing, const std::string& name) {
  MatrixView<S> p = routing.probabilities().reshape(G.rows(), U.cols());
  MatrixView<S> log_p = routing.log_probabilities().reshape(G.rows(), U.cols());
  linalg::multiply(G, U, log_p, S(1 / temperature));
  for (Index t = 0; t < p.cols(); ++t) {
    require(all_finite(log_p.data() + t * log_p.outerStride(), log_p.rows()), ErrorId::not_finite, "mixer: the router of ",
            in_quotes(name), " has a logit for token ", t, " that is NaN or infinite");
    const S largest = log_p.col(t).maxCoeff();
    log_p.col(t).array() -= largest;
    p.col(t).array() = log_p.col(t).array().exp();
    const S sum = p.col(t).sum();
    p.col(t) /= sum;
    log_p.col(t).array() -= std::log(sum);
  }
}

/// Adds to dz (experts x tokens) the gradient of the logits z from that of the gates, by the softmax:
///     g = p of the chosen, renormalised, or all p:    dz_e += g_e (dg_e − Σ_j g_j dg_j)    for the chosen e
///     g = p of the chosen:                            dz_e += p_e ([e chosen] dg_e − Σ_j p_j dg_j)    for every e
template <Real S>
void add_gate_gradient(const Routing<S>& routing, const RoutingOptions& options, Buffer<S>& means, MatrixView<S> dz) {
  const ConstMatrixView<S> g = routing.gates(), dg = routing.dgates();
  MatrixView<S> mean = means.reshape(1, dz.cols());
  mean.setZero();
  const auto for_each_entry = [&](const auto& visit) {
    for (Index e = 0; e < dz.rows(); ++e) {
      Index i = routing.first(e);
      for (const Index t : routing.tokens_of(e)) visit(e, t, g(0, i), dg(0, i)), ++i;
    }
  };
  for_each_entry([&](Index, Index t, S gate, S dgate) { mean(0, t) += gate * dgate; });
  const bool partial = *options.mode == RoutingMode::top_k && options.k < dz.rows() && !options.renormalise;
  if (partial) {
    const ConstMatrixView<S> p = std::as_const(routing.probabilities()).view();
    for (Index t = 0; t < dz.cols(); ++t) dz.col(t) -= mean(0, t) * p.col(t);
  }
  for_each_entry([&](Index e, Index t, S gate, S dgate) { dz(e, t) += gate * (partial ? dgate : dgate - mean(0, t)); });
}

}  // namespace lorasb::mixer
