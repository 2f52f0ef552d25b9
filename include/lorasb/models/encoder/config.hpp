// Sizes and tensor names of encoders of the BERT family.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/module.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/nn/activation.hpp"

namespace lorasb::models {

enum class EncoderFamily {
  bert,
  roberta,     // XLM-RoBERTa, too
  distilbert,  // no token types
  roberta_prelayernorm,  // RoBERTa with the norm of each block before it, and one behind the last block
};
/// RoBERTa's positions, tokenizer and head.
constexpr bool is_roberta(EncoderFamily family) {
  return family == EncoderFamily::roberta || family == EncoderFamily::roberta_prelayernorm;
}

/// What becomes of the hidden states of a text.
enum class Pooling {
  mean,         // of all tokens, scaled to length one
  first_token,  // that of [CLS] or <s>, scaled to length one
  pooler,       // a dense layer and an activation over the first token, as the family's classifier of sequences has them
  first_state,  // that of [CLS] or <s> as it is, for a head that has the dense layer itself (models/head.hpp)
};

/// The defaults are those of BERT base (Devlin et al., arXiv 1810.04805).
struct EncoderConfig {
  EncoderFamily family = EncoderFamily::bert;
  Index vocabulary = 30522;
  Index hidden = 768;
  Index layers = 12;
  Index heads = 12;  // divides hidden
  Index feed_forward = 3072;
  Index positions = 512;   // rows of the table of positions
  Index token_types = 2;   // rows of the table of token types; 0: there is none
  Index padding = -1;      // RoBERTa's pad_token_id: positions count from padding + 1, and tokens with this id are not counted
  nn::Activation activation = nn::Activation::gelu;
  double epsilon = 1e-12;  // of the layer norms
  double initializer_range = 0.02;  // deviation of the normal numbers that a new layer starts with
  Pooling pooling = Pooling::mean;

  /// Of a text; the caller cuts longer ones.
  Index max_tokens() const { return positions - padding - 1; }
  /// Whether a block's norms stand before attention and feed-forward (EncoderBlock), and one behind the last block.
  bool pre_norm() const { return family == EncoderFamily::roberta_prelayernorm; }

  /// Throws ErrorId::model.
  void validate() const {
    constexpr Index most = Index{1} << 24;
    const auto check = [](std::string_view name, Index value, Index least, Index limit) {
      require(value >= least && value <= limit, ErrorId::model, "EncoderConfig: ", name, " is ", value, ", expected ", least, " to ",
              limit);
    };
    check("vocabulary", vocabulary, 1, most);
    check("hidden", hidden, 1, 1 << 16);
    check("layers", layers, 1, 1024);
    check("heads", heads, 1, hidden);
    check("feed_forward", feed_forward, 1, most);
    check("positions", positions, 1, most);
    check("token_types", token_types, 0, most);
    check("padding", padding, -1, positions - 2);
    require(hidden % heads == 0, ErrorId::model, "EncoderConfig: heads is ", heads, ", expected a divisor of hidden, ", hidden);
    require(is_finite(epsilon) && epsilon >= 0, ErrorId::model, "EncoderConfig: epsilon is ", epsilon,
            ", expected a number of at least 0");
    require(is_finite(initializer_range) && initializer_range >= 0, ErrorId::model, "EncoderConfig: initializer_range is ",
            initializer_range, ", expected a number of at least 0");
  }
};

/// What stands behind the dense layer over the first token.
constexpr nn::Activation pooler_activation(EncoderFamily family) {
  return family == EncoderFamily::distilbert ? nn::Activation::relu : nn::Activation::tanh;
}

/// The names of a family's tensors, as transformers has them; those of a layer stand behind layer(i).
struct EncoderNames {
  std::string_view prefix, layers;
  std::string_view query, key, value, attention_out, attention_norm, up, down, feed_forward_norm;
  std::string_view pooler;  // of the classifier of sequences
  std::string_view word_embeddings = "embeddings.word_embeddings", position_embeddings = "embeddings.position_embeddings",
                   type_embeddings = "embeddings.token_type_embeddings", embedding_norm = "embeddings.LayerNorm";
  std::string_view final_norm = "LayerNorm";  // of a pre-norm family

  std::string whole(std::string_view name) const { return std::string(prefix).append(".").append(name); }
  std::string layer(Index i) const { return whole(layers) + "." + std::to_string(i) + "."; }
};

inline EncoderNames encoder_names(EncoderFamily family) {
  if (family == EncoderFamily::distilbert)
    return {.prefix = "distilbert", .layers = "transformer.layer", .query = "attention.q_lin", .key = "attention.k_lin",
            .value = "attention.v_lin", .attention_out = "attention.out_lin", .attention_norm = "sa_layer_norm", .up = "ffn.lin1",
            .down = "ffn.lin2", .feed_forward_norm = "output_layer_norm", .pooler = "pre_classifier"};
  const bool bert = family == EncoderFamily::bert, pre_norm = family == EncoderFamily::roberta_prelayernorm;
  return {.prefix = bert ? "bert" : pre_norm ? "roberta_prelayernorm" : "roberta", .layers = "encoder.layer", .query = "attention.self.query",
          .key = "attention.self.key", .value = "attention.self.value", .attention_out = "attention.output.dense",
          .attention_norm = pre_norm ? "attention.LayerNorm" : "attention.output.LayerNorm", .up = "intermediate.dense",
          .down = "output.dense", .feed_forward_norm = pre_norm ? "intermediate.LayerNorm" : "output.LayerNorm", .pooler = bert ? "bert.pooler.dense" : "classifier.dense"};
}

/// The modules that an adapter can sit on, in the order in which a text passes them: query, key, value, attention output, up and down
/// of each layer, and with Pooling::pooler the dense layer over the first token. The names are those of transformers' classifiers of
/// sequences, such as "bert.encoder.layer.0.attention.self.query".
inline std::vector<ModuleShape> encoder_modules(const EncoderConfig& config) {
  const EncoderNames names = encoder_names(config.family);
  std::vector<ModuleShape> modules;
  for (Index i = 0; i < config.layers; ++i) {
    const std::string layer = names.layer(i);
    for (const std::string_view name : {names.query, names.key, names.value, names.attention_out})
      modules.push_back({layer + std::string(name), config.hidden, config.hidden});
    modules.push_back({layer + std::string(names.up), config.feed_forward, config.hidden});
    modules.push_back({layer + std::string(names.down), config.hidden, config.feed_forward});
  }
  if (config.pooling == Pooling::pooler) modules.push_back({std::string(names.pooler), config.hidden, config.hidden});
  return modules;
}

/// All tensors of the encoder: first "<module>.weight" (out x in) of every module, in their order, then "<module>.bias", the tables of
/// words, positions and token types, and ".weight" and ".bias" of every layer norm. Throws ErrorId::model.
inline ParameterLayout encoder_layout(const EncoderConfig& config) {
  config.validate();
  const EncoderNames names = encoder_names(config.family);
  const std::vector<ModuleShape> modules = encoder_modules(config);
  ParameterLayout layout;
  for (const ModuleShape& m : modules) layout.add(m.name, Role::weight, m.out_features, m.in_features);
  for (const ModuleShape& m : modules) layout.add(m.name, Role::bias, 1, m.out_features);
  layout.add(names.whole(names.word_embeddings), Role::embedding, config.vocabulary, config.hidden);
  layout.add(names.whole(names.position_embeddings), Role::embedding, config.positions, config.hidden);
  if (config.token_types > 0) layout.add(names.whole(names.type_embeddings), Role::embedding, config.token_types, config.hidden);
  const auto norm = [&](const std::string& name) {
    layout.add(name, Role::norm_scale, 1, config.hidden);
    layout.add(name, Role::norm_bias, 1, config.hidden);
  };
  norm(names.whole(names.embedding_norm));
  for (Index i = 0; i < config.layers; ++i) {
    norm(names.layer(i) + std::string(names.attention_norm));
    norm(names.layer(i) + std::string(names.feed_forward_norm));
  }
  if (config.pre_norm()) norm(names.whole(names.final_norm));
  return layout;
}

}  // namespace lorasb::models
