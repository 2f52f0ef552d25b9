// What a session has trained, as a trainer in one place has it.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "lorasb/federated/baselines/shared_model.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::federated {
namespace detail {

/// The weights that rounds have added to, W0 + added + B A, and the head.
template <Real S>
void tune_weights(const SharedModel<S>& shared, train::TunedModel<S>& model) {
  const std::vector<Module<S>> modules = shared.modules();
  ParameterLayout layout;
  for (const Module<S>& m : modules) layout.add(m.name, Role::weight, m.W0.rows(), m.W0.cols());
  layout.append(shared.values().layout(), [](const ParameterLayout::Tensor& t) { return is_head(t.role); });
  model.values = std::make_unique<Parameters<S>>(std::move(layout));
  copy_tensors(shared.values(), *model.values);
  for (const Module<S>& m : modules) {
    const ClientFactors<S> factors = shared.factors(m.name, shared.values().flat(), 1);
    WeightView<S> W = model.values->at(m.name, Role::weight);
    W = m.W0.widened();
    linalg::multiply(factors.B, factors.A, W, 1, 1);
    model.layers.push_back(std::make_unique<nn::Linear<S>>(W, nn::WeightGradient::full, m.name));
  }
}

}  // namespace detail

/// The global model as it is now, in a copy: for classify::write_trained(), for a classifier over its layers, or to train on.
///
///     method              becomes
///     fed-sb              Method::lora_sb
///     fedit, ffa-lora     Method::lora, Method::ffa_lora
///     fedex-lora, flora   Method::full, of the adapted weights and the head alone: rounds have changed these weights, which no
///                         adapter can say
///
/// `base` is all that is frozen. What it views must outlive the result, `shared` need not. Throws ErrorId::value for a session with
/// experts, whose model mixer::with_values() makes.
template <Real S>
train::TunedModel<S> tuned_model(const SharedModel<S>& shared, const FrozenModel<S>& base) {
  require(shared.session().experts == 0, ErrorId::value, "tuned_model: the session has ", shared.session().experts,
          " experts, expected none; mixer::with_values makes their mixture");
  train::TunedModel<S> model{.method = Method::lora, .bases = {}, .weights = base, .values = {}, .layers = {}};
  if (shared.adds_to_weights()) {
    model.method = Method::full;
    detail::tune_weights(shared, model);
    return model;
  }
  const std::vector<Module<S>> modules = shared.modules();
  model.values = std::make_unique<Parameters<S>>(shared.values());
  if (shared.method() == FederatedMethod::fed_sb) {
    model.method = Method::lora_sb;
    model.bases = shared.bases();
    model.layers = bind_cores<S>(modules, model.bases, *model.values);
  } else if (shared.method() == FederatedMethod::ffa_lora) {
    model.method = Method::ffa_lora;
    model.frozen = std::make_unique<Parameters<S>>(shared.frozen_A());
    model.layers = bind_lora<S>(modules, 1, *model.values, *model.frozen);
  } else {
    model.layers = bind_lora<S>(modules, 1, *model.values);
  }
  return model;
}

}  // namespace lorasb::federated
