// How a sampler draws its batches, as an accountant has to know.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <array>
#include <string_view>

namespace lorasb::privacy {

enum class SamplingScheme {
  poisson,   // every step takes every example by a draw of its own
  shuffled,  // every epoch takes every example once, in batches of fixed size; no ε of a Poisson sample holds for it
};
/// Entry i is the name of the value i.
inline constexpr std::array<std::string_view, 2> scheme_names{"poisson", "shuffled"};

}  // namespace lorasb::privacy
