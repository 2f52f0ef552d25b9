// Every key of PEFT's LoraConfig, and what it means for the factors of a folder: a closed list.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/ordered_json.hpp"

namespace lorasb::formats::detail {

enum class KeyUse {
  read,      // by read_peft_config
  harmless,  // at any value: says nothing of the factors
  inactive,  // only while it is null, false, empty or PEFT's default: otherwise it changes what the factors mean
};
struct KnownKey {
  std::string_view name;
  KeyUse use;
  std::string_view why;  // of `inactive`: what the key would do
};

/// As of PEFT 0.21; a key that is not here is taken as `inactive`.
inline constexpr std::array known_keys{
    KnownKey{"peft_type", KeyUse::read, ""},
    KnownKey{"r", KeyUse::read, ""},
    KnownKey{"lora_alpha", KeyUse::read, ""},
    KnownKey{"use_rslora", KeyUse::read, ""},
    KnownKey{"rank_pattern", KeyUse::read, ""},
    KnownKey{"alpha_pattern", KeyUse::read, ""},
    KnownKey{"target_modules", KeyUse::read, ""},
    KnownKey{"exclude_modules", KeyUse::read, ""},
    KnownKey{"layers_to_transform", KeyUse::read, ""},
    KnownKey{"layers_pattern", KeyUse::read, ""},
    KnownKey{"modules_to_save", KeyUse::read, ""},
    KnownKey{"base_model_name_or_path", KeyUse::read, ""},
    KnownKey{"fan_in_fan_out", KeyUse::read, ""},
    KnownKey{"init_lora_weights", KeyUse::read, ""},
    KnownKey{"lorasb", KeyUse::read, ""},
    KnownKey{"task_type", KeyUse::read, ""},
    KnownKey{"auto_mapping", KeyUse::read, ""},
    KnownKey{"peft_version", KeyUse::harmless, ""},
    KnownKey{"revision", KeyUse::harmless, ""},
    KnownKey{"inference_mode", KeyUse::harmless, ""},
    KnownKey{"lora_dropout", KeyUse::harmless, ""},
    KnownKey{"megatron_core", KeyUse::harmless, ""},      // read with megatron_config alone
    KnownKey{"qalora_group_size", KeyUse::harmless, ""},  // read with use_qalora alone
    KnownKey{"runtime_config", KeyUse::harmless, ""},
    KnownKey{"loftq_config", KeyUse::harmless, ""},  // this and the next three are read by init_lora_weights alone
    KnownKey{"eva_config", KeyUse::harmless, ""},
    KnownKey{"corda_config", KeyUse::harmless, ""},
    KnownKey{"lora_ga_config", KeyUse::harmless, ""},
    KnownKey{"bias", KeyUse::inactive, "biases are trained beside the factors"},
    KnownKey{"lora_bias", KeyUse::inactive, "lora_B has a bias"},
    KnownKey{"use_dora", KeyUse::inactive, "its magnitudes are not a low-rank update"},
    KnownKey{"use_qalora", KeyUse::inactive, "inputs are pooled before lora_A"},
    KnownKey{"use_bdlora", KeyUse::inactive, "the factors are block-diagonal"},
    KnownKey{"megatron_config", KeyUse::inactive, "the factors are split over devices"},
    KnownKey{"layer_replication", KeyUse::inactive, "layers of the model are repeated"},
    KnownKey{"target_parameters", KeyUse::inactive, "parameters that are no linear modules are adapted"},
    KnownKey{"trainable_token_indices", KeyUse::inactive, "rows of an embedding are trained"},
    KnownKey{"ensure_weight_tying", KeyUse::inactive, "modules with tied weights share their adapter"},
    KnownKey{"alora_invocation_tokens", KeyUse::inactive, "the adapter acts from certain tokens on"},
    KnownKey{"arrow_config", KeyUse::inactive, "several adapters are routed"},
    KnownKey{"velora_config", KeyUse::inactive, "it is not known here"},
    KnownKey{"monteclora_config", KeyUse::inactive, "the factors are drawn at random"},
    KnownKey{"kasa_config", KeyUse::inactive, "the base weights are changed"},
};

/// null, false, empty, or "none" (of bias).
inline bool is_inactive(const io::OrderedJson& value) {
  if (const std::string* const text = value.string()) return text->empty() || *text == "none";
  if (value.is_array() || value.is_object()) return value.items().empty();
  return value.is_null() || value.boolean() == false;
}

/// How training started is of no matter, unless it took the start off the base weights: then B A on the original ones is another
/// model. Source: PEFT, tuners/lora/layer.py.
inline void check_start(const io::OrderedJson& value, std::string_view where) {
  if (value.boolean().has_value() || value.is_null()) return;
  const std::string text = value.is_string() ? *value.string() : value.text();
  for (const std::string_view plain : {"gaussian", "orthogonal", "eva", "mica"})
    if (text == plain) return;
  const auto begins = [&](std::string_view kind) { return text.starts_with(kind); };
  const std::array changing{"pissa", "olora", "corda", "loftq", "lora_ga"};  // "pissa_niter_4" is one
  require(std::ranges::any_of(changing, begins), ErrorId::adapter_folder, where, ": init_lora_weights is ", in_quotes(text),
          ", which is not known, and may change the base weights");
  throw Error(ErrorId::adapter_folder,
              concat(where, ": init_lora_weights is ", in_quotes(text),
                     ", which changes the base weights, so the factors do not fit the original ones; save the adapter again with "
                     "PEFT's conversion to plain LoRA (save_pretrained with path_initial_model_for_weight_conversion)"));
}

/// Throws ErrorId::adapter_folder for a key that changes what the factors mean, or might.
inline void check_keys(const io::OrderedJson& json, std::string_view where) {
  for (std::size_t i = 0; i < json.keys().size(); ++i) {
    const std::string& name = json.keys()[i];
    const auto known = std::find_if(known_keys.begin(), known_keys.end(), [&](const KnownKey& k) { return k.name == name; });
    if (known != known_keys.end() && known->use != KeyUse::inactive) continue;
    if (is_inactive(json.items()[i])) continue;
    const std::string shown = without_controls(json.items()[i].text().substr(0, 200));
    throw Error(ErrorId::adapter_folder,
                known != known_keys.end()
                    ? concat(where, ": ", name, " is ", shown, ": ", known->why, ", which is not read here")
                    : concat(where, ": the key ", in_quotes(name), " is not known, and may change what the factors mean"));
  }
}

}  // namespace lorasb::formats::detail
