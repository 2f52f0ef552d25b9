// Bases of a whole model from private examples: clipped and noised sums of the gradients at W0.
#pragma once

#include <cmath>
#include <vector>

#include "lorasb/adapter/clipped_gradient_sum.hpp"
#include "lorasb/privacy/ledger.hpp"
#include "lorasb/train/initialize_modules.hpp"

namespace lorasb::train {

/// One sum for each module, each clipped to clip / √modules: an example moves all of them together by at most `clip`.
template <Real S>
std::vector<ClippedGradientSum<S>> clipped_sums(const std::vector<Module<S>>& modules, double clip) {
  require(!modules.empty(), ErrorId::value, "clipped_sums: there is no module");
  std::vector<ClippedGradientSum<S>> sums;
  for (const Module<S>& m : modules)
    sums.emplace_back(m.W0.rows(), m.W0.cols(), clip / std::sqrt(double(modules.size())), m.name);
  return sums;
}

/// Goes over all examples and adds their clipped gradients. `pass` must run *one example at a time* through the layers that it is
/// given. Memory: out x in numbers for each module and part.
template <Real S>
std::vector<ClippedGradientSum<S>> clipped_sums(const std::vector<Module<S>>& modules, const PartedPass<S>& pass, double clip) {
  require(pass.parts >= 1 && pass.threads >= 1, ErrorId::value, "clipped_sums: parts is ", pass.parts, " and threads is ",
          pass.threads, ", expected at least 1");
  std::vector<std::vector<ClippedGradientSum<S>>> of_part(static_cast<std::size_t>(pass.parts), clipped_sums<S>(modules, clip));
  parallel_for(pass.parts, pass.threads, [&](Index part) {
    pass.run(observed_layers<S>(modules, 0, of_part[static_cast<std::size_t>(part)]), part);
  });
  for (std::size_t part = 1; part < of_part.size(); ++part)
    for (std::size_t m = 0; m < modules.size(); ++m) of_part[0][m].add(of_part[part][m]);
  return std::move(of_part[0]);
}

/// What the bases of private examples cost and are made with.
struct NoisedBasesOptions {
  double clip = 1;    // C: an example moves the sums of all modules together by at most that
  double noise = 10;  // σ over C: one mechanism over all examples, ε 0.43 at δ = 1e-5
  InitializeOptions adapter = {};
};

/// The same sums with noise of σ C on every number: the Gaussian mechanism, whose cost the caller enters in a ledger
/// (Ledger::charge_all) before the pass touches data.
template <Real S>
std::vector<ClippedGradientSum<S>> noised_sums(const std::vector<Module<S>>& modules, const PartedPass<S>& pass,
                                               const NoisedBasesOptions& options, privacy::NoiseSource& source) {
  std::vector<ClippedGradientSum<S>> sums = clipped_sums<S>(modules, pass, options.clip);
  for (ClippedGradientSum<S>& sum : sums) sum.add_noise(options.noise * options.clip, source);
  return sums;
}

/// Orthonormal bases of the sums' largest singular directions, with R = 0: whatever is done to noised sums costs nothing more.
/// Throws what initialize_from_update() does.
template <Real S>
AdapterSet<S> bases_of_sums(const std::vector<ClippedGradientSum<S>>& sums, const InitializeOptions& options) {
  AdapterSet<S> adapters;
  std::uint64_t position = 0;
  for (const ClippedGradientSum<S>& sum : sums) {
    InitializeOptions of_module = options;
    of_module.seed = derive_seed(options.seed, position++);
    LowRankAdapter<S> adapter = initialize_from_update<S>(sum.sum(), of_module, sum.name()).adapter;
    adapter.R.setZero();
    adapters.add(sum.name(), std::move(adapter));
  }
  return adapters;
}

/// Bases of private examples in one call: charges their cost, then goes over the examples, adds the noise and decomposes. The step
/// that trains over them has Origin::noised. Throws ErrorId::value where the budget has no room, before data is touched.
template <Real S>
AdapterSet<S> noised_bases(const std::vector<Module<S>>& modules, const PartedPass<S>& pass, const NoisedBasesOptions& options,
                           privacy::Ledger& ledger, privacy::NoiseSource& source) {
  ledger.charge_all(options.noise, source.is_private());
  return bases_of_sums(noised_sums(modules, pass, options, source), options.adapter);
}

}  // namespace lorasb::train
