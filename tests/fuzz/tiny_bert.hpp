// A BERT of four numbers a token, for the readers of base models and of what was trained on one.
#pragma once

#include <string>

#include "fuzz/mutator.hpp"
#include "lorasb/models/encoder/read_config.hpp"

namespace lorasb::fuzz {

inline const std::string bert_config =
    R"({"model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 3,
 "max_position_embeddings": 6, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0, "is_decoder": false})";
inline const std::string encoder_vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nwo\n##rld\n!\n";

/// The tensors that the configuration asks for, a little head, and the old names of norms.
inline TensorFile encoder_tensors(const std::string& config) {
  const models::EncoderConfig c = models::parse_encoder_config(nlohmann::json::parse(config), "seed");
  TensorFile file{.tensors = {{"classifier.weight", "F32", {2, 4}, std::string(32, '\0')}}, .metadata = {{"format", "pt"}}};
  const ParameterLayout layout = models::encoder_layout(c);
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    const bool vector = t.role == Role::bias || t.role == Role::norm_scale || t.role == Role::norm_bias;
    file.tensors.push_back({t.name, "F32",
                            vector ? std::vector<std::int64_t>{t.cols} : std::vector<std::int64_t>{t.rows, t.cols},
                            std::string(std::size_t(t.size()) * 4, '\x3d')});
  }
  return file;
}

}  // namespace lorasb::fuzz
