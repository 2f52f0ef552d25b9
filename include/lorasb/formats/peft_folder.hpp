// What an adapter folder holds, and under which names PEFT keeps it.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb::formats {

/// A tensor that is trained in full beside the adapters: the weight or bias of a head, under its name in the model
/// ("classifier.weight"). Row-major.
template <Real S>
struct NamedTensor {
  std::string name = {};
  std::vector<Index> shape = {};
  std::vector<S> values = {};
  bool operator==(const NamedTensor&) const = default;
};

/// A tensor of a trainer's buffer, copied, as full tensors are written: a bias has one dimension, as in PyTorch.
template <Real S>
NamedTensor<S> named_tensor(const Parameters<S>& values, const ParameterLayout::Tensor& t) {
  const std::span<const S> numbers = values.flat(t.name);
  return {.name = t.name,
          .shape = is_vector(t.role) ? std::vector<Index>{t.cols} : std::vector<Index>{t.rows, t.cols},
          .values = {numbers.begin(), numbers.end()}};
}

/// What of a folder was read, so that "loaded without effect" is seen.
struct PeftReadReport {
  struct Adapted {
    std::string module;
    Index rank = 0;
    double norm = 0;  // ‖s B R A‖, Frobenius: what is added to the weight
  };
  std::vector<Adapted> modules;
  // Entries of the configuration that no tensor of the file is of: target_modules, modules_to_save, keys of the patterns.
  std::vector<std::string> unmatched_targets, unmatched_saves, unmatched_patterns;
  std::vector<std::string> untargeted;  // modules that were read although no target names them: the file is the authority
  std::vector<std::string> left_out;    // tensors and modules that were not read, each with the reason

  /// Whether any weight is changed.
  bool has_effect() const {
    return std::ranges::any_of(modules, [](const Adapted& m) { return m.norm > 0; });
  }
  /// In lines of plain text.
  std::string text() const {
    std::string all = concat(modules.size(), " modules adapted", has_effect() ? "" : ", but every s B R A is 0: no effect", "\n");
    for (const Adapted& m : modules) all += concat("  ", m.module, "  rank ", m.rank, "  norm ", float(m.norm), "\n");
    const auto list = [&](const char* what, const std::vector<std::string>& names) {
      for (const std::string& name : names) all += concat(what, name, "\n");
    };
    list("target without tensors: ", unmatched_targets);
    list("module to save without tensors: ", unmatched_saves);
    list("pattern without modules: ", unmatched_patterns);
    list("read although no target names it: ", untargeted);
    list("left out: ", left_out);
    return all;
  }
};

/// The content of a folder.
template <Real S>
struct AdapterFolder {
  AdapterSet<S> adapters;
  std::vector<NamedTensor<S>> full_tensors;
  std::string base_model;       // name or path of the model that is adapted; may be empty
  std::string task_type;        // as PEFT names it: SEQ_CLS, TOKEN_CLS, ...; may be empty
  std::string model_class;      // of the model that was adapted, where task_type is empty; may be empty
  bool native = false;          // lorasb wrote it, with B, R and A
  bool plain_lora = false;      // there was no R in it
  bool fan_in_fan_out = false;  // the model stores the adapted weights in x out (GPT-2's Conv1D): merge s B R A transposed
  PeftReadReport report = {};
};

namespace detail {

inline constexpr std::string_view config_file = "adapter_config.json";
inline constexpr std::string_view tensor_file = "adapter_model.safetensors";

// Names in the tensor file: prefix, module, suffix. R is known by two: of a parameter of PEFT's model, whose adapter name
// "default" PEFT strips when it saves, and of a submodule of the layer, which keeps it.
inline constexpr std::string_view prefix = "base_model.model.";
inline constexpr std::string_view suffix_A = ".lora_A.weight";
inline constexpr std::string_view suffix_B = ".lora_B.weight";
inline constexpr std::string_view suffix_R = ".default_lora_latent_mapping.weight";
inline constexpr std::string_view suffix_R_stripped = "_lora_latent_mapping.weight";
inline constexpr std::string_view scale_key = "lorasb.scale.";  // and the module: metadata of the tensor file

inline std::string tensor_name(std::string_view module, std::string_view suffix) {
  return std::string(prefix).append(module).append(suffix);
}

/// "classifier" of "classifier.weight".
inline std::string_view module_of(std::string_view tensor) { return tensor.substr(0, tensor.rfind('.')); }

}  // namespace detail
}  // namespace lorasb::formats
