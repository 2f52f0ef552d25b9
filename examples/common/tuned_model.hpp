// The encoder of both programs as a classifier, and the start of LoRA-SB on it.
#pragma once

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "examples/common/base_model.hpp"
#include "lorasb/adapter/lora/lora_xs.hpp"
#include "lorasb/models/classifier.hpp"
#include "lorasb/train/train_head.hpp"
#include "lorasb/train/initialize_modules.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::examples {

using models::TokenizedTexts;
using Classifier = models::TextClassifier<float>;

/// `weights` are the base model's, or a trained copy.
inline Classifier make_classifier(const BaseModel& base, const FrozenModel<float>& weights, const Layers<float>& layers,
                                  const Parameters<float>& values, Index parts) {
  return Classifier(base.make_encoder(weights, views_of(layers), values.layout()), values, parts);
}

/// A head of zeros for `classes` classes. Its dense layer, where it has one, is that of the model's folder, or normal numbers.
inline Parameters<float> start_head(const BaseModel& base, Index classes, std::uint64_t seed) {
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

/// How a head over this model's vectors is trained.
inline train::HeadOptions head_options(const BaseModel& base, const CommonOptions& options, Index epochs, double weight_decay) {
  return {.epochs = epochs,
          .learning_rate = options.head_learning_rate,
          .weight_decay = weight_decay,
          .seed = options.seed,
          .scale = base.head_scale,
          .activation = base.head_activation};
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

/// LoRA-XS adapters of every module.
inline AdapterSet<float> xs_adapters(const BaseModel& base, Index rank, std::uint64_t seed) {
  AdapterSet<float> adapters;
  std::uint64_t position = 0;
  for (const Module<float>& m : base.modules)
    adapters.add(m.name, initialize_lora_xs<float>(m.W0.widened(), {.rank = rank, .seed = derive_seed(seed, position++)}));
  return adapters;
}

inline std::vector<Index> all_of(const TokenizedTexts& texts) {
  std::vector<Index> order(static_cast<std::size_t>(texts.size()));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

inline constexpr Index estimation_batch = 32;

/// A pass over the texts named in `order`, in batches, with the head that training starts with. Part p takes every batch whose
/// number is p modulo the parts.
inline train::PartedPass<float> estimation_pass(const BaseModel& base, const Parameters<float>& head,
                                                const TokenizedTexts& texts, std::span<const Index> order, Index parts,
                                                int threads, std::size_t batch_size = estimation_batch,
                                                const std::vector<double>& class_weights = {}) {
  const auto run = [&base, &head, &texts, order, parts, batch_size, class_weights](const Layers<float>& layers, Index part) {
    Classifier classifier = make_classifier(base, base.weights, layers, head, 1);
    classifier.set_class_weights(class_weights);
    std::vector<float> gradient(head.flat().size());
    train::EstimationResult found(0, 0);
    for (std::size_t first = std::size_t(part) * batch_size; first < order.size(); first += std::size_t(parts) * batch_size) {
      const std::span<const Index> batch = order.subspan(first, std::min(batch_size, order.size() - first));
      found.loss += classifier.pass(texts, batch, 0, gradient).loss;
      found.examples += std::ssize(batch);
    }
    return found;
  };
  return {.run = run, .parts = parts, .threads = threads};
}

/// LoRA-SB adapters of every module, from the texts named in `order`.
inline train::InitializedModules<float> sb_adapters(const BaseModel& base, const Parameters<float>& head,
                                                    const TokenizedTexts& texts, std::span<const Index> order, Index parts,
                                                    int threads, train::InitializeModulesOptions options,
                                                    const std::vector<double>& class_weights = {}) {
  return train::initialize_modules<float>(
      base.modules, estimation_pass(base, head, texts, order, parts, threads, estimation_batch, class_weights), options);
}

}  // namespace lorasb::examples
