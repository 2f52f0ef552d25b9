// The ways to fine-tune that are compared with each other.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <array>
#include <string_view>

namespace lorasb {

enum class Method {
  lora_sb,  // cores over bases from the estimate of the first step
  lora,     // B and A
  lora_xs,  // cores over bases from the weights
  full,     // every tensor of the model
  head,     // nothing but the head
  ffa_lora, // B alone, A stays as it was drawn (FFA-LoRA)
};

/// Entry i is the name of the method with the value i, on command lines and in reports.
inline constexpr std::array<std::string_view, 6> method_names{"lora-sb", "lora", "lora-xs", "full", "head", "ffa-lora"};
constexpr std::string_view name_of(Method method) { return method_names[static_cast<std::size_t>(method)]; }

}  // namespace lorasb
