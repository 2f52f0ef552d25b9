// Sizes and tensor names of the sentence encoder.
#pragma once

#include <string>
#include <vector>

#include "lorasb/core/module.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb::models {

/// The defaults are the Universal Sentence Encoder Lite's (Cer et al., arXiv 1803.11175).
struct SentenceEncoderConfig {
  Index vocabulary = 8002;
  Index embedding = 256;  // width of the embedding and of the first layer's attention; even
  Index hidden = 512;     // width everywhere else
  Index feed_forward = 1536;
  Index heads = 4;  // divides embedding and hidden
  Index layers = 2;
  Index max_tokens = 128;  // of a text; the caller cuts longer ones
  double epsilon = 1e-6;   // of the layer norms

  /// Width of the attention of a layer.
  Index width(Index layer) const { return layer == 0 ? embedding : hidden; }

  /// Throws ErrorId::model.
  void validate() const {
    require(vocabulary >= 1 && layers >= 1 && feed_forward >= 1 && max_tokens >= 1 && heads >= 1, ErrorId::model,
            "SentenceEncoderConfig: vocabulary ", vocabulary, ", layers ", layers, ", feed_forward ", feed_forward,
            ", max_tokens ", max_tokens, ", heads ", heads, ": each must be at least 1");
    require(embedding >= 2 && embedding % 2 == 0 && embedding % heads == 0 && hidden >= 1 && hidden % heads == 0,
            ErrorId::model, "SentenceEncoderConfig: embedding is ", embedding, " and hidden is ", hidden,
            ", expected multiples of heads = ", heads, ", embedding even");
  }
};

/// The modules that an adapter can sit on, in the order in which a text passes them: "layers.0.residual", then for each layer
/// "layers.i.attention.qkv", ".attention.out", ".feed_forward.up", ".feed_forward.down", and "projection" last.
inline std::vector<ModuleShape> sentence_encoder_modules(const SentenceEncoderConfig& config) {
  std::vector<ModuleShape> modules{{"layers.0.residual", config.hidden, config.embedding}};
  for (Index i = 0; i < config.layers; ++i) {
    const std::string layer = "layers." + std::to_string(i);
    modules.push_back({layer + ".attention.qkv", 3 * config.width(i), config.width(i)});
    modules.push_back({layer + ".attention.out", config.hidden, config.width(i)});
    modules.push_back({layer + ".feed_forward.up", config.feed_forward, config.hidden});
    modules.push_back({layer + ".feed_forward.down", config.hidden, config.feed_forward});
  }
  modules.push_back({"projection", config.hidden, config.hidden});
  return modules;
}

/// All trained tensors of the encoder: first "<module>.weight" (out x in) of every module, in their order, then all others:
/// "embedding.weight" (vocabulary x embedding), "<module>.bias", and ".weight" and ".bias" of "layers.i.attention_norm" and
/// "layers.i.feed_forward_norm", 1 x width each.
inline ParameterLayout sentence_encoder_layout(const SentenceEncoderConfig& config) {
  config.validate();
  ParameterLayout layout;
  const std::vector<ModuleShape> modules = sentence_encoder_modules(config);
  for (const ModuleShape& m : modules) layout.add(m.name, Role::weight, m.out_features, m.in_features);
  layout.add("embedding", Role::embedding, config.vocabulary, config.embedding);
  for (const ModuleShape& m : modules) layout.add(m.name, Role::bias, 1, m.out_features);
  for (Index i = 0; i < config.layers; ++i) {
    const std::string layer = "layers." + std::to_string(i);
    for (const Role role : {Role::norm_scale, Role::norm_bias}) {
      layout.add(layer + ".attention_norm", role, 1, config.width(i));
      layout.add(layer + ".feed_forward_norm", role, 1, config.hidden);
    }
  }
  return layout;
}

}  // namespace lorasb::models
