// Passes of a classifier with experts: in two phases, since its routers have an auxiliary loss over the whole batch.
#pragma once

#include <span>
#include <vector>

#include "lorasb/mixer/mixer_layer.hpp"
#include "lorasb/models/classifier.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::mixer {

/// For Step::accumulate(). `batch` names the texts of `data`; it may change from batch to batch. Everything must outlive the pass.
///
///     const auto pass = two_phase_pass(classifier, texts, batch);
///     step.accumulate(std::ssize(batch), pass);
template <Real S>
typename train::Step<S>::TwoPhasePass two_phase_pass(models::TextClassifier<S>& classifier, const models::TokenizedTexts& data,
                                                     const std::vector<Index>& batch) {
  return {.statistics_size = classifier.encoder().statistics_size(),
          .forward =
              [&](Index part, Index first, Index count, std::span<double> statistics) {
                return classifier.forward(data, std::span(batch).subspan(std::size_t(first), std::size_t(count)), part, statistics);
              },
          .auxiliary_loss = [&](std::span<const double> statistics) { return classifier.encoder().auxiliary_loss(statistics); },
          .backward = [&](Index part, Index, Index, std::span<const double> statistics,
                          std::span<S> gradient) { classifier.backward(part, statistics, gradient); }};
}

/// visit(routing, cache) for each layer with experts, after a forward pass.
template <Real S, class Visit>
void for_each_routing(const models::TextEncoder<S>& encoder, models::TextEncoderCache<S>& cache, const Visit& visit) {
  encoder.for_each_layer(cache, [&](const LinearLayer<S>& layer, LinearCache<S>& c) {
    if (const auto* const mixed = dynamic_cast<const MixerLayer<S>*>(&layer)) visit(mixed->routing(c), c);
  });
}

}  // namespace lorasb::mixer
