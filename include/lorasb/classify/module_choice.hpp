// Which linear modules of an encoder get adapters.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/classify/base_model.hpp"
#include "lorasb/formats/peft_patterns.hpp"
#include "lorasb/nn/linear.hpp"

namespace lorasb::classify {

/// All of them, as PEFT's target_modules has it.
inline constexpr std::string_view all_linear = "all-linear";

namespace detail {

/// Entries between commas, without blanks around them; empty ones are left out.
inline std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> entries;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view entry = text.substr(0, comma);
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    while (entry.ends_with(' ')) entry.remove_suffix(1);
    if (!entry.empty()) entries.emplace_back(entry);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return entries;
}

}  // namespace detail

/// "a, b, c".
inline std::string listed(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

/// The names among `modules` that `wanted` means: "all-linear"; names or last parts of names with commas between them; or,
/// where it has a character that no name has, an expression that matches whole names. Source: PEFT, target_modules of
/// LoraConfig. `reader` begins the messages. Throws ErrorId::value when an entry matches nothing, and for an expression that
/// cannot be evaluated, with the names that there are.
///
///     chosen_modules("query, value", names_of(base.modules));
inline std::vector<std::string> chosen_modules(const std::string& wanted, const std::vector<std::string>& modules,
                                               std::string_view reader = "chosen_modules") {
  if (wanted == all_linear) return modules;
  const auto require_some = [&](bool some, std::string_view entry) {
    require(some, ErrorId::value, reader, ": ", in_quotes(entry),
            " matches none of the linear modules, which are: ", listed(modules));
  };
  std::vector<std::string> found;
  if (wanted.find_first_of("\\^$*+?()[]{}|") != std::string::npos) {
    const std::optional<formats::NameExpression> expression = formats::NameExpression::make(wanted);
    require(expression.has_value(), ErrorId::value, reader, ": ", in_quotes(wanted),
            " is an expression that cannot be evaluated here; write names with commas between them, of: ", listed(modules));
    std::ranges::copy_if(modules, std::back_inserter(found),
                         [&](const std::string& name) { return expression->matches(name); });
    require_some(!found.empty(), wanted);
    return found;
  }
  const std::vector<std::string> entries = detail::split_list(wanted);
  const formats::NameList names(entries);
  std::vector<bool> hit(entries.size());
  for (const std::string& module : modules) {
    bool named = false;
    names.for_each(module, [&](std::size_t i) { named = hit[i] = true; });
    if (named) found.push_back(module);
  }
  require_some(!entries.empty(), wanted);
  for (std::size_t i = 0; i < entries.size(); ++i) require_some(hit[i], entries[i]);
  return found;
}

inline std::vector<std::string> names_of(const std::vector<Module<float>>& modules) {
  std::vector<std::string> names;
  for (const Module<float>& m : modules) names.push_back(m.name);
  return names;
}

/// Leaves `base` only the modules of these names, in its own order; frozen layers stand in the places of the others.
inline void keep_modules(BaseModel& base, const std::vector<std::string>& names) {
  if (names.size() == base.modules.size()) return;
  const auto frozen = std::make_shared<Layers<float>>();  // null where a layer will be given
  std::vector<Module<float>> kept;
  for (Module<float>& m : base.modules) {
    const bool is_kept = std::ranges::find(names, m.name) != names.end();
    frozen->push_back(is_kept ? nullptr : std::make_unique<nn::Linear<float>>(m.W0, nn::WeightGradient::none, m.name));
    if (is_kept) kept.push_back(std::move(m));
  }
  base.modules = std::move(kept);
  base.make_encoder = [frozen, whole = std::move(base.make_encoder), given = base.modules.size()](
                          const FrozenModel<float>& weights, const LayerViews<float>& layers, const ParameterLayout& values) {
    require(layers.size() == given, ErrorId::model, "BaseModel: ", layers.size(), " layers, expected ", given);
    LayerViews<float> all;
    auto next = layers.begin();
    for (const auto& layer : *frozen) all.push_back(layer ? layer.get() : *next++);
    return whole(weights, all, values);
  };
}

}  // namespace lorasb::classify
