// adapter_config.json: what PEFT needs to know of an adapter folder besides its tensors.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
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
  std::string task_type;                                      // SEQ_CLS, TOKEN_CLS, ...; empty for null
  std::string model_class;  // auto_mapping's base_model_class, which PEFT writes without a task_type; empty for null
  std::optional<std::map<std::string, double>> native_scale;  // "lorasb", in native folders only: the exact s of each module
};

inline constexpr int native_version = 1;
/// peft_type of native folders. PEFT knows no such type and refuses them; as "LORA" it would take them for B A, without R.
inline constexpr std::string_view native_type = "LORASB";

namespace detail {

using io::OrderedJson;  // the order of patterns counts

// A value of JSON as a value of C++, false for one of another type, and what was expected then.
inline bool read_value(const OrderedJson& json, bool& value) {
  const std::optional<bool> read = json.boolean();
  value = read.value_or(false);
  return read.has_value();
}
inline bool read_value(const OrderedJson& json, Index& value) {
  const std::optional<Index> read = json.integer();
  value = read.value_or(0);
  return read.has_value();
}
inline bool read_value(const OrderedJson& json, double& value) {
  const std::optional<double> read = json.number();
  value = read.value_or(0);
  return read.has_value();
}
inline bool read_value(const OrderedJson& json, std::string& value) {
  if (json.is_string()) value = *json.string();
  return json.is_string();
}
inline bool read_value(const OrderedJson& json, OrderedJson& value) {
  value = json;
  return true;
}
template <class T>
bool read_value(const OrderedJson& json, std::vector<T>& values) {
  if (!json.is_array()) return false;
  values.clear();
  for (const OrderedJson& item : json.items())
    if (!read_value(item, values.emplace_back())) return false;
  return true;
}
inline std::string_view expected_for(bool) { return "true or false"; }
inline std::string_view expected_for(Index) { return "an integer below 2^63"; }
inline std::string_view expected_for(double) { return "a number"; }
inline std::string_view expected_for(const std::string&) { return "a string"; }
template <class T>
std::string_view expected_for(const T&) {
  return "a list of values of one type";
}

/// The value of a key as a T; `otherwise` when the key is missing or null.
template <class T>
T field(const OrderedJson& json, std::string_view key, std::string_view where, const std::optional<T>& otherwise = std::nullopt) {
  const OrderedJson* const found = json.find(key);
  const bool missing = found == nullptr || found->is_null();
  require(!missing || otherwise.has_value(), ErrorId::json, where, ": \"", key, "\" is missing");
  if (missing) return *otherwise;
  T value{};
  require(read_value(*found, value), ErrorId::json, where, ": \"", key, "\": is of type ", found->type_name(), ", expected ",
          expected_for(value));
  return value;
}

/// A rank is an integer from 1.
inline Index checked_rank(double value, const std::string& key, std::string_view where) {
  require(value >= 1 && value <= 1e9 && value == std::floor(value), ErrorId::json, where, ": \"", key, "\" is ", value,
          ", expected an integer from 1");
  return static_cast<Index>(value);
}

/// An object of numbers, in its order; empty when the key is missing or null.
inline std::vector<std::pair<std::string, double>> numbers(const OrderedJson& json, std::string_view key, std::string_view where) {
  std::vector<std::pair<std::string, double>> all;
  const OrderedJson* const object = json.find(key);
  if (object == nullptr || object->is_null()) return all;
  require(object->is_object(), ErrorId::json, where, ": \"", key, "\" is ", object->type_name(), ", expected an object");
  for (std::size_t i = 0; i < object->items().size(); ++i) {
    const std::optional<double> number = object->items()[i].number();
    require(number.has_value(), ErrorId::json, where, ": \"", object->keys()[i], "\": is of type ",
            object->items()[i].type_name(), ", expected a number");
    all.emplace_back(object->keys()[i], *number);
  }
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
  if (const detail::OrderedJson* const start = json.find("init_lora_weights")) detail::check_start(*start, where);
  PeftConfig config;
  config.rank = detail::checked_rank(detail::field<double>(json, "r", where), "r", where);
  config.alpha = detail::field<double>(json, "lora_alpha", where);
  config.rank_stabilised = detail::field<bool>(json, "use_rslora", where, false);
  for (const auto& [name, value] : detail::numbers(json, "rank_pattern", where))
    config.rank_pattern.emplace_back(name, detail::checked_rank(value, name, where));
  config.alpha_pattern = detail::numbers(json, "alpha_pattern", where);
  const auto names_or_text = [&](std::string_view key, std::string& text) {
    if (const detail::OrderedJson* const found = json.find(key); found != nullptr && found->is_string()) {
      text = *found->string();
      return std::vector<std::string>{};
    }
    return detail::field(json, key, where, std::optional(std::vector<std::string>{}));
  };
  std::vector<std::string> targets = names_or_text("target_modules", config.target_expression);
  const detail::OrderedJson* const listed = json.find("target_modules");
  require(listed != nullptr, ErrorId::json, where, ": \"target_modules\" is missing");
  if (listed->is_array()) config.target_modules = std::move(targets);
  config.exclude_modules = names_or_text("exclude_modules", config.exclude_expression);
  if (const detail::OrderedJson* const layers = json.find("layers_to_transform");
      layers != nullptr && !layers->is_null() && !(layers->is_array() && layers->items().empty())) {
    config.layers.emplace();
    if (const std::optional<Index> one = layers->integer())  // a number is an array of one
      config.layers->push_back(*one);
    else
      require(detail::read_value(*layers, *config.layers), ErrorId::json, where,
              ": \"layers_to_transform\" is no integer or list of integers");
  }
  std::string one_pattern;
  config.layers_pattern = names_or_text("layers_pattern", one_pattern);
  if (!one_pattern.empty()) config.layers_pattern = {one_pattern};
  config.fan_in_fan_out = detail::field<bool>(json, "fan_in_fan_out", where, false);
  config.modules_to_save = detail::field(json, "modules_to_save", where, std::optional(std::vector<std::string>{}));
  config.base_model = detail::field<std::string>(json, "base_model_name_or_path", where, "");
  config.task_type = detail::field<std::string>(json, "task_type", where, "");
  if (const detail::OrderedJson* const mapping = json.find("auto_mapping"); mapping != nullptr && mapping->is_object())
    config.model_class = detail::field<std::string>(*mapping, "base_model_class", where + ": auto_mapping", "");

  if (const detail::OrderedJson* const native = json.find("lorasb")) {
    const std::string inside = where + ": lorasb";
    require(native->is_object(), ErrorId::json, inside, " is ", native->type_name(), ", expected an object");
    const std::string format = detail::field<std::string>(*native, "format", inside);
    const double version = detail::field<double>(*native, "version", inside);
    require(format == "native" && version == native_version, ErrorId::adapter_folder, inside, " is of format \"", format,
            "\", version ", version, ", expected \"native\", version ", native_version);
    const auto scales = detail::numbers(*native, "scale", inside);
    config.native_scale.emplace(scales.begin(), scales.end());
  }
  require(type != native_type || config.native_scale, ErrorId::adapter_folder, where, ": peft_type is \"", native_type,
          "\", but there is no key \"lorasb\"");
  return config;
}

/// The JSON text of a configuration, as PEFT writes it for inference. Throws ErrorId::value for text that is not UTF-8.
inline std::string peft_config_text(const PeftConfig& config) {
  using Json = detail::OrderedJson;
  const auto number = [](double x) {  // 16, not 16.0, where other readers expect an integer
    return x == std::floor(x) && std::abs(x) < 0x1p53 ? Json(static_cast<std::int64_t>(x)) : Json(x);
  };
  Json json = Json::object();
  json.add("peft_type", config.native_scale ? native_type : "LORA");
  json.add("task_type", nullptr);
  json.add("base_model_name_or_path", config.base_model.empty() ? Json() : Json(config.base_model));
  json.add("inference_mode", true);
  json.add("r", config.rank);
  json.add("lora_alpha", number(config.alpha));
  json.add("lora_dropout", config.dropout);
  json.add("target_modules", config.target_modules ? Json(*config.target_modules) : Json());
  json.add("modules_to_save", config.modules_to_save.empty() ? Json() : Json(config.modules_to_save));
  Json& ranks = json.add("rank_pattern", Json::object());
  for (const auto& [key, rank] : config.rank_pattern) ranks.add(key, rank);
  Json& alphas = json.add("alpha_pattern", Json::object());
  for (const auto& [key, alpha] : config.alpha_pattern) alphas.add(key, number(alpha));
  json.add("bias", "none");
  json.add("fan_in_fan_out", false);
  json.add("init_lora_weights", true);
  if (config.native_scale) {
    Json& native = json.add("lorasb", Json::object());
    native.add("format", "native");
    native.add("version", native_version);
    Json& scales = native.add("scale", Json::object());
    for (const auto& [module, scale] : *config.native_scale) scales.add(module, scale);
  }
  std::string text = json.text(2) + "\n";
  try {
    io::parse_json<Json>(text, "what would be written");
  } catch (const Error& error) {
    throw Error(ErrorId::value, concat("peft_config_text: a name is not UTF-8: ", error.what()));
  }
  return text;
}

}  // namespace lorasb::formats
