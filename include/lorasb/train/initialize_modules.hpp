// LoRA-SB's initialisation of a whole model, within a budget of memory.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "lorasb/adapter/initialize.hpp"
#include "lorasb/adapter/initialize_sketch.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/adapter/observed_linear.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/core/parallel.hpp"
#include "lorasb/linalg/weight_product.hpp"
#include "lorasb/nn/linear.hpp"

namespace lorasb::train {

enum class EstimateKind {
  dense,   // the exact mean gradient: out x in numbers for each module of a group
  sketch,  // out k + l in numbers for each module, all in one pass; SGD's rule only, see GradientSketch
};

struct InitializeModulesOptions {
  InitializeOptions adapter;
  EstimateKind kind = EstimateKind::dense;
  std::size_t memory_bytes = std::size_t{1} << 30;  // for dense estimates: as many modules at a time as fit, at least one
  bool measure_start = true;  // one more pass, with the adapters on: the loss that training starts from

  /// Throws ErrorId::value.
  void validate() const {
    adapter.validate();
    require(kind == EstimateKind::dense || adapter.rule == FirstStep::sgd, ErrorId::value,
            "InitializeModulesOptions: a sketch can only give SGD's first step; the other rules are not linear in G");
  }
};

/// What the initialisation of one module found.
struct ModuleReport {
  std::string module;
  double captured_energy = 0;                 // exact for dense estimates
  double captured_energy_standard_error = 0;  // 0 for dense estimates
  bool flat_spectrum = false;                 // SketchStatus::flat_spectrum
  double largest_singular_value = 0;          // σ₁ of s B R A
  Index numerical_rank = 0;                   // InitializeReport::numerical_rank; the rank for sketches
};

template <Real S>
struct LORASB_OWNS_MEMORY InitializedModules {
  AdapterSet<S> adapters;
  std::vector<ModuleReport> reports;
  Index passes = 0;  // over the examples
  // The mean loss of an example before the start and with the adapters on, where the pass returns a loss; else NaN.
  double loss_before = std::numeric_limits<double>::quiet_NaN();
  double loss_after = std::numeric_limits<double>::quiet_NaN();

  /// Whether the start raised the loss by more than a tenth: η is then too large (InitializeOptions).
  bool raises_loss() const { return is_finite(loss_before) && (!is_finite(loss_after) || loss_after > 1.1 * loss_before); }
};

/// What a pass over the initialisation examples found: how many they are, and their summed loss, if it says so.
struct EstimationResult {
  EstimationResult(Index count = 0, double summed_loss = std::numeric_limits<double>::quiet_NaN())
      : examples(count), loss(summed_loss) {}
  Index examples;
  double loss;
};

/// Runs forward and backward over all initialisation examples, in batches of any size, with the given layers as the model's
/// modules, and returns how many examples these were, and their loss. dY must be the gradient of each batch's summed loss. The
/// layers train nothing (trainable() is 0) and are for one thread.
template <Real S>
using EstimationPass = std::function<EstimationResult(const Layers<S>& layers)>;

/// The same cut into parts that threads share: `run` goes over the examples of one part. Results depend on the parts, not on the
/// threads. Each part has estimates of its own.
template <Real S>
struct PartedPass {
  std::function<EstimationResult(const Layers<S>& layers, Index part)> run;
  Index parts = 1;
  int threads = 1;
};

namespace detail {

/// Consecutive modules whose dense estimates fit into the budget together, `copies` out x in matrices for each: the end of the
/// group that starts at `first`.
template <Real S>
std::size_t group_end(const std::vector<Module<S>>& modules, std::size_t first, std::size_t copies, std::size_t memory_bytes) {
  const auto bytes_of = [&](std::size_t m) { return copies * static_cast<std::size_t>(modules[m].W0.size()) * sizeof(S); };
  std::size_t end = first;
  std::size_t bytes = 0;
  do bytes += bytes_of(end++);
  while (end < modules.size() && bytes + bytes_of(end) <= memory_bytes);
  return end;
}

/// Y = (W0 + s B R A) X with nothing trained: a module as it starts. A pass need not have room for its gradient.
template <Real S>
class StartedLinear final : public LinearLayer<S> {
 public:
  StartedLinear(const Module<S>& module, const LowRankAdapter<S>& adapter)
      : LinearLayer<S>("StartedLinear", module.name, module.W0.rows(), module.W0.cols(), 0),
        W0_(module.W0), adapter_(adapter) {}

 private:
  void run_forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const override {
    MatrixView<S> Z = cache.buffer(0).reshape(adapter_.rank(), X.cols());
    MatrixView<S> RZ = cache.buffer(1).reshape(adapter_.rank(), X.cols());
    linalg::multiply(adapter_.A, X, Z);
    linalg::multiply(adapter_.R, Z, RZ, adapter_.scale);
    linalg::multiply(W0_, X, Y);
    linalg::multiply(adapter_.B, RZ, Y, 1, 1);
  }
  void run_backward(ConstMatrixView<S>, ConstMatrixView<S> dY, LinearCache<S>& cache, const LayerGradient<S>&,
                    const InputGradient<S>& dX) const override {
    if (!dX.wanted()) return;
    MatrixView<S> P = cache.buffer(0).reshape(adapter_.rank(), dY.cols());
    MatrixView<S> RtP = cache.buffer(1).reshape(adapter_.rank(), dY.cols());
    linalg::multiply(linalg::transposed(adapter_.B), dY, P, adapter_.scale);
    linalg::multiply(linalg::transposed(adapter_.R), P, RtP);
    linalg::multiply_transposed(W0_, dY, dX.view());
    linalg::multiply(linalg::transposed(adapter_.A), RtP, dX.view(), 1, 1);
  }

  FrozenWeight<S> W0_;
  const LowRankAdapter<S>& adapter_;
};

}  // namespace detail

/// Frozen layers everywhere, observed ones for the modules that have an estimate, starting at `first`; these must
/// outlive the layers.
template <Real S, class Estimate>
Layers<S> observed_layers(const std::vector<Module<S>>& modules, std::size_t first, std::vector<Estimate>& estimates) {
  Layers<S> layers;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    if (m < first || m >= first + estimates.size()) {
      layers.push_back(std::make_unique<nn::Linear<S>>(modules[m].W0));
      continue;
    }
    Estimate& estimate = estimates[m - first];
    layers.push_back(std::make_unique<ObservedLinear<S>>(
        modules[m].W0, [&](ConstMatrixView<S> dY, ConstMatrixView<S> X) { estimate.add_uncounted(dY, X); }));
  }
  return layers;
}

/// The modules as they start training: W0 + s B R A with nothing trained. Everything must outlive the layers.
template <Real S>
Layers<S> started_layers(const std::vector<Module<S>>& modules, const AdapterSet<S>& adapters) {
  Layers<S> layers;
  for (const Module<S>& m : modules) layers.push_back(std::make_unique<detail::StartedLinear<S>>(m, adapters.at(m.name)));
  return layers;
}

namespace detail {

inline ModuleReport report(const std::string& module, const InitializeReport& r) {
  return {module, r.captured_energy, 0, false, r.largest_singular_value, r.numerical_rank};
}
inline ModuleReport report(const std::string& module, const SketchReport& r) {
  return {module, r.captured_energy, r.captured_energy_standard_error, r.status == SketchStatus::flat_spectrum,
          r.largest_singular_value, 0};
}

/// Adds the adapter of a module, with an SVD whose seed is of its `position` among the modules.
template <Real S, class Estimate>
void initialize_module(const Estimate& estimate, const std::string& name, std::size_t position, InitializeOptions options,
                       InitializedModules<S>& result) {
  options.seed = derive_seed(options.seed, position);
  auto [adapter, found] = initialize(estimate, options);
  result.reports.push_back(report(name, found));
  if (result.reports.back().numerical_rank == 0) result.reports.back().numerical_rank = adapter.rank();
  result.adapters.add(name, std::move(adapter));
}

}  // namespace detail

/// Adapters from estimates that the caller has made, one for each module and named like it; the losses of the result are NaN.
/// Throws what initialize() throws.
template <Real S>
InitializedModules<S> initialize_modules(const std::vector<GradientEstimate<S>>& estimates, const InitializeOptions& options) {
  InitializedModules<S> result;
  for (std::size_t m = 0; m < estimates.size(); ++m)
    detail::initialize_module(estimates[m], estimates[m].name(), m, options, result);
  return result;
}

/// Estimates the first step of every module's weight and makes an adapter of each, one pass over the examples for each group
/// of modules, and one more to measure the start. Every module's SVD gets a seed of its own. Throws
/// ErrorId::no_examples for a pass over none, and what initialize() throws, with the module's name.
template <Real S>
InitializedModules<S> initialize_modules(const std::vector<Module<S>>& modules, const PartedPass<S>& pass,
                                         InitializeModulesOptions options) {
  options.validate();
  require(pass.parts >= 1 && pass.threads >= 1, ErrorId::value, "initialize_modules: parts is ", pass.parts, " and threads is ",
          pass.threads, ", expected at least 1");
  for (const Module<S>& m : modules)  // before the first pass, which may take long
    lorasb::detail::require_rank(options.adapter.rank, m.W0.rows(), m.W0.cols(), m.name);
  InitializedModules<S> result;
  const auto run_parts = [&](const auto& layers_of_part) {
    std::vector<EstimationResult> found(static_cast<std::size_t>(pass.parts));
    parallel_for(pass.parts, pass.threads,
                 [&](Index part) { found[static_cast<std::size_t>(part)] = pass.run(layers_of_part(part), part); });
    EstimationResult all(0, 0);
    for (const EstimationResult& one : found) {
      all.examples += one.examples;
      if (one.examples > 0) all.loss += one.loss;
    }
    require(all.examples >= 1, ErrorId::no_examples, "initialize_modules: the pass went over ", all.examples, " examples");
    ++result.passes;
    return all;
  };
  const auto run = [&](std::size_t first, std::size_t end, auto make_estimate) {
    using Estimates = std::vector<decltype(make_estimate(modules[first]))>;
    std::vector<Estimates> of_part(static_cast<std::size_t>(pass.parts));
    for (Estimates& estimates : of_part)
      for (std::size_t m = first; m < end; ++m) estimates.push_back(make_estimate(modules[m]));
    const EstimationResult found = run_parts([&](Index part) {
      return observed_layers<S>(modules, first, of_part[static_cast<std::size_t>(part)]);
    });
    if (first == 0) result.loss_before = found.loss / double(found.examples);
    for (std::size_t m = first; m < end; ++m) {
      auto& estimate = of_part[0][m - first];
      for (std::size_t part = 1; part < of_part.size(); ++part) estimate.add(of_part[part][m - first]);
      estimate.count(found.examples);
      detail::initialize_module(estimate, modules[m].name, m, options.adapter, result);
    }
  };
  if (options.kind == EstimateKind::sketch) {
    run(0, modules.size(), [&](const Module<S>& m) {
      return GradientSketch<S>(m.W0.rows(), m.W0.cols(), {.rank = options.adapter.rank, .seed = options.adapter.seed}, m.name);
    });
  } else {
    const bool moments = options.adapter.rule == FirstStep::moments;
    const std::size_t copies = static_cast<std::size_t>(pass.parts) * (moments ? 3 : 1);
    for (std::size_t first = 0; first < modules.size();) {
      const std::size_t end = detail::group_end(modules, first, copies, options.memory_bytes);
      run(first, end, [&](const Module<S>& m) {
        return GradientEstimate<S>(m.W0.rows(), m.W0.cols(), m.name,
                                   moments ? GradientMoments::first_and_second : GradientMoments::first);
      });
      first = end;
    }
  }
  if (options.measure_start && is_finite(result.loss_before)) {
    const EstimationResult found = run_parts([&](Index) { return started_layers<S>(modules, result.adapters); });
    result.loss_after = found.loss / double(found.examples);
  }
  return result;
}
template <Real S>
InitializedModules<S> initialize_modules(const std::vector<Module<S>>& modules, const EstimationPass<S>& pass,
                                         InitializeModulesOptions options) {
  return initialize_modules<S>(modules, PartedPass<S>{.run = [&](const Layers<S>& layers, Index) { return pass(layers); }}, options);
}

}  // namespace lorasb::train
