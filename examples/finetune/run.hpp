// One run of one method: head, initialisation, training, test.
#pragma once

#include "examples/common/peak_memory.hpp"
#include "examples/common/progress.hpp"
#include "examples/finetune/run_state.hpp"
#include "examples/finetune/task.hpp"

namespace lorasb::examples {

/// A finished run: the model that it trained and what it measured. `model` looks into the task's base model.
struct FinishedRun {
  train::TunedModel<float> model;
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
    train::TunedModel<float> model = start_model(saved);
    if (!saved) result_.init_seconds = seconds_now() - start;
    if (options_.method == Method::head) {
      measure_head(*model.values);
    } else {
      train_model(model, saved);
    }
    result_.peak_rss_bytes = peak_rss_bytes();
    return {.model = std::move(model), .result = std::move(result_)};
  }

 private:
  Parameters<float> trained_head() {
    if (task_.train_features.cols() == 0)
      task_.train_features = frozen_features(task_.base, task_.train, options_.parts, options_.threads);
    return train::train_head<float>(task_.train_features, task_.train.labels, task_.classes(),
                      {.epochs = options_.method == Method::head ? options_.head_epochs : options_.start_head_epochs,
                       .learning_rate = options_.head_learning_rate,
                       .weight_decay = options_.head_decay,
                       .seed = options_.seed});
  }

  train::TunedModel<float> start_model(const std::optional<io::Checkpoint<float>>& saved) {
    const Parameters<float> head = saved ? empty_head() : trained_head();
    const FrozenModel<float>& base = task_.base.weights;
    const std::vector<Module<float>> modules = task_.base.modules();
    if (options_.method != Method::full && options_.method != Method::head) result_.rank = options_.rank;
    switch (options_.method) {
      case Method::lora_sb:
        return train::tune_cores(options_.method, base, modules, saved ? saved_adapters(*saved) : new_adapters(head), head);
      case Method::lora_xs:
        return train::tune_cores(options_.method, base, modules,
                                 saved ? saved_adapters(*saved) : xs_adapters(task_.base, options_.rank, options_.seed), head);
      case Method::lora:  // alpha = rank, so s = 1 and the learning rate alone sets the pace
        return train::tune_lora(base, modules,
                                {.rank = options_.rank, .alpha = double(options_.rank), .seed = options_.seed}, head);
      case Method::full:
        return train::tune_all(base, modules, models::sentence_encoder_layout(task_.base.config), head);
      case Method::head:
        break;
    }
    return train::tune_head(base, modules, head);
  }

  Parameters<float> empty_head() const {
    ParameterLayout layout;
    models::append_head(task_.classes(), task_.base.config.hidden, layout);
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
    result_.start_loss_before = found.loss_before;
    result_.start_loss_after = found.loss_after;
    if (found.raises_loss())
      std::fprintf(stderr, "The start raises the loss from %.3f to %.3f: a lower --learning-rate may help\n", found.loss_before,
                   found.loss_after);
    return std::move(found.adapters);
  }

  /// With R = 0: the cores come with the values of the checkpoint.
  AdapterSet<float> saved_adapters(const io::Checkpoint<float>& saved) const {
    AdapterSet<float> adapters;
    for (const Module<float>& m : task_.base.modules()) {
      AdapterBasis<float> basis =
          train::restore_basis<float>(saved, m.name, m.W0.rows(), m.W0.cols(), options_.rank);
      adapters.add(m.name, {.B = std::move(basis.B),
                            .R = Weight<float>::Zero(options_.rank, options_.rank),
                            .A = std::move(basis.A),
                            .scale = basis.scale});
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
      return train::head_accuracy<float>(head, features, texts.labels);
    };
    result_.trainable_head = head.layout().size();
    result_.validation_accuracy = measure(task_.validation_features, task_.validation);
    result_.test_accuracy = measure(task_.test_features, task_.test);
  }

  void train_model(train::TunedModel<float>& model, const std::optional<io::Checkpoint<float>>& saved) {
    Classifier classifier = make_classifier(task_.base, model.weights, model.layers, *model.values, options_.parts);
    result_.trainable = classifier.adapter_size();
    result_.trainable_head = classifier.head_size();
    const Index size = model.values->layout().size();
    const std::unique_ptr<optim::Optimizer<float>> optimizer = make_optimizer(options_.optimizer, size);
    if (options_.optimizer == OptimizerKind::adamw)  // SGD's rates are of another size: there the head has the method's
      for (const Range& head : model.values->layout().ranges([](const auto& t) { return is_head(t.role); }))
        optimizer->set_rate_factor(head.first, head.count, options_.head_learning_rate / learning_rate(options_));
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
          model.values->flat(), *optimizer, rates.rate(t), {.max_norm = options_.max_norm});
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
        result_.evaluations.push_back({t, models::accuracy(classifier, task_.validation, options_.parts, options_.threads)});
      if (options_.checkpoint_every > 0 && (t % options_.checkpoint_every == 0 || t == steps)) state.save();
    }
    if (!result_.evaluations.empty()) result_.validation_accuracy = result_.evaluations.back().validation_accuracy;
    result_.test_accuracy = models::accuracy(classifier, task_.test, options_.parts, options_.threads);
  }

  Task& task_;
  FinetuneOptions options_;
  RunResult result_;
};

}  // namespace lorasb::examples
