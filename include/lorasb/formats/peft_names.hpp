// The names of tensors in an adapter file, taken apart.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/formats/peft_folder.hpp"
#include "lorasb/io/safetensors.hpp"

namespace lorasb::formats::detail {

/// Names of the stored tensors of one module; empty where the file has none.
struct ModuleTensors {
  std::string module;
  std::string A = {}, B = {}, R = {};
};
/// A tensor that is no factor: its name in the model, and in the file.
struct FullTensor {
  std::string name;
  std::string stored;
};
/// The names of a file, sorted out.
struct FolderIndex {
  std::vector<ModuleTensors> modules;  // in the order of the file
  std::vector<FullTensor> full_tensors;
  std::vector<std::string> copies;  // stored names of base weights that PEFT keeps beside what it trains
};

inline std::vector<std::string_view> segments_of(std::string_view name) {
  std::vector<std::string_view> segments;
  for (std::size_t start = 0;;) {
    const std::size_t dot = name.find('.', start);
    segments.push_back(name.substr(start, dot == std::string_view::npos ? dot : dot - start));
    if (dot == std::string_view::npos) return segments;
    start = dot + 1;
  }
}
inline std::string join_segments(const std::vector<std::string_view>& segments, std::size_t first, std::size_t last) {
  std::string name;
  for (std::size_t i = first; i < last; ++i) name.append(i == first ? "" : ".").append(segments[i]);
  return name;
}

/// Sorts names out. Parts that torch.compile, FSDP and data-parallel wrappers put into names are left out, and so is the name of the
/// adapter, which PEFT strips when it saves and state dicts keep.
class NameSorter {
 public:
  /// `where` is the file, for messages.
  explicit NameSorter(std::string where) : where_(std::move(where)) {}

  /// Throws ErrorId::adapter_folder for a name without the prefix, for tensors that no reader of factors can do without (biases,
  /// embeddings, magnitudes), for R under two names, and for two adapters in one file.
  void add(const std::string& stored) {
    std::vector<std::string_view> s = segments_of(stored);
    std::erase_if(s, [](std::string_view part) { return part == "_orig_mod" || part == "_fsdp_wrapped_module"; });
    if (s.size() > 2 && s[0] == "module" && s[1] == "base_model") s.erase(s.begin());
    require(s.size() > 3 && s[0] == "base_model" && s[1] == "model", ErrorId::adapter_folder, where_, ": tensor ", in_quotes(stored),
            " does not start with \"", prefix, "\"");
    s.erase(s.begin(), s.begin() + 2);
    const auto at = std::ranges::find_if(s, [](std::string_view part) {
      return part == "lora_A" || part == "lora_B" || part.starts_with("lora_embedding_") || part.starts_with("lora_magnitude_");
    });
    const std::string name = join_segments(s, 0, s.size());
    for (const std::string_view suffix : {suffix_R, suffix_R_stripped})
      if (name.ends_with(suffix)) return add_core(name.substr(0, name.size() - suffix.size()), stored);
    if (at != s.end()) return add_factor(s, static_cast<std::size_t>(at - s.begin()), stored);
    add_full(s, stored);
  }
  FolderIndex take() { return std::move(index_); }

 private:
  ModuleTensors& module_named(std::string name) {
    const auto [at, is_new] = places_.try_emplace(name, index_.modules.size());
    if (is_new) index_.modules.push_back({.module = std::move(name)});
    return index_.modules[at->second];
  }
  void fill(std::string& place, const std::string& stored, const std::string& module, std::string_view what) {
    require(place.empty(), ErrorId::adapter_folder, where_, ": module ", in_quotes(module), " has its ", what, " under two names, ",
            in_quotes(place), " and ", in_quotes(stored));
    place = stored;
  }
  void add_core(std::string module, const std::string& stored) {
    ModuleTensors& tensors = module_named(std::move(module));
    fill(tensors.R, stored, tensors.module, "R");
  }
  void add_factor(const std::vector<std::string_view>& s, std::size_t at, const std::string& stored) {
    const std::string module = join_segments(s, 0, at);
    const std::string_view part = s[at], last = s.back();
    const bool weight = last == "weight" && (s.size() == at + 2 || s.size() == at + 3) && at > 0;
    if (weight && s.size() == at + 3) check_adapter(s[at + 1], stored);
    if (weight && part == "lora_A") return fill(module_named(module).A, stored, module, "lora_A");
    if (weight && part == "lora_B") return fill(module_named(module).B, stored, module, "lora_B");
    const char* const what = part == "lora_A" || part == "lora_B" ? "a bias of a factor"
                             : part.starts_with("lora_embedding_") ? "a factor of an embedding"
                                                                   : "a magnitude of DoRA";
    throw Error(ErrorId::adapter_folder,
                concat(where_, ": tensor ", in_quotes(stored), " is ", what,
                       "; without it the adapter is another one (in C++ PeftReadOptions::ignore leaves it out all the same)"));
  }
  void add_full(std::vector<std::string_view> s, const std::string& stored) {
    if (const auto at = std::ranges::find(s, "modules_to_save"); at != s.end() && at + 1 != s.end()) {
      if (at + 2 != s.end()) check_adapter(at[1], stored);
      s.erase(at, at + (at + 2 != s.end() ? 2 : 1));
    }
    if (std::ranges::find(s, "original_module") != s.end()) return index_.copies.push_back(stored);
    require(std::ranges::find(s, "trainable_tokens_delta") == s.end() && std::ranges::find(s, "token_adapter") == s.end(),
            ErrorId::adapter_folder, where_, ": tensor ", in_quotes(stored),
            " are trained rows of an embedding; without them the adapter is another one (in C++ PeftReadOptions::ignore "
            "leaves them out all the same)");
    std::erase(s, "base_layer");  // of an adapted module
    std::string name = join_segments(s, 0, s.size());
    const auto [at, is_new] = full_.try_emplace(name, stored);
    require(is_new, ErrorId::adapter_folder, where_, ": tensor ", in_quotes(name), " is there under two names, ", in_quotes(at->second),
            " and ", in_quotes(stored));
    index_.full_tensors.push_back({std::move(name), stored});
  }
  void check_adapter(std::string_view name, const std::string& stored) {
    if (adapter_.empty()) adapter_ = name;
    require(adapter_ == name, ErrorId::adapter_folder, where_, ": tensor ", in_quotes(stored), " is of the adapter ", in_quotes(name),
            ", others are of ", in_quotes(adapter_), ": there are several in one file");
  }

  std::string where_, adapter_;
  FolderIndex index_;
  std::map<std::string, std::size_t, std::less<>> places_;  // of modules
  std::map<std::string, std::string, std::less<>> full_;    // name in the model to name in the file
};

}  // namespace lorasb::formats::detail
