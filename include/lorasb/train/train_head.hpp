// Training a head alone, on the vectors of a frozen encoder: a baseline, and the start of every other method.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/models/head.hpp"
#include "lorasb/nn/problem.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/schedule.hpp"
#include "lorasb/train/sampler.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::train {

struct HeadOptions {
  Index epochs = 60;  // the problem is convex: enough for its loss to stop falling
  Index batch = 256;
  double learning_rate = 3e-3;
  double weight_decay = 0.01;
  std::uint64_t seed = 0;  // of the order
  std::vector<double> class_weights = {};  // of each class in the loss; empty: all 1
  double scale = 0;  // of the features, and what stands behind a dense layer: TextEncoder's head_scale and head_activation
  nn::Activation activation = nn::Activation::tanh;
};

/// AdamW with linear decay on features x texts and their targets, from the head in `values` (append_head, append_dense), which
/// is returned trained. Throws ErrorId::shape for a head over other features or with other outputs.
template <Real S>
Parameters<S> train_head(ConstMatrixView<S> E, const nn::Targets<S>& targets, Parameters<S> values,
                         const HeadOptions& options) {
  const models::Head<S> head(values, options.scale, options.activation);
  const ParameterLayout& layout = values.layout();
  const Index classes = head.classes();
  optim::AdamW<S> optimizer(layout.size(), {.weight_decay = options.weight_decay});
  ShuffledBatches batches(E.cols(), options.batch, options.seed);
  const Index steps = options.epochs * batches.batches_per_epoch();
  const optim::Schedule schedule({.decay = optim::Decay::linear, .learning_rate = options.learning_rate, .total_steps = steps});
  Step<S> step(layout.size(), 1, 1);
  nn::TargetBatch<S> targets_of_batch;
  for (Index t = 1; t <= steps; ++t) {
    const std::span<const Index> batch = batches.next();
    const auto pass = [&](Index, Index, Index, std::span<S> gradient) {
      Matrix<S> X(E.rows(), std::ssize(batch)), logits(classes, X.cols());
      for (Index i = 0; i < X.cols(); ++i) X.col(i) = E.col(batch[static_cast<std::size_t>(i)]);
      head.forward(X, logits);
      const PassResult found =
          nn::differentiate_loss<S>(logits, targets_of_batch.gather(targets, batch), options.class_weights);
      head.backward(X, logits, gradient, not_wanted);
      return found;
    };
    step.run(std::ssize(batch), pass, values.flat(), optimizer, schedule.rate(t));
  }
  return values;
}
/// The same with a class for each text.
template <Real S>
Parameters<S> train_head(ConstMatrixView<S> E, std::span<const std::int32_t> labels, Parameters<S> values,
                         const HeadOptions& options) {
  return train_head<S>(E, nn::Targets<S>{.labels = labels}, std::move(values), options);
}
/// The same from zeros, without a dense layer.
template <Real S>
Parameters<S> train_head(ConstMatrixView<S> E, std::span<const std::int32_t> labels, Index classes,
                         const HeadOptions& options) {
  ParameterLayout layout;
  models::append_head(classes, E.rows(), layout);
  return train_head<S>(E, labels, Parameters<S>(std::move(layout)), options);
}

/// What the head gives for each column of E, before softmax or sigmoid: outputs x texts.
template <Real S>
Matrix<S> head_outputs(const Parameters<S>& values, ConstMatrixView<S> E, const HeadOptions& options = {}) {
  const models::Head<S> head(values, options.scale, options.activation);
  Matrix<S> outputs(head.classes(), E.cols());
  head.forward(E, outputs);
  return outputs;
}

/// The most likely class of each column of E, the lowest among equals.
template <Real S>
std::vector<std::int32_t> head_predictions(const Parameters<S>& values, ConstMatrixView<S> E, const HeadOptions& options = {}) {
  std::vector<std::int32_t> classes(static_cast<std::size_t>(E.cols()));
  nn::best_classes<S>(head_outputs<S>(values, E, options), classes);
  return classes;
}

/// The share of columns of E that the head classifies right.
template <Real S>
double head_accuracy(const Parameters<S>& values, ConstMatrixView<S> E, std::span<const std::int32_t> labels,
                     const HeadOptions& options = {}) {
  return double(nn::count_correct<S>(head_outputs<S>(values, E, options), labels)) / double(E.cols());
}

}  // namespace lorasb::train
