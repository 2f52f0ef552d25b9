// The names in an adapter folder's file against those in its configuration.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/sort.hpp"
#include "lorasb/formats/peft_config.hpp"
#include "lorasb/formats/peft_folder.hpp"
#include "lorasb/formats/peft_names.hpp"
#include "lorasb/formats/peft_patterns.hpp"

namespace lorasb::formats::detail {

/// Views all that it is given: sorts out the modules of `index` and writes what does not fit into `report`. Throws
/// ErrorId::adapter_folder.
class NameMatch {
 public:
  NameMatch(const std::string& where, const PeftConfig& config, FolderIndex& index, PeftReadReport& report)
      : where_(where), config_(config), index_(index), report_(report) {}

  /// In a folder of lorasb target_modules are whole names, and they and the modules with tensors cover each other; so do
  /// modules_to_save and the other tensors.
  void check_native_names() {
    const std::vector<std::string> targets = config_.target_modules.value_or(std::vector<std::string>{});
    std::map<std::string_view, std::size_t> place;
    for (std::size_t i = 0; i < targets.size(); ++i) place.emplace(targets[i], i);
    for (const ModuleTensors& tensors : index_.modules)
      check(place.contains(tensors.module), "module ", in_quotes(tensors.module), " has tensors, but is not among the target_modules");
    sort_modules([&](const ModuleTensors& tensors) { return place.at(tensors.module); });
    std::set<std::string_view> found;
    for (const ModuleTensors& tensors : index_.modules) found.insert(tensors.module);
    for (const std::string& target : targets) check(found.contains(target), "target module ", in_quotes(target), " has no tensors");
    std::vector<bool> saved(config_.modules_to_save.size());
    const NameList saves(config_.modules_to_save);
    for (const FullTensor& tensor : index_.full_tensors)
      check(mark_saves(tensor.name, saves, saved), "tensor ", in_quotes(tensor.name),
            " is of no adapter, and its module is not among the modules_to_save");
    for (std::size_t i = 0; i < saved.size(); ++i)
      check(saved[i], "module to save ", in_quotes(config_.modules_to_save[i]), " has no tensors");
  }

  /// In a folder of others the file is the authority: what it holds is read, except modules that the configuration excludes, and
  /// what does not fit is in the report.
  void match_names() {
    std::vector<bool> hit(config_.target_modules ? config_.target_modules->size() : 0);
    const NameList targets(config_.target_modules.value_or(std::vector<std::string>{})), excluded(config_.exclude_modules);
    const std::optional<NameExpression> target = expression(config_.target_expression), exclude = expression(config_.exclude_expression);
    check(config_.exclude_expression.empty() || exclude, "exclude_modules is ", in_quotes(config_.exclude_expression),
          ", an expression that cannot be evaluated here; write names of modules");
    std::map<std::string_view, std::size_t> place;  // of whole names, for the order
    for (std::size_t i = 0; i < hit.size(); ++i) place.emplace((*config_.target_modules)[i], i);
    bool any = false;
    std::erase_if(index_.modules, [&](const ModuleTensors& tensors) {
      const std::string& module = tensors.module;
      bool named = !config_.target_modules && (config_.target_expression.empty() || !target || target->matches(module));
      targets.for_each(module, [&](std::size_t i) {
        hit[i] = true;
        named = true;
      });
      if (excluded.names(module) || (exclude && exclude->matches(module)) || (config_.layers && !is_in_layers(module))) {
        report_.left_out.push_back(concat(module, ": excluded by ", config_file));
        return true;
      }
      any = any || named;
      if (!named) report_.untargeted.push_back(module);
      return false;
    });
    check(!index_.modules.empty(), "every module is excluded by ", config_file);
    check(any, "no module of ", tensor_file, " is among the target_modules");
    const auto place_of = [&](const ModuleTensors& tensors) {
      const auto it = place.find(tensors.module);
      return it == place.end() ? place.size() : it->second;
    };
    sort_modules(place_of);
    for (std::size_t i = 0; i < hit.size(); ++i)
      if (!hit[i]) report_.unmatched_targets.push_back((*config_.target_modules)[i]);
    std::vector<bool> saved(config_.modules_to_save.size());
    const NameList saves(config_.modules_to_save);
    for (const FullTensor& tensor : index_.full_tensors) mark_saves(tensor.name, saves, saved);
    for (std::size_t i = 0; i < saved.size(); ++i)
      if (!saved[i]) report_.unmatched_saves.push_back(config_.modules_to_save[i]);
  }

  /// Keys of a pattern that no module has go into the report.
  template <class T>
  void check_pattern(const PatternTable& table, const std::vector<std::pair<std::string, T>>& pattern, const char* name) {
    if (const std::optional<std::size_t> bad = table.unreadable())
      check(false, name, " has the key ", in_quotes(pattern[*bad].first),
            ", an expression that cannot be evaluated here; write names of modules");
    std::vector<bool> hit(pattern.size());
    for (const ModuleTensors& tensors : index_.modules)
      if (const std::optional<std::size_t> key = table.find(tensors.module)) hit[*key] = true;
    for (std::size_t i = 0; i < hit.size(); ++i)
      if (!hit[i]) report_.unmatched_patterns.push_back(concat(name, ": ", pattern[i].first));
  }

 private:
  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, where_, ": ", parts...);
  }
  template <class Place>
  void sort_modules(const Place& place_of) {
    sort_stably(index_.modules, [&](const ModuleTensors& a, const ModuleTensors& b) { return place_of(a) < place_of(b); });
  }
  /// The expression; nothing for none, "all-linear", and what cannot be evaluated.
  static std::optional<NameExpression> expression(const std::string& text) {
    if (text.empty() || text == "all-linear") return std::nullopt;
    return NameExpression::make(text);
  }
  /// "classifier" has the tensors "classifier.weight", "model.classifier.dense.bias".
  static bool mark_saves(std::string_view tensor, const NameList& saves, std::vector<bool>& saved) {
    bool any = false;
    for (std::size_t dot = tensor.find('.'); dot != std::string_view::npos; dot = tensor.find('.', dot + 1))
      saves.for_each(tensor.substr(0, dot), [&](std::size_t i) { any = saved[i] = true; });
    return any;
  }
  /// The first number in the name after two parts, or after a part of layers_pattern, is the layer's. Source: PEFT 0.21,
  /// tuners/tuners_utils.py, check_target_module_exists.
  bool is_in_layers(std::string_view module) const {
    const std::vector<std::string_view> parts = segments_of(module);
    for (std::size_t k = 1; k + 1 < parts.size(); ++k) {
      if (parts[k].empty() || parts[k].size() > 9 || !std::ranges::all_of(parts[k], [](char c) { return c >= '0' && c <= '9'; })) continue;
      if (config_.layers_pattern.empty() ? k < 2 : std::ranges::find(config_.layers_pattern, parts[k - 1]) == config_.layers_pattern.end())
        continue;
      return std::ranges::find(*config_.layers, static_cast<Index>(std::stol(std::string(parts[k])))) != config_.layers->end();
    }
    return false;
  }

  const std::string& where_;
  const PeftConfig& config_;
  FolderIndex& index_;
  PeftReadReport& report_;
};

}  // namespace lorasb::formats::detail
