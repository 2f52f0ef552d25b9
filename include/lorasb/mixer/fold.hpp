// A mixture whose router is constant is one adapter.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/mixer/mixture.hpp"

namespace lorasb::mixer {
namespace detail {

/// The gates that every token of a module gets. Throws ErrorId::value where they depend on the token.
template <Real S>
std::vector<double> constant_gates(const Weight<S>& G, const RoutingOptions& options, const std::string& module) {
  options.validate(G.rows());
  std::vector<double> gates(static_cast<std::size_t>(G.rows()), 0.0);
  bool constant = G.rows() == 1;
  if (*options.mode != RoutingMode::hard) {
    constant = true;  // equal logits: the softmax is 1 / E whatever x is
    for (Index e = 1; e < G.rows(); ++e) constant = constant && G.row(e) == G.row(0);
  }
  require(constant, ErrorId::value, "fold_mixture: the router of ", in_quotes(module),
          " depends on the token, so the mixture is no single adapter");
  LinearCache<double> cache;
  Routing<double> routing(cache);
  routing.probabilities().reshape(G.rows(), 1).setConstant(1 / double(G.rows()));
  RoutingOptions soft = options;
  if (*options.mode == RoutingMode::hard) soft.mode = RoutingMode::soft;  // of one expert
  routing.by_probability(soft, {});
  for (Index e = 0; e < G.rows(); ++e)
    if (routing.count(e) > 0) gates[static_cast<std::size_t>(e)] = routing.gates()(0, routing.first(e));
  return gates;
}

}  // namespace detail

/// Plain LoRA adapters with the same map as a whole mixture (with_values) whose routers are constant: one expert, or a router
/// with equal rows. Cores become Σ g_e R_e over their basis and keep its rank; experts with bases of their own stand side by
/// side, [g_e s_e B_e R_e ...] [A_e; ...], with the sum of their ranks. Throws ErrorId::value for a router that depends on the
/// token, and ErrorId::rank where the sum of ranks is above min(out, in).
template <Real S>
NamedSet<LoraAdapter<S>> fold_mixture(const Mixture<S>& mixture, const RoutingOptions& options) {
  NamedSet<LoraAdapter<S>> folded;
  for (const ModuleShape& m : mixture.bank.modules()) {
    const auto [group, leads] = mixture.place_of(m.name);
    const std::string& routed = leads ? m.name : mixture.groups[static_cast<std::size_t>(group)].front();
    const std::vector<double> gates = detail::constant_gates(mixture.routers.at(routed), options, routed);
    if (mixture.bank.shares_bases()) {
      const AdapterBasis<S>& basis = mixture.bank.bases().at(m.name);
      Weight<S> R = Weight<S>::Zero(basis.rank(), basis.rank());
      for (std::size_t e = 0; e < gates.size(); ++e) R += S(gates[e]) * mixture.bank.experts()[e].adapters.at(m.name).R;
      folded.add(m.name, fold<S>(basis, R));
      continue;
    }
    Index rank = 0;
    for (std::size_t e = 0; e < gates.size(); ++e)
      if (gates[e] != 0) rank += mixture.bank.experts()[e].adapters.at(m.name).A.rows();
    require(rank <= std::min(m.out_features, m.in_features), ErrorId::rank, "fold_mixture: the experts of ", in_quotes(m.name),
            " have ranks that sum to ", rank, ", above min(out, in) = ", std::min(m.out_features, m.in_features));
    LoraAdapter<S> one{.B = Weight<S>(m.out_features, rank), .A = Weight<S>(rank, m.in_features), .scale = 1};
    Index place = 0;
    for (std::size_t e = 0; e < gates.size(); ++e) {
      if (gates[e] == 0) continue;
      const LowRankAdapter<S>& a = mixture.bank.experts()[e].adapters.at(m.name);
      const Weight<S> BR = a.R.size() > 0 ? fold(a).B : a.B;
      one.B.middleCols(place, BR.cols()) = S(gates[e]) * a.scale * BR;
      one.A.middleRows(place, BR.cols()) = a.A;
      place += BR.cols();
    }
    folded.add(m.name, std::move(one));
  }
  return folded;
}

}  // namespace lorasb::mixer
