// One run of one method: head, initialisation, training, test.
#pragma once

#include "examples/common/peak_memory.hpp"
#include "examples/common/progress.hpp"
#include "examples/finetune/run_state.hpp"
#include "examples/finetune/task.hpp"

namespace lorasb::examples {

/// A finished run: the model that it trained and what it measured. `model` looks into the task's base model.
struct FinishedRun {
  TunedModel model;
  RunResult result;
};

class Run {
 public:
  Run(Task& task, FinetuneOptions options) : task_(task), options_(std::move(options)) {
    result_.method = options_.method;
    result_.seed = options_.seed;
    result_.learning_rate = learning_rate(options_);
  }

  FinishedRun finish() {
    const std::optional<io::Checkpoint<float>> saved = detail::RunState::load(options_);
    const double start = seconds_now();
    TunedModel model = start_model(saved);
    if (!saved) result_.init_seconds = seconds_now() - start;
    if (options_.method == Method::head) {
      measure_head(*model.values);
    } else {
      train(model, saved);
    }
    result_.peak_rss_bytes = peak_rss_bytes();
    if (!model.adapters.empty()) load_cores(*model.values, model.adapters);
    return {.model = std::move(model), .result = std::move(result_)};
  }

 private:
  Parameters<float> trained_head() {
    if (task_.train_features.cols() == 0)
      task_.train_features = frozen_features(task_.base, task_.train, options_.parts, options_.threads);
    return train_head(task_.train_features, task_.train.labels, task_.classes(),
                      {.epochs = options_.method == Method::head ? options_.head_epochs : options_.start_head_epochs,
                       .learning_rate = options_.head_learning_rate,
                       .weight_decay = options_.head_decay,
                       .seed = options_.seed});
  }

  TunedModel start_model(const std::optional<io::Checkpoint<float>>& saved) {
    const Parameters<float> head = saved ? empty_head() : trained_head();
    switch (options_.method) {
      case Method::lora_sb:
        result_.rank = options_.rank;
        return tune_cores(Method::lora_sb, task_.base, head, saved ? saved_adapters(*saved) : new_adapters(head));
      case Method::lora_xs:
        result_.rank = options_.rank;
        return tune_cores(Method::lora_xs, task_.base, head,
                          saved ? saved_adapters(*saved) : xs_adapters(task_.base, options_.rank, options_.seed));
      case Method::lora:
        result_.rank = options_.rank;
        return tune_lora(task_.base, head, options_.rank, options_.seed);
      case Method::full:
        return tune_all(task_.base, head);
      case Method::head:
        break;
    }
    return tune_head(task_.base, head);
  }

  Parameters<float> empty_head() const {
    ParameterLayout layout;
    append_head(task_.classes(), task_.base.config.hidden, layout);
    return Parameters<float>(layout);
  }

  AdapterSet<float> new_adapters(const Parameters<float>& head) {
    std::vector<Index> order(static_cast<std::size_t>(std::min(options_.init_examples, task_.train.size())));
    train::ShuffledBatches shuffled(task_.train.size(), std::ssize(order), options_.seed);
    std::ranges::copy(shuffled.next(), order.begin());
    train::InitializeModulesOptions init;
    init.adapter.rank = options_.rank;
    init.adapter.rule = options_.optimizer == OptimizerKind::adamw ? FirstStep::adamw : FirstStep::sgd;
    init.adapter.learning_rate = schedule().first_nonzero_rate();
    init.adapter.seed = options_.seed;
    init.kind = options_.init_sketch ? train::EstimateKind::sketch : train::EstimateKind::dense;
    init.memory_bytes = static_cast<std::size_t>(options_.init_memory_mb) << 20;
    train::InitializedModules<float> found = sb_adapters(task_.base, head, task_.train, order, init);
    result_.captured = std::move(found.reports);
    return std::move(found.adapters);
  }

  AdapterSet<float> saved_adapters(const io::Checkpoint<float>& saved) const {
    AdapterSet<float> adapters;
    for (const Module<float>& m : adapted_modules(task_.base)) {
      LowRankAdapter<float> adapter{.B = Weight<float>(m.W0.rows(), options_.rank),
                                    .R = Weight<float>::Zero(options_.rank, options_.rank),
                                    .A = Weight<float>(options_.rank, m.W0.cols())};
      detail::RunState::fill(flat(adapter.B), saved.tensor("frozen." + m.name + ".B"), "B");
      detail::RunState::fill(flat(adapter.A), saved.tensor("frozen." + m.name + ".A"), "A");
      adapters.add(m.name, std::move(adapter));
    }
    return adapters;
  }

  Index steps_per_epoch() const { return (task_.train.size() + options_.batch - 1) / options_.batch; }
  optim::Schedule schedule() const {
    const Index steps = options_.epochs * steps_per_epoch();
    return optim::Schedule({.decay = optim::Decay::linear,
                            .learning_rate = learning_rate(options_),
                            .warmup_steps = Index(options_.warmup * double(steps)),
                            .total_steps = steps});
  }

  void measure_head(const Parameters<float>& head) {
    const auto measure = [&](Matrix<float>& features, const TokenizedTexts& texts) {
      if (texts.size() == 0) return 0.0;
      if (features.cols() == 0) features = frozen_features(task_.base, texts, options_.parts, options_.threads);
      return head_accuracy(head, features, texts.labels);
    };
    result_.trainable_head = head.layout().size();
    result_.validation_accuracy = measure(task_.validation_features, task_.validation);
    result_.test_accuracy = measure(task_.test_features, task_.test);
  }

  void train(TunedModel& model, const std::optional<io::Checkpoint<float>>& saved) {
    TextClassifier classifier(task_.base, model.encoder_weights(task_.base), model.layers, *model.values, options_.parts);
    result_.trainable = classifier.adapter_size();
    result_.trainable_head = classifier.head_size();
    const Index size = model.values->layout().size();
    const std::unique_ptr<optim::Optimizer<float>> optimizer = make_optimizer(options_.optimizer, size);
    if (options_.optimizer == OptimizerKind::adamw)  // SGD's rates are of another size: there the head has the method's
      optimizer->set_rate_factor(result_.trainable, result_.trainable_head,
                                 options_.head_learning_rate / learning_rate(options_));
    train::ShuffledBatches batches(task_.train.size(), options_.batch, options_.seed);
    detail::RunState state(options_, model, *optimizer, batches, result_);
    if (saved) state.restore(*saved);

    const optim::Schedule rates = schedule();
    const Index steps = options_.epochs * steps_per_epoch();
    const Index first = Index(optimizer->steps()) + 1;
    train::Step<float> step(size, options_.parts, options_.threads);
    ProgressBar bar(std::string(name_of(options_.method)), double(steps * options_.batch));
    double running_loss = 0;
    for (Index t = first; t <= steps; ++t) {
      const double began = seconds_now();
      const std::span<const Index> batch = batches.next();
      const train::StepResult found = step.run(
          std::ssize(batch),
          [&](Index part, Index start, Index count, std::span<float> gradient) {
            return classifier.pass(task_.train, batch.subspan(std::size_t(start), std::size_t(count)), part, gradient);
          },
          model.values->flat(), *optimizer, rates.rate(t), options_.max_norm);
      require(found.status == train::StepStatus::updated, ErrorId::not_finite, "step ", t, ": the loss is ", found.mean_loss,
              " and the gradient's norm is ", found.gradient_norm, "; a lower --learning-rate (now ", result_.learning_rate,
              ") may help");
      result_.train_seconds += seconds_now() - began;
      result_.history.push_back({t, found.mean_loss, double(found.correct) / double(batch.size()), rates.rate(t)});
      running_loss = t == first ? found.mean_loss : 0.95 * running_loss + 0.05 * found.mean_loss;
      char note[48];
      std::snprintf(note, sizeof note, "loss %.3f", running_loss);
      bar.update(double(t * options_.batch), double((first - 1) * options_.batch), note);
      if (t % steps_per_epoch() == 0 && task_.validation.size() > 0)
        result_.evaluations.push_back({t, accuracy(classifier, task_.validation, options_.parts, options_.threads)});
      if (options_.checkpoint_every > 0 && (t % options_.checkpoint_every == 0 || t == steps)) state.save();
    }
    if (!result_.evaluations.empty()) result_.validation_accuracy = result_.evaluations.back().validation_accuracy;
    result_.test_accuracy = accuracy(classifier, task_.test, options_.parts, options_.threads);
  }

  Task& task_;
  FinetuneOptions options_;
  RunResult result_;
};

}  // namespace lorasb::examples
