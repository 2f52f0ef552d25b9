// A base model as a classifier to train: its head, its passes, and the vectors that the frozen encoder gives.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "lorasb/classify/base_model.hpp"
#include "lorasb/models/classifier.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::classify {

using models::TokenizedTexts;
using Classifier = models::TextClassifier<float>;

/// `weights` are the base model's, or a trained copy. `layers` and `values` must outlive the classifier.
inline Classifier make_classifier(const BaseModel& base, const FrozenModel<float>& weights, const Layers<float>& layers,
                                  const Parameters<float>& values LORASB_LIFETIMEBOUND, Index parts) {
  return Classifier(base.make_encoder(weights, views_of(layers), values.layout()), values, parts);
}

/// Dropout of one step, by a mask that (seed, step) decides; 0: nothing is dropped.
inline void set_step_dropout(Classifier& classifier, double rate, std::uint64_t seed, Index step) {
  constexpr std::uint64_t stream = 19;  // of the seed, its own
  classifier.set_dropout(rate, derive_seed(derive_seed(seed, stream), static_cast<std::uint64_t>(step)));
}

/// A head of zeros for `classes` classes. Its dense layer, where it has one, is that of the model's folder, or normal numbers.
///
///     train::TunedModel<float> model = train::tune_lora(base.weights, base.modules, {.rank = 8}, start_head(base, classes));
///     Classifier classifier = make_classifier(base, model.weights, model.layers, *model.values, parts);
inline Parameters<float> start_head(const BaseModel& base, Index classes, std::uint64_t seed = 0) {
  ParameterLayout layout;
  if (base.dense) models::append_dense(base.features, layout);
  models::append_head(classes, base.features, layout);
  Parameters<float> head(layout);
  if (!base.dense) return head;
  std::ranges::copy(base.dense->start, head.flat().begin());  // the dense layer is the first
  if (base.dense->start.empty()) {
    Random random(seed, 17);  // a stream of its own
    for (float& w : head.flat(models::dense_module, Role::head_weight)) w = float(base.dense->deviation * random.normal());
  }
  return head;
}

/// Vectors of the frozen encoder: features x texts.
inline Matrix<float> frozen_features(const BaseModel& base, const TokenizedTexts& texts, Index parts, int threads) {
  ParameterLayout layout;
  models::append_head(1, base.features, layout);
  const train::TunedModel<float> frozen = train::tune_head<float>(base.weights, base.modules, Parameters<float>(layout));
  Classifier classifier = make_classifier(base, base.weights, frozen.layers, *frozen.values, parts);
  Matrix<float> E(base.features, texts.size());
  models::for_pieces(texts.size(), parts, threads, [&](Index part, Index first, std::span<const Index> piece) {
    E.middleCols(first, std::ssize(piece)) = classifier.encode(texts, piece, part);
  });
  return E;
}

}  // namespace lorasb::classify
