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
#include "lorasb/formats/peft_keys.hpp"
#include "lorasb/io/json.hpp"

namespace lorasb::formats {

/// The fields of PEFT's LoraConfig (tuners/lora/config.py) that say what the tensors mean.
struct PeftConfig {
  Index rank = 0;                                           // r
  double alpha = 0;                                         // lora_alpha
  double dropout = 0;                                       // lora_dropout, of training: it changes no output. Written, not read
  bool rank_stabilised = false;                             // use_rslora (arXiv 2312.03732)
  std::vector<std::pair<std::string, Index>> rank_pattern;  // modules with another r: the first key that matches counts
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::optional<std::vector<std::string>> target_modules;  // nothing for an expression, "all-linear" and null
  std::string target_expression;                           // then; empty for null
  std::vector<std::string> exclude_modules;                // names, or
  std::string exclude_expression;                          // an expression; empty for none
  std::optional<std::vector<Index>> layers;                // layers_to_transform; nothing for all
  std::vector<std::string> layers_pattern;
  std::vector<std::string> modules_to_save;                   // trained in full, such as a classification head
  bool fan_in_fan_out = false;                                // the base weights are stored in x out
  std::string base_model;                                     // base_model_name_or_path; empty for null
  std::optional<std::map<std::string, double>> native_scale;  // "lorasb", in native folders only: the exact s of each module
};

inline constexpr int native_version = 1;
/// peft_type of native folders. PEFT knows no such type and refuses them; as "LORA" it would take them for B A, without R.
inline constexpr std::string_view native_type = "LORASB";

namespace detail {

using io::OrderedJson;  // the order of patterns counts

/// The value of a key as a T; `otherwise` when the key is missing or null.
template <class T>
T field(const OrderedJson& json, const std::string& key, std::string_view where,
        const std::optional<T>& otherwise = std::nullopt) {
  const auto it = json.find(key);
  const bool missing = it == json.end() || it->is_null();
  require(!missing || otherwise.has_value(), ErrorId::json, where, ": \"", key, "\" is missing");
  if constexpr (std::same_as<T, Index>) {
    const std::optional<Index> integer = missing ? otherwise : io::json_integer(*it);
    require(integer.has_value(), ErrorId::json, where, ": \"", key, "\" is no integer below 2^63");
    return *integer;
  } else try {
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
  detail::check_keys(json, where);
  if (const auto it = json.find("init_lora_weights"); it != json.end()) detail::check_start(*it, where);
  PeftConfig config;
  config.rank = detail::checked_rank(detail::field<double>(json, "r", where), "r", where);
  config.alpha = detail::field<double>(json, "lora_alpha", where);
  config.rank_stabilised = detail::field<bool>(json, "use_rslora", where, false);
  for (const auto& [name, value] : detail::numbers(json, "rank_pattern", where))
    config.rank_pattern.emplace_back(name, detail::checked_rank(value, name, where));
  config.alpha_pattern = detail::numbers(json, "alpha_pattern", where);
  const auto names_or_text = [&](const std::string& key, std::string& text) {
    if (const auto it = json.find(key); it != json.end() && it->is_string()) {
      text = it->get<std::string>();
      return std::vector<std::string>{};
    }
    return detail::field(json, key, where, std::optional(std::vector<std::string>{}));
  };
  std::vector<std::string> targets = names_or_text("target_modules", config.target_expression);
  if (const auto it = json.find("target_modules"); it == json.end() || it->is_array()) {
    require(it != json.end(), ErrorId::json, where, ": \"target_modules\" is missing");
    config.target_modules = std::move(targets);
  }
  config.exclude_modules = names_or_text("exclude_modules", config.exclude_expression);
  if (const auto it = json.find("layers_to_transform"); it != json.end() && !it->is_null() && !(it->is_array() && it->empty())) {
    config.layers.emplace();
    for (const detail::OrderedJson& layer : *it) {  // a number is an array of one
      const std::optional<Index> number = io::json_integer(layer);
      require(number.has_value() && !it->is_object(), ErrorId::json, where, ": \"layers_to_transform\" is no integer or list of integers");
      config.layers->push_back(*number);
    }
  }
  std::string one_pattern;
  config.layers_pattern = names_or_text("layers_pattern", one_pattern);
  if (!one_pattern.empty()) config.layers_pattern = {one_pattern};
  config.fan_in_fan_out = detail::field<bool>(json, "fan_in_fan_out", where, false);
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
      {"lora_dropout", config.dropout},
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
