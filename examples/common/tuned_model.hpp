// The encoder of both programs as a classifier, and the start of LoRA-SB on it.
#pragma once

#include <span>
#include <vector>

#include "lorasb/adapter/lora/lora_xs.hpp"
#include "lorasb/models/classifier.hpp"
#include "lorasb/models/sentence_encoder/model.hpp"
#include "lorasb/models/sentence_encoder/weights.hpp"
#include "lorasb/train/train_head.hpp"
#include "lorasb/train/initialize_modules.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::examples {

using models::TokenizedTexts;
using models::UseLite;
using Encoder = models::SentenceEncoder<float>;
using Classifier = models::TextClassifier<float, Encoder>;

/// `weights` are the base model's, or a trained copy.
inline Classifier make_classifier(const UseLite& base, const FrozenModel<float>& weights, const Layers<float>& layers,
                                  const Parameters<float>& values, Index parts) {
  return Classifier(Encoder(base.config, weights, base.inverse_timescales, layers, values.layout()), values, parts);
}

/// Vectors of the frozen encoder: features x texts.
inline Matrix<float> frozen_features(const UseLite& base, const TokenizedTexts& texts, Index parts, int threads) {
  ParameterLayout layout;
  models::append_head(1, base.config.hidden, layout);
  const train::TunedModel<float> frozen = train::tune_head<float>(base.weights, base.modules(), Parameters<float>(layout));
  Classifier classifier = make_classifier(base, base.weights, frozen.layers, *frozen.values, parts);
  Matrix<float> E(base.config.hidden, texts.size());
  models::for_pieces(texts.size(), parts, threads, [&](Index part, Index first, std::span<const Index> piece) {
    E.middleCols(first, std::ssize(piece)) = classifier.encode(texts, piece, part);
  });
  return E;
}

/// LoRA-XS adapters of every module.
inline AdapterSet<float> xs_adapters(const UseLite& base, Index rank, std::uint64_t seed) {
  AdapterSet<float> adapters;
  std::uint64_t position = 0;
  for (const Module<float>& m : base.modules())
    adapters.add(m.name, initialize_lora_xs<float>(m.W0.widened(), {.rank = rank, .seed = derive_seed(seed, position++)}));
  return adapters;
}

/// LoRA-SB adapters of every module, from the texts named in `order`, with the head that training starts with.
inline train::InitializedModules<float> sb_adapters(const UseLite& base, const Parameters<float>& head,
                                                    const TokenizedTexts& texts, std::span<const Index> order,
                                                    train::InitializeModulesOptions options) {
  const train::EstimationPass<float> pass = [&](const Layers<float>& layers) {
    Classifier classifier = make_classifier(base, base.weights, layers, head, 1);
    std::vector<float> gradient(head.flat().size());
    train::EstimationResult found(0, 0);
    for (std::size_t first = 0; first < order.size(); first += 32) {
      const std::span<const Index> batch = order.subspan(first, std::min<std::size_t>(32, order.size() - first));
      found.loss += classifier.pass(texts, batch, 0, gradient).loss;
    }
    found.examples = std::ssize(order);
    return found;
  };
  return train::initialize_modules<float>(base.modules(), pass, options);
}

}  // namespace lorasb::examples
