// Reads the config.json of a Hugging Face folder into the configuration of an encoder.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/io/json.hpp"
#include "lorasb/models/encoder/config.hpp"

namespace lorasb::models {
namespace detail {

/// The values of a config.json; a key that is missing has the default of transformers.
class ConfigJson {
 public:
  ConfigJson(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {
    require(json_.is_object(), ErrorId::model, where_, ": expected an object, not one ", json_.type_name());
  }

  /// A key that is there and is not null.
  bool has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }
  Index integer(const char* key, Index otherwise) const {
    if (!has(key)) return otherwise;
    const std::optional<Index> value = io::json_integer(json_.at(key));
    if (!value) refuse(key, "an integer");
    return *value;
  }
  double number(const char* key, double otherwise) const {
    if (has(key) && !json_.at(key).is_number()) refuse(key, "a number");
    return has(key) ? json_.at(key).get<double>() : otherwise;
  }
  std::string string(const char* key, const char* otherwise) const {
    if (has(key) && !json_.at(key).is_string()) refuse(key, "a string");
    return has(key) ? json_.at(key).get<std::string>() : otherwise;
  }
  /// Throws ErrorId::model unless the key is missing, null or has this value.
  void only(const char* key, const nlohmann::json& supported) const {
    if (has(key) && json_.at(key) != supported) refuse(key, supported.dump() + ", all that is supported");
  }
  [[noreturn]] void refuse(const char* key, std::string_view expected) const {
    const std::string value = has(key) ? json_.at(key).dump() : "missing";
    throw Error(ErrorId::model, concat(where_, ": \"", key, "\" is ", std::string_view(value).substr(0, 200), ", expected ", expected));
  }

 private:
  const nlohmann::json& json_;
  std::string where_;
};

inline nn::Activation read_activation(const ConfigJson& json, const char* key) {
  struct Row {
    std::string_view name;
    nn::Activation kind;
  };
  static constexpr std::array<Row, 8> table{{{"gelu", nn::Activation::gelu},
                                             {"gelu_python", nn::Activation::gelu},
                                             {"gelu_new", nn::Activation::gelu_tanh},
                                             {"gelu_fast", nn::Activation::gelu_tanh},
                                             {"gelu_pytorch_tanh", nn::Activation::gelu_tanh},
                                             {"gelu_accurate", nn::Activation::gelu_tanh},
                                             {"relu", nn::Activation::relu},
                                             {"tanh", nn::Activation::tanh}}};
  const std::string name = json.string(key, "gelu");
  for (const Row& row : table)
    if (row.name == name) return row.kind;
  json.refuse(key, "gelu, gelu_new, relu or tanh");
}

}  // namespace detail

/// `where` is the path, for messages. Throws ErrorId::model with key and value for what is not supported (another model_type, relative
/// positions, a decoder, another activation, quantised weights) and for sizes that make no model.
inline EncoderConfig parse_encoder_config(const nlohmann::json& config, std::string where) {
  const detail::ConfigJson json(config, std::move(where));
  EncoderConfig c;
  const std::string type = json.string("model_type", "");
  if (type == "distilbert") {
    c = {.family = EncoderFamily::distilbert,
         .vocabulary = json.integer("vocab_size", 30522),
         .hidden = json.integer("dim", 768),
         .layers = json.integer("n_layers", 6),
         .heads = json.integer("n_heads", 12),
         .feed_forward = json.integer("hidden_dim", 3072),
         .positions = json.integer("max_position_embeddings", 512),
         .token_types = 0,
         .activation = detail::read_activation(json, "activation")};
  } else if (type == "bert" || type == "roberta" || type == "xlm-roberta" || type == "roberta-prelayernorm") {
    const bool bert = type == "bert";
    c = {.family = bert                            ? EncoderFamily::bert
                   : type == "roberta-prelayernorm" ? EncoderFamily::roberta_prelayernorm
                                                    : EncoderFamily::roberta,
         .vocabulary = json.integer("vocab_size", bert ? 30522 : 50265),
         .hidden = json.integer("hidden_size", 768),
         .layers = json.integer("num_hidden_layers", 12),
         .heads = json.integer("num_attention_heads", 12),
         .feed_forward = json.integer("intermediate_size", 3072),
         .positions = json.integer("max_position_embeddings", 512),
         .token_types = json.integer("type_vocab_size", 2),
         .padding = bert ? -1 : json.integer("pad_token_id", 1),
         .activation = detail::read_activation(json, "hidden_act"),
         .epsilon = json.number("layer_norm_eps", 1e-12)};
    if (c.token_types < 1) json.refuse("type_vocab_size", "at least 1");
  } else {
    json.refuse("model_type", "bert, roberta, xlm-roberta, roberta-prelayernorm or distilbert");
  }
  c.initializer_range = json.number("initializer_range", 0.02);
  json.only("position_embedding_type", "absolute");
  json.only("is_decoder", false);
  json.only("add_cross_attention", false);
  json.only("quantization_config", nullptr);
  json.only("pruned_heads", nlohmann::json::object());
  c.validate();
  return c;
}

}  // namespace lorasb::models
