// LoRA-SB's adapters from a look-ahead: K steps of a scout on texts, and what they found.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/classify/make_classifier.hpp"
#include "lorasb/train/scout.hpp"
#include "lorasb/train/training_run.hpp"

namespace lorasb::classify {

struct LookAheadOptions {
  Index steps = 0;                  // K; required
  InitializeOptions adapter = {};   // rank and seed of the adapters
  double learning_rate = 0;         // the highest; 0: train::scout_learning_rate()
  std::string_view rate_name = "learning_rate";  // what messages call it
  Index warmup_steps = 0;           // with a rising rate
  double head_learning_rate = 3e-3;
  double max_norm = 1;              // the mean gradient is clipped to it; 0: not at all
  Index pass_texts = 0;             // most texts of one pass (TrainingRunOptions::pass_examples)
  double dropout = 0;               // of what a scout of ScoutKind::lora reads
  std::uint64_t seed = 0;           // of dropout
  std::vector<double> class_weights = {};  // of each class in the loss; empty: all 1
  std::vector<Index> measured = {};        // texts that losses are measured on; empty: none are measured
  /// After each step, with the scout's classifier: progress, evaluations.
  std::function<void(train::TrainingRun<float>& run, Classifier& classifier)> after_step = {};
  Index parts = 4;                  // of a batch; results depend on it, not on the threads
  int threads = 1;
};

struct LookAheadReport {
  Index steps = 0;
  double loss_before = std::numeric_limits<double>::quiet_NaN();  // mean losses of `measured`; NaN: not measured
  double loss_after_scout = loss_before, loss_after_truncation = loss_before;
  double seconds = 0;     // steps, decomposition and measuring
  std::size_t bytes = 0;  // Scout::bytes
};

struct LookAhead {
  train::InitializedModules<float> modules;  // the adapters
  LookAheadReport report;
  train::TrainingRecord record;              // of the scout's steps, for the TrainingRun of the cores
};

/// The mean loss of the texts named in `order`, with these layers in the place of the base model's.
inline double mean_loss(const BaseModel& base, const Layers<float>& layers, const Parameters<float>& values, const TokenizedTexts& texts,
                        std::span<const Index> order, Index parts, int threads) {
  Classifier classifier = make_classifier(base, base.weights, layers, values, parts);
  std::vector<double> losses(static_cast<std::size_t>(parts));
  models::for_pieces(std::ssize(order), parts, threads, [&](Index part, Index first, std::span<const Index> piece) {
    losses[static_cast<std::size_t>(part)] +=
        classifier.measure(texts, order.subspan(static_cast<std::size_t>(first), piece.size()), part).loss;
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0) / double(order.size());
}

/// Takes the steps of a look-ahead with a scout of base.modules, on the texts named in `order`, which `batches` numbers 0, 1, ...;
/// empty: all texts. Throws ErrorId::not_finite for a rate that is too high, ErrorId::zero_update as TrainingRun does.
inline train::TrainingRecord take_scout_steps(train::Scout<float>& scout, const BaseModel& base, const TokenizedTexts& texts,
                                              train::ShuffledBatches& batches, const LookAheadOptions& options,
                                              std::vector<Index> order = {}) {
  const double rate = options.learning_rate > 0 ? options.learning_rate : train::scout_learning_rate(scout.options().kind);
  const std::unique_ptr<optim::Optimizer<float>> optimizer = scout.make_optimizer();
  train::set_head_rate(*optimizer, scout.values().layout(), options.head_learning_rate / rate);
  Classifier classifier = make_classifier(base, base.weights, scout.layers(), scout.values(), options.parts);
  classifier.set_class_weights(options.class_weights);
  train::TrainingRun<float> run(scout.values(), *optimizer, batches,
                                {.steps = options.steps,
                                 .schedule = {.learning_rate = rate, .warmup_steps = options.warmup_steps},
                                 .max_norm = options.max_norm,
                                 .pass_examples = options.pass_texts,
                                 .examples = std::move(order),
                                 .after_step = [&] { scout.after_step(); },
                                 .parts = options.parts,
                                 .threads = options.threads});
  while (!run.is_done()) {
    set_step_dropout(classifier, options.dropout, options.seed, run.steps_taken() + 1);
    const double of_step = run.learning_rate();
    const train::StepResult found = run.step([&](std::span<const Index> batch, Index part, std::span<float> gradient) {
      return classifier.pass(texts, batch, part, gradient);
    });
    require(found.status == train::StepStatus::updated, ErrorId::not_finite, "scout, step ", run.steps_taken() + 1, ": the loss is ",
            found.mean_loss, " and the gradient's norm is ", found.gradient_norm, "; a lower ", options.rate_name, " (now ", of_step,
            ") may help");
    if (options.after_step) options.after_step(run, classifier);
  }
  return run.record();
}

/// LoRA-SB's start from K steps on these texts (train::Scout), which trains the scout's head, too. Training goes on with the next
/// batches:
///
///     train::Scout<float> scout(base.modules, head);
///     train::ShuffledBatches batches(texts.size(), 32, seed);
///     LookAhead start = look_ahead(scout, base, texts, batches, {.steps = 20, .adapter = {.rank = 8}});
///     train::TunedModel<float> model =
///         train::tune_cores(Method::lora_sb, base.weights, base.modules, std::move(start.modules.adapters), scout.head());
///
/// Throws what take_scout_steps() and Scout::adapters() throw.
inline LookAhead look_ahead(train::Scout<float>& scout, const BaseModel& base, const TokenizedTexts& texts, train::ShuffledBatches& batches,
                            const LookAheadOptions& options, std::vector<Index> order = {}) {
  const auto began = std::chrono::steady_clock::now();
  const auto loss = [&](const Layers<float>& layers, const Parameters<float>& values) {
    if (options.measured.empty()) return std::numeric_limits<double>::quiet_NaN();
    return mean_loss(base, layers, values, texts, options.measured, options.parts, options.threads);
  };
  LookAhead found;
  found.report.steps = options.steps;
  found.report.bytes = scout.bytes(options.parts);
  found.report.loss_before = loss(scout.layers(), scout.values());
  found.record = take_scout_steps(scout, base, texts, batches, options, std::move(order));
  found.report.loss_after_scout = loss(scout.layers(), scout.values());
  found.modules = scout.adapters(options.adapter);
  if (!options.measured.empty())
    found.report.loss_after_truncation = loss(train::started_layers<float>(base.modules, found.modules.adapters), scout.head());
  found.report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return found;
}

}  // namespace lorasb::classify
