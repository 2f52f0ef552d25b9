// K steps of full fine-tuning, or of a LoRA, whose update tells the bases of an adapter where training goes.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/initialize.hpp"
#include "lorasb/adapter/lora/bind.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sign_sgd.hpp"
#include "lorasb/train/initialize_modules.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::train {

enum class ScoutKind {
  full,  // the full weights by AdamW
  sign,  // the full weights by signs of the gradient: no moments
  lora,  // B and A of a LoRA on every module by AdamW
};
/// Entry i is the name of the kind with the value i.
inline constexpr std::array<std::string_view, 3> scout_names{"full", "sign", "lora"};

/// The highest rate that did best on WordNet's validation texts (docs/bases.md).
inline double scout_learning_rate(ScoutKind kind) {
  return kind == ScoutKind::lora ? 3e-3 : kind == ScoutKind::sign ? 3e-5 : 3e-4;
}

struct ScoutOptions {
  ScoutKind kind = ScoutKind::full;
  Index lora_rank = 32;    // of ScoutKind::lora
  std::uint64_t seed = 0;  // of its A
};

/// The closest adapter of each module to an update of its full weight: `update_of(name)` returns ΔW, out x in. Captured energies
/// are of ΔW, the losses of the result NaN. Throws ErrorId::zero_update with the module's name, rank and value.
template <Real S, class UpdateOf>
InitializedModules<S> initialize_from_updates(const std::vector<Module<S>>& modules, const UpdateOf& update_of,
                                              const InitializeOptions& options) {
  InitializedModules<S> result;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    InitializeOptions of_module = options;
    of_module.seed = derive_seed(options.seed, m);
    const Weight<S> update = update_of(modules[m].name);
    auto [adapter, report] = initialize_from_update<S>(update, of_module, modules[m].name);
    result.reports.push_back(detail::report(modules[m].name, report));
    result.adapters.add(modules[m].name, std::move(adapter));
  }
  return result;
}

/// The K-step estimate of LoRA-SB's bases, which goes beyond arXiv 2411.19557 (there K = 1). For K steps the scout trains ΔW of
/// every module in the place of an adapter, and the head; adapters() then truncates each ΔW to B, R, A. The caller takes the
/// steps, as with any other model:
///
///     Scout<float> scout(modules, head, {.kind = ScoutKind::full});
///     const auto optimizer = scout.make_optimizer();
///     for (Index t = 1; t <= K; ++t) {
///       step.run(examples, pass, scout.values().flat(), *optimizer, rate);   // `pass` goes through scout.layers()
///       scout.after_step();
///     }
///     InitializedModules<float> start = scout.adapters({.rank = 24});
///
/// ΔW is what is trained, in a buffer of its own that starts at 0: W_K - W0 in single precision would lose four digits at a small
/// rate. Weight decay is off, since it would pull ΔW, not W. Memory of full and sign in S: numbers() for ΔW, as many for W0 + ΔW,
/// and with AdamW twice as many; a Step adds its gradients.
template <Real S>
class LORASB_OWNS_MEMORY Scout {
 public:
  /// The values of `head` are copied. The modules' weights must outlive the scout. Throws ErrorId::rank for a LoRA below rank 1; one
  /// above min(out, in) of a module has that there.
  Scout(std::vector<Module<S>> modules, const Parameters<S>& head, const ScoutOptions& options = {})
      : modules_(std::move(modules)), options_(options) {
    require(options_.kind != ScoutKind::lora || options_.lora_rank >= 1, ErrorId::rank, "Scout: lora_rank is ", options_.lora_rank,
            ", expected at least 1");
    ParameterLayout layout, weights;
    for (const Module<S>& m : modules_) {
      numbers_ += m.W0.size();
      if (options_.kind == ScoutKind::lora) {
        append_lora(m.name, m.W0.rows(), m.W0.cols(), std::min({options_.lora_rank, m.W0.rows(), m.W0.cols()}), layout);
      } else {
        layout.add(m.name, Role::weight, m.W0.rows(), m.W0.cols());
        weights.add(m.name, Role::weight, m.W0.rows(), m.W0.cols());
      }
    }
    TunedModel<S> model;
    detail::start_values(model, head, std::move(layout));
    values_ = std::move(model.values);
    if (options_.kind == ScoutKind::lora) {
      std::uint64_t position = 0;
      for (const Module<S>& m : modules_) {
        WeightView<S> A = values_->at(m.name, Role::factor_A);
        const LoraAdapter<S> start = initialize_lora<S>(
            m.W0.rows(), m.W0.cols(),
            {.rank = A.rows(), .alpha = double(A.rows()), .seed = derive_seed(options_.seed, position++)});
        A = start.A;  // B stays 0, and s is 1
      }
      layers_ = bind_lora<S>(modules_, S(1), *values_);
    } else {
      weights_ = std::make_unique<Parameters<S>>(std::move(weights));
      for (const Module<S>& m : modules_)
        layers_.push_back(std::make_unique<nn::Linear<S>>(std::as_const(*weights_).at(m.name, Role::weight),
                                                          nn::WeightGradient::full, m.name));
      after_step();
    }
  }

  const ScoutOptions& options() const { return options_; }
  const Layers<S>& layers() const { return layers_; }
  /// ΔW of every module, or its B and A, and the head: what the optimizer moves.
  Parameters<S>& values() { return *values_; }
  const Parameters<S>& values() const { return *values_; }
  /// Numbers of all modules' weights together.
  Index numbers() const { return numbers_; }
  /// Bytes that the scout, its optimizer and a Step of `parts` parts hold until it is destroyed.
  std::size_t bytes(Index parts) const {
    const Index trained = values_->layout().size();
    const Index moments = options_.kind == ScoutKind::sign ? 0 : 2;
    const Index copies = options_.kind == ScoutKind::lora ? 0 : numbers_;
    return static_cast<std::size_t>(trained * (1 + moments + parts + 1) + copies) * sizeof(S);
  }

  std::unique_ptr<optim::Optimizer<S>> make_optimizer() const {
    const Index size = values_->layout().size();
    if (options_.kind == ScoutKind::sign) return std::make_unique<optim::SignSgd<S>>(size);
    return std::make_unique<optim::AdamW<S>>(size, optim::AdamWOptions{.weight_decay = 0});
  }

  /// To be called after every step: the layers then multiply by W0 + ΔW as it is now.
  void after_step() {
    if (!weights_) return;
    for (const Module<S>& m : modules_) {
      const std::span<S> W = weights_->flat(m.name, Role::weight);
      m.W0.widen(0, m.W0.rows(), W.data());
      const std::span<const S> delta = std::as_const(*values_).flat(m.name, Role::weight);
      std::transform(W.begin(), W.end(), delta.begin(), W.begin(), std::plus<>());
    }
  }

  /// ΔW of a module, out x in.
  Weight<S> update(const std::string& module) const {
    if (options_.kind != ScoutKind::lora) return std::as_const(*values_).at(module, Role::weight);
    const ConstWeightView<S> B = std::as_const(*values_).at(module, Role::factor_B), A = std::as_const(*values_).at(module, Role::factor_A);
    Weight<S> delta(B.rows(), A.cols());
    linalg::multiply(B, A, delta);
    return delta;
  }

  /// The closest adapter of every module, B R A ≈ ΔW: initialize_from_updates().
  InitializedModules<S> adapters(const InitializeOptions& options) const {
    return initialize_from_updates<S>(modules_, [this](const std::string& module) { return update(module); }, options);
  }

  /// The head as it is now, alone in a layout.
  Parameters<S> head() const {
    ParameterLayout layout;
    layout.append(values_->layout(), [](const ParameterLayout::Tensor& t) { return is_head(t.role); });
    Parameters<S> head(std::move(layout));
    copy_tensors(*values_, head);
    return head;
  }

 private:
  std::vector<Module<S>> modules_;
  ScoutOptions options_;
  Index numbers_ = 0;
  std::unique_ptr<Parameters<S>> values_;
  std::unique_ptr<Parameters<S>> weights_;  // W0 + ΔW; none with lora
  Layers<S> layers_;
};

}  // namespace lorasb::train
