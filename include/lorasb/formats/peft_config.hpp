// adapter_config.json: what PEFT needs to know of an adapter folder besides its tensors.
#pragma once

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/types.hpp"
#include "lorasb/formats/peft_patterns.hpp"
#include "lorasb/io/json.hpp"

namespace lorasb::formats {

/// The fields of PEFT's LoraConfig (tuners/lora/config.py) that say what the tensors mean.
struct PeftConfig {
  Index rank = 0;                                           // r
  double alpha = 0;                                         // lora_alpha
  bool rank_stabilised = false;                             // use_rslora (arXiv 2312.03732)
  std::vector<std::pair<std::string, Index>> rank_pattern;  // modules with another r: the first key that matches counts
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::optional<std::vector<std::string>> target_modules;     // nothing for a regular expression, which is not evaluated
  std::vector<std::string> modules_to_save;                   // trained in full, such as a classification head
  std::string base_model;                                     // base_model_name_or_path; empty for null
  std::optional<std::map<std::string, double>> native_scale;  // "lorasb", in native folders only: the exact s of each module

  /// Throws ErrorId::adapter_folder for a pattern that is more of a regular expression than pattern_matches reads.
  Index rank_of(std::string_view module, std::string_view where) const { return pick(rank_pattern, rank, module, where); }
  /// s = alpha / r, or alpha / √r with use_rslora; the number of the native folder where there is one.
  double scale_of(std::string_view module, std::string_view where) const {
    const auto r = static_cast<double>(rank_of(module, where));
    const double scale = pick(alpha_pattern, alpha, module, where) / (rank_stabilised ? std::sqrt(r) : r);
    if (!native_scale) return scale;
    const auto exact = native_scale->find(std::string(module));
    require(exact != native_scale->end(), ErrorId::adapter_folder, where, ": lorasb.scale has no module \"", module, "\"");
    require(std::abs(exact->second - scale) <= 1e-15 * std::abs(scale), ErrorId::adapter_folder, where, ": module \"", module,
            "\" has lorasb.scale ", exact->second, ", but alpha / r is ", scale);
    return exact->second;
  }

 private:
  template <class T>
  static T pick(const std::vector<std::pair<std::string, T>>& pattern, T otherwise, std::string_view module,
                std::string_view where) {
    for (const auto& [key, value] : pattern) {
      const std::optional<bool> matches = pattern_matches(key, module);
      require(matches.has_value(), ErrorId::adapter_folder, where, ": rank_pattern or alpha_pattern has the key \"", key,
              "\", a regular expression that is not evaluated here; write names of modules");
      if (*matches) return value;
    }
    return otherwise;
  }
};

inline constexpr int native_version = 1;
/// peft_type of native folders. PEFT knows no such type and refuses them; as "LORA" it would take them for B A, without R.
inline constexpr std::string_view native_type = "LORASB";

namespace detail {

using OrderedJson = nlohmann::ordered_json;  // the order of patterns counts

/// The value of a key as a T; `otherwise` when the key is missing or null.
template <class T>
T field(const OrderedJson& json, const std::string& key, std::string_view where,
        const std::optional<T>& otherwise = std::nullopt) {
  const auto it = json.find(key);
  const bool missing = it == json.end() || it->is_null();
  require(!missing || otherwise.has_value(), ErrorId::json, where, ": \"", key, "\" is missing");
  try {
    return missing ? *otherwise : it->template get<T>();
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorId::json, concat(where, ": \"", key, "\": ", error.what()));
  }
}

/// A rank is an integer from 1.
inline Index checked_rank(double value, const std::string& key, std::string_view where) {
  require(value >= 1 && value <= 1e9 && value == std::floor(value), ErrorId::json, where, ": \"", key, "\" is ", value,
          ", expected an integer from 1");
  return static_cast<Index>(value);
}

/// An object of numbers, in its order; empty when the key is missing or null.
inline std::vector<std::pair<std::string, double>> numbers(const OrderedJson& json, const std::string& key,
                                                           std::string_view where) {
  std::vector<std::pair<std::string, double>> all;
  const OrderedJson object = field<OrderedJson>(json, key, where, OrderedJson::object());
  require(object.is_object(), ErrorId::json, where, ": \"", key, "\" is ", object.type_name(), ", expected an object");
  for (const auto& [name, value] : object.items()) all.emplace_back(name, field<double>(object, name, where));
  return all;
}

}  // namespace detail

/// Throws ErrorId::file_open, ErrorId::json (a field of the wrong type) and ErrorId::adapter_folder (another method than LoRA,
/// or a version of native folders that is not known).
inline PeftConfig read_peft_config(const std::filesystem::path& path) {
  const std::string where = path.string();
  const detail::OrderedJson json = io::read_json<detail::OrderedJson>(path);
  require(json.is_object(), ErrorId::json, where, ": is ", json.type_name(), ", expected an object");

  const std::string type = detail::field<std::string>(json, "peft_type", where);
  require(type == "LORA" || type == native_type, ErrorId::adapter_folder, where, ": peft_type is \"", type, "\", expected \"LORA\" or \"",
          native_type, "\"");
  require(!detail::field<bool>(json, "use_dora", where, false), ErrorId::adapter_folder, where,
          ": use_dora is true; its magnitudes are not a low-rank update");
  PeftConfig config;
  config.rank = detail::checked_rank(detail::field<double>(json, "r", where), "r", where);
  config.alpha = detail::field<double>(json, "lora_alpha", where);
  config.rank_stabilised = detail::field<bool>(json, "use_rslora", where, false);
  for (const auto& [name, value] : detail::numbers(json, "rank_pattern", where))
    config.rank_pattern.emplace_back(name, detail::checked_rank(value, name, where));
  config.alpha_pattern = detail::numbers(json, "alpha_pattern", where);
  if (const auto it = json.find("target_modules"); it == json.end() || !(it->is_string() || it->is_null()))
    config.target_modules = detail::field<std::vector<std::string>>(json, "target_modules", where);
  config.modules_to_save = detail::field(json, "modules_to_save", where, std::optional(std::vector<std::string>{}));
  config.base_model = detail::field<std::string>(json, "base_model_name_or_path", where, "");

  if (const auto it = json.find("lorasb"); it != json.end()) {
    const std::string inside = where + ": lorasb";
    require(it->is_object(), ErrorId::json, inside, " is ", it->type_name(), ", expected an object");
    const std::string format = detail::field<std::string>(*it, "format", inside);
    const double version = detail::field<double>(*it, "version", inside);
    require(format == "native" && version == native_version, ErrorId::adapter_folder, inside, " is of format \"", format,
            "\", version ", version, ", expected \"native\", version ", native_version);
    const auto scales = detail::numbers(*it, "scale", inside);
    config.native_scale.emplace(scales.begin(), scales.end());
  }
  require(type != native_type || config.native_scale, ErrorId::adapter_folder, where, ": peft_type is \"", native_type,
          "\", but there is no key \"lorasb\"");
  return config;
}

/// The JSON text of a configuration, as PEFT writes it for inference. Throws ErrorId::value for text that is not UTF-8.
inline std::string peft_config_text(const PeftConfig& config) {
  const auto number = [](double x) {  // 16, not 16.0, where other readers expect an integer
    return x == std::floor(x) && std::abs(x) < 0x1p53 ? detail::OrderedJson(static_cast<std::int64_t>(x))
                                                      : detail::OrderedJson(x);
  };
  const auto or_null = [](const auto& value) { return value.empty() ? detail::OrderedJson() : detail::OrderedJson(value); };
  detail::OrderedJson json{
      {"peft_type", config.native_scale ? native_type : "LORA"},
      {"task_type", nullptr},
      {"base_model_name_or_path", or_null(config.base_model)},
      {"inference_mode", true},
      {"r", config.rank},
      {"lora_alpha", number(config.alpha)},
      {"lora_dropout", 0.0},
      {"target_modules", config.target_modules ? detail::OrderedJson(*config.target_modules) : detail::OrderedJson()},
      {"modules_to_save", or_null(config.modules_to_save)},
      {"rank_pattern", detail::OrderedJson::object()},
      {"alpha_pattern", detail::OrderedJson::object()},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"init_lora_weights", true},
  };
  for (const auto& [key, rank] : config.rank_pattern) json["rank_pattern"][key] = rank;
  for (const auto& [key, alpha] : config.alpha_pattern) json["alpha_pattern"][key] = number(alpha);
  if (config.native_scale)
    json["lorasb"] = {{"format", "native"}, {"version", native_version}, {"scale", *config.native_scale}};
  try {
    return json.dump(2) + "\n";
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorId::value, concat("peft_config_text: a name is not UTF-8: ", error.what()));
  }
}

}  // namespace lorasb::formats
