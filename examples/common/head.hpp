// The linear head alone, on the frozen encoder's vectors: the baseline, and where every other method starts.
#pragma once

#include "examples/common/text_classifier.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/schedule.hpp"
#include "lorasb/train/sampler.hpp"

namespace lorasb::examples {

/// Vectors of the frozen encoder: features x texts.
inline Matrix<float> frozen_features(const UseLite& base, const TokenizedTexts& texts, Index parts, int threads) {
  Layers<float> layers;
  for (const Module<float>& module : adapted_modules(base)) layers.push_back(std::make_unique<nn::Linear<float>>(module.W0));
  ParameterLayout layout;
  append_head(1, base.config.hidden, layout);
  const Parameters<float> no_head(layout);
  TextClassifier encoder(base, base.weights, layers, no_head, parts);
  Matrix<float> E(base.config.hidden, texts.size());
  for_pieces(texts.size(), parts, threads, [&](Index part, Index first, std::span<const Index> piece) {
    E.middleCols(first, std::ssize(piece)) = encoder.encode(texts, piece, part);
  });
  return E;
}

struct HeadOptions {
  Index epochs = 60;  // a convex problem: enough for its loss to stand still
  Index batch = 256;
  double learning_rate = 3e-3;
  double weight_decay = 0.01;
  std::uint64_t seed = 0;
};

/// AdamW from zero with linear decay on features x texts and labels. Returns "classifier.weight" and "classifier.bias".
inline Parameters<float> train_head(ConstMatrixView<float> E, std::span<const std::int32_t> labels, Index classes,
                                    HeadOptions options) {
  ParameterLayout layout;
  append_head(classes, E.rows(), layout);
  Parameters<float> head(layout);
  optim::AdamW<float> optimizer(layout.size(), {.weight_decay = options.weight_decay});
  train::ShuffledBatches batches(E.cols(), options.batch, options.seed);
  const Index steps = options.epochs * batches.batches_per_epoch();
  const optim::Schedule schedule({.decay = optim::Decay::linear, .learning_rate = options.learning_rate, .total_steps = steps});
  train::Step<float> step(layout.size(), 1, 1);
  for (Index t = 1; t <= steps; ++t) {
    const std::span<const Index> batch = batches.next();
    step.run(
        std::ssize(batch),
        [&](Index, Index, Index, std::span<float> gradient) {
          Matrix<float> X(E.rows(), std::ssize(batch));
          std::vector<std::int32_t> y;
          for (const Index i : batch) {
            X.col(std::ssize(y)) = E.col(i);
            y.push_back(labels[static_cast<std::size_t>(i)]);
          }
          Matrix<float> logits(classes, X.cols());
          Matrix<float> no_input_gradient(E.rows(), 0);
          head_forward(head, X, logits);
          const double loss = nn::cross_entropy<float>(logits, y, logits);
          head_backward(head, X, logits, gradient, no_input_gradient);
          return train::PassResult{.loss = loss, .correct = 0};
        },
        head.flat(), optimizer, schedule.rate(t), 0);
  }
  return head;
}

/// The share of columns of E that the head classifies right.
inline double head_accuracy(const Parameters<float>& head, ConstMatrixView<float> E, std::span<const std::int32_t> labels) {
  Matrix<float> logits(head.layout().at("classifier.weight").rows, E.cols());
  head_forward(head, E, logits);
  return double(nn::count_correct<float>(logits, labels)) / double(E.cols());
}

}  // namespace lorasb::examples
