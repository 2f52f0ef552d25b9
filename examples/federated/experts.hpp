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
  AdapterBases<float> bases;
  NamedSet<Weight<float>> cores;
  for (auto& [module, a] : start.adapters) {
    bases.add(module, {.B = std::move(a.B), .A = std::move(a.A), .scale = a.scale});
    cores.add(module, std::move(a.R));
  }
  start.adapters = {};
  mixer::ExpertBank<float> bank(std::move(bases));
  for (Index e = 0; e < options.experts; ++e) bank.add_cores(concat("expert-", e + 1), cores);
  auto mixed = std::make_unique<FederatedMixture>(FederatedMixture{
      .mixture = mixer::make_mixture(std::move(bank), mixer::RouterInput::projection, {}, 0.01, options.seed),
      .routing = {.mode = mixer::RoutingMode::top_k, .k = std::min(options.top_k, options.experts)}});

  ParameterLayout layout;
  mixer::append_mixture(task.base.modules, mixed->mixture, layout);
  for (const mixer::Expert<float>& expert : mixed->mixture.bank.experts())
    for (const auto& [module, core] : expert.adapters)
      mixed->cores.push_back({.expert = &expert - mixed->mixture.bank.experts().data(),
                              .module = module,
                              .range = layout.at(mixer::expert_module(module, expert.name), Role::core).range()});
  for (const ParameterLayout::Tensor& t : start.head.layout().tensors()) layout.add(t.module, t.role, t.rows, t.cols);
  Parameters<float> values(layout);
  mixer::take_mixture(mixed->mixture, values);
  for (const ParameterLayout::Tensor& t : start.head.layout().tensors())
    std::ranges::copy(std::as_const(start.head).flat(t.name), values.flat(t.name).begin());
  start.head = std::move(values);
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
