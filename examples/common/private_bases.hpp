// Bases of LoRA-SB for private training.
#pragma once

#include <vector>

#include "examples/common/private_options.hpp"
#include "examples/common/tuned_model.hpp"
#include "lorasb/adapter/data_free.hpp"
#include "lorasb/train/noised_bases.hpp"

namespace lorasb::examples {

/// Adapters with R = 0 on the bases of the weights' SVD, or on random ones.
inline AdapterSet<float> data_free_adapters(const std::vector<Module<float>>& modules, PrivateBases kind, Index rank,
                                            std::uint64_t seed) {
  AdapterSet<float> adapters;
  std::uint64_t position = 0;
  for (const Module<float>& m : modules) {
    const std::uint64_t module_seed = derive_seed(seed, position++);
    adapters.add(m.name, kind == PrivateBases::random ? random_bases<float>(m.W0.rows(), m.W0.cols(), rank, module_seed)
                                                      : bases_of_weight<float>(m.W0.widened(), rank, module_seed));
  }
  return adapters;
}

/// Σ of the clipped full gradients of these texts at W0, with noise that --bases noised has charged.
inline std::vector<ClippedGradientSum<float>> noised_sums(const BaseModel& base, const Parameters<float>& head, const TokenizedTexts& texts,
                                                          std::span<const Index> order, const PrivateOptions& options, Index parts,
                                                          int threads, privacy::NoiseSource& noise) {
  std::vector<ClippedGradientSum<float>> sums = train::clipped_sums<float>(
      base.modules, estimation_pass(base, head, texts, order, parts, threads, 1), options.clip);
  for (ClippedGradientSum<float>& sum : sums) sum.add_noise(bases_noise * options.clip, noise);
  return sums;
}

}  // namespace lorasb::examples
