// Experts and routers of a whole model: their trained numbers in a trainer's flat buffer, and the layers that read them there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/parameters.hpp"
#include "lorasb/mixer/expert_bank.hpp"
#include "lorasb/mixer/mixer_layer.hpp"
#include "lorasb/nn/linear.hpp"

namespace lorasb::mixer {

/// As a value it holds every number. While it is trained, take_mixture() has moved what is trained into the trainer's buffer:
///
///     ParameterLayout layout;
///     append_mixture(modules, mixture, layout);
///     Parameters<float> values(layout);
///     take_mixture(mixture, values);
///     const Layers<float> layers = bind_mixture(modules, mixture, values, routing, loss);
///     ...                                                     // train; the modules without experts are frozen layers
///     mixture = with_values(mixture, values);                 // whole again: to be saved, or for the next stage
template <Real S>
struct LORASB_OWNS_MEMORY Mixture {
  ExpertBank<S> bank;
  RouterInput input = RouterInput::projection;
  /// Modules that follow the router of the first of them, as LinearLayer groups; every other module has a router of its own.
  std::vector<std::vector<std::string>> groups = {};
  bool trains_router = true;
  NamedSet<Weight<S>> routers = {};  // G by module, experts x inputs
  NamedSet<Vector<S>> starts = {};   // of protected experts, by expert_module()

  /// The group of a module, -1 for none, and whether it is the first there.
  std::pair<Index, bool> place_of(const std::string& module) const {
    for (std::size_t g = 0; g < groups.size(); ++g)
      for (const std::string& name : groups[g])
        if (name == module) return {Index(g), name == groups[g].front()};
    return {-1, true};
  }
  /// Modules with a router of their own, or of a group.
  std::vector<std::string> routed_modules() const {
    std::vector<std::string> names;
    for (const ModuleShape& m : bank.modules())
      if (place_of(m.name).second) names.push_back(m.name);
    return names;
  }
};

/// A mixture with routers G of normal numbers with that deviation; with 0, every expert is as probable as the others. Throws
/// ErrorId::value for no experts, and for a group that names a module twice or one without experts.
template <Real S>
Mixture<S> make_mixture(ExpertBank<S> bank, RouterInput input, std::vector<std::vector<std::string>> groups = {},
                        double deviation = 0, std::uint64_t seed = 0) {
  require(bank.size() >= 1, ErrorId::value, "make_mixture: there are no experts");
  Mixture<S> mixture{.bank = std::move(bank), .input = input, .groups = std::move(groups)};
  std::vector<std::string> seen;
  for (const std::vector<std::string>& group : mixture.groups)
    for (const std::string& name : group) {
      require(mixture.bank.find_module(name) != nullptr, ErrorId::value, "make_mixture: a router's group names ",
              in_quotes(name), ", on which no expert sits");
      require(std::ranges::find(seen, name) == seen.end(), ErrorId::value, "make_mixture: module ", in_quotes(name),
              " is in the routers' groups twice");
      seen.push_back(name);
    }
  require(input == RouterInput::projection || mixture.bank.shares_bases(), ErrorId::value,
          "make_mixture: a router can read A x only where the experts share their bases");
  std::uint64_t position = 0;
  for (const std::string& module : mixture.routed_modules()) {
    const Index inputs =
        input == RouterInput::basis ? mixture.bank.bases().at(module).rank() : mixture.bank.find_module(module)->in_features;
    Weight<S>& G = mixture.routers.add(module, Weight<S>(mixture.bank.size(), inputs));
    Random random(derive_seed(seed, position++));
    for (S& g : flat(G)) g = deviation == 0 ? S(0) : S(deviation * random.normal());
  }
  return mixture;
}

namespace detail {

/// visit(tensor, role, matrix) for what an expert trains on a module; the matrix is the bank's own.
template <class Adapter, class Visit>
void for_each_trained(ExpertKind kind, Adapter& adapter, const Visit& visit) {
  if (kind != ExpertKind::lora) return visit(Role::core, adapter.R);
  visit(Role::factor_B, adapter.B);
  visit(Role::factor_A, adapter.A);
}

/// Throws unless every module of the mixture is one of the model's, of that shape, and there is one.
template <Real S>
void require_modules(const std::vector<Module<S>>& modules, const ExpertBank<S>& bank) {
  require(bank.size() >= 1, ErrorId::value, "mixer: there are no experts");
  for (const ModuleShape& m : bank.modules()) {
    const auto found = std::ranges::find(modules, m.name, &Module<S>::name);
    require(found != modules.end(), ErrorId::unknown_name, "mixer: experts sit on module ", in_quotes(m.name),
            ", but there is no such module in this model");
    require_shape(found->W0, m.out_features, m.in_features, "mixer", m.name, "the shape of the experts");
  }
}

}  // namespace detail

/// Appends what is trained, module by module in the order of the model: R, or B and A, of every expert that is not frozen, and
/// the router. Throws ErrorId::unknown_name, shape and value where mixture and model do not fit, and duplicate_name.
template <Real S>
void append_mixture(const std::vector<Module<S>>& modules, const Mixture<S>& mixture, ParameterLayout& layout) {
  detail::require_modules(modules, mixture.bank);
  for (const Module<S>& m : modules) {
    if (mixture.bank.find_module(m.name) == nullptr) continue;
    for (const Expert<S>& expert : mixture.bank.experts()) {
      if (expert.frozen) continue;
      detail::for_each_trained(expert.kind, expert.adapters.at(m.name), [&](Role role, const Weight<S>& w) {
        layout.add(expert_module(m.name, expert.name), role, w.rows(), w.cols());
      });
    }
    if (const Weight<S>* const G = mixture.routers.find(m.name); G != nullptr && mixture.trains_router)
      layout.add(m.name, Role::router, G->rows(), G->cols());
  }
}

/// Moves what is trained into `values`, its only place from here on; notes the start of protected experts.
template <Real S>
void take_mixture(Mixture<S>& mixture, Parameters<S>& values) {
  mixture.starts = {};
  for (Expert<S>& expert : mixture.bank.experts()) {
    if (expert.frozen) continue;
    for (auto& [module, adapter] : expert.adapters) {
      const std::string name = expert_module(module, expert.name);
      Vector<S> start(0);
      detail::for_each_trained(expert.kind, adapter, [&](Role role, Weight<S>& w) {
        values.at(name, role) = w;
        start.conservativeResize(start.size() + w.size());
        start.tail(w.size()) = as_vector(std::span<const S>(flat(w)));
        w.resize(0, 0);
      });
      if (expert.kept_near_start) mixture.starts.add(name, std::move(start));
    }
  }
  if (!mixture.trains_router) return;
  for (auto& [module, G] : mixture.routers) {
    values.at(module, Role::router) = G;
    G.resize(0, 0);
  }
}

/// A trainer's buffer with what the mixture trains, which moves there, and then the head, whose numbers are copied.
template <Real S>
Parameters<S> start_values(const std::vector<Module<S>>& modules, Mixture<S>& mixture, const Parameters<S>& head) {
  ParameterLayout layout;
  append_mixture(modules, mixture, layout);
  layout.append(head.layout());
  Parameters<S> values(std::move(layout));
  take_mixture(mixture, values);
  copy_tensors(head, values);
  return values;
}

/// The mixture with the numbers that `values` has now: whole.
template <Real S>
Mixture<S> with_values(const Mixture<S>& mixture, const Parameters<S>& values) {
  Mixture<S> whole = mixture;
  whole.starts = {};
  for (Expert<S>& expert : whole.bank.experts()) {
    if (expert.frozen) continue;
    for (auto& [module, adapter] : expert.adapters)
      detail::for_each_trained(expert.kind, adapter, [&, &name = module](Role role, Weight<S>& w) {
        w = values.at(expert_module(name, expert.name), role);
      });
  }
  if (mixture.trains_router)
    for (auto& [module, G] : whole.routers) G = values.at(module, Role::router);
  return whole;
}

/// A layer for each module: with experts where the mixture has them, frozen elsewhere. Everything must outlive the layers;
/// `values` may be empty where nothing is trained. Throws ErrorId::value, shape and unknown_name.
template <Real S>
Layers<S> bind_mixture(const std::vector<Module<S>>& modules, Borrowed<Mixture<std::type_identity_t<S>>> mixture,
                       Borrowed<Parameters<std::type_identity_t<S>>> values, const RoutingOptions& routing,
                       Borrowed<BalanceLossOptions> loss) {
  detail::require_modules(modules, mixture->bank);
  const ConstWeightView<S> none(nullptr, 0, 0);
  const double routers = double(mixture->routers.size());
  const double factor = loss->over_layers == OverLayers::mean ? 1 / routers : 1;
  Layers<S> layers;
  for (const Module<S>& m : modules) {
    if (mixture->bank.find_module(m.name) == nullptr) {
      layers.push_back(std::make_unique<nn::Linear<S>>(m.W0, nn::WeightGradient::none, m.name));
      continue;
    }
    std::vector<ExpertTensors<S>> experts;
    for (const Expert<S>& e : mixture->bank.experts()) {
      const LowRankAdapter<S>& a = e.adapters.at(m.name);
      const std::string name = expert_module(m.name, e.name);
      const bool lora = e.kind == ExpertKind::lora;
      const auto trained = [&](Role role, const Weight<S>& own) {
        return e.frozen ? ConstWeightView<S>(own) : values->at(name, role);
      };
      const Vector<S>* const start = mixture->starts.find(name);
      const AdapterBasis<S>* const basis = mixture->bank.bases().find(m.name);
      experts.push_back({.B = lora ? trained(Role::factor_B, a.B) : ConstWeightView<S>(basis != nullptr ? basis->B : a.B),
                         .R = lora ? none : trained(Role::core, a.R),
                         .A = lora ? trained(Role::factor_A, a.A) : ConstWeightView<S>(basis != nullptr ? basis->A : a.A),
                         .scale = basis != nullptr ? basis->scale : a.scale,
                         .trained = !e.frozen,
                         .start = start != nullptr ? flat(*start) : std::span<const S>()});
    }
    const auto [group, leads] = mixture->place_of(m.name);
    const ConstWeightView<S> G = !leads                   ? none
                                 : mixture->trains_router ? values->at(m.name, Role::router)
                                                          : ConstWeightView<S>(mixture->routers.at(m.name));
    layers.push_back(std::make_unique<MixerLayer<S>>(
        m.W0, std::move(experts),
        RouterTensors<S>{.G = G, .input = mixture->input, .trained = mixture->trains_router, .group = group, .leads = leads},
        routing, loss, factor, m.name));
  }
  return layers;
}

}  // namespace lorasb::mixer
