// Bases of LoRA-SB that no private text is needed for.
#pragma once

#include <vector>

#include "examples/common/private_options.hpp"
#include "examples/common/tuned_model.hpp"
#include "lorasb/adapter/data_free.hpp"

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

}  // namespace lorasb::examples
