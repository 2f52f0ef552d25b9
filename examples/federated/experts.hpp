// Sessions with --experts: a mixture of cores over shared bases, of which every expert federates with weights of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/federated/start.hpp"
#include "lorasb/federated/expert_aggregator.hpp"
#include "lorasb/mixer/mixture_folder.hpp"

namespace lorasb::examples {

/// What the start of a session becomes with experts: cores that all start alike and routers that start near 0, in the values that
/// are trained in full. Null without --experts. Afterwards `start.adapters` is empty and `start.head` holds all that is trained.
inline std::unique_ptr<FederatedMixture> start_mixture(const FederatedTask& task, const FederateOptions& options, SessionStart& start) {
  if (options.experts == 0) return nullptr;
  start_cores(options, start);
  std::vector<std::string> names;
  for (Index e = 0; e < options.experts; ++e) names.push_back(concat("expert-", e + 1));
  auto mixed = std::make_unique<FederatedMixture>(FederatedMixture{
      .mixture = mixer::make_mixture(mixer::make_cores(start.adapters, names), mixer::RouterInput::projection, {}, 0.01, options.seed),
      .routing = {.mode = mixer::RoutingMode::top_k, .k = std::min(options.top_k, options.experts)}});
  start.adapters = {};
  start.head = mixer::start_values(task.base.modules, mixed->mixture, start.head);
  for (Index e = 0; e < options.experts; ++e)
    for (const auto& [module, core] : mixed->mixture.bank.at(names[static_cast<std::size_t>(e)]).adapters)
      mixed->cores.push_back({.expert = e,
                              .module = module,
                              .range = start.head.layout().at(mixer::expert_module(module, names[static_cast<std::size_t>(e)]), Role::core).range()});
  return mixed;
}

/// mixture/ and head.safetensors, which lorasb-mix's readers know.
inline void write_mixed_model(const SharedModel& shared, const FederatedMixture& mixed, const FederateOptions& options) {
  mixer::write_mixture(options.out / "mixture", mixer::with_values(mixed.mixture, shared.values()), mixed.routing);
  std::vector<formats::NamedTensor<float>> head;
  for (const ParameterLayout::Tensor& t : shared.values().layout().tensors())
    if (is_head(t.role)) head.push_back(formats::named_tensor(shared.values(), t));
  formats::write_tensors(options.out / "head.safetensors", head);
}

}  // namespace lorasb::examples
