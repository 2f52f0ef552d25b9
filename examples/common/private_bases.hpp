// Bases of LoRA-SB for private training.
#pragma once

#include <vector>

#include "examples/common/private_options.hpp"
#include "examples/common/tuned_model.hpp"
#include "lorasb/adapter/data_free.hpp"

namespace lorasb::examples {

/// Adapters with R = 0 on the bases of the weights' SVD, or on random ones.
inline AdapterSet<float> data_free_adapters(const std::vector<Module<float>>& modules, PrivateBases kind, Index rank,
                                            std::uint64_t seed) {
  return kind == PrivateBases::random ? random_bases(modules, rank, seed) : bases_of_weights(modules, rank, seed);
}

}  // namespace lorasb::examples
