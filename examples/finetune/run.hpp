// One run of one method: head, initialisation, training, test.
#pragma once

#include "examples/common/peak_memory.hpp"
#include "examples/common/progress.hpp"
#include "examples/finetune/run_result.hpp"
#include "examples/finetune/task.hpp"
#include "lorasb/train/rank_allocation.hpp"
#include "lorasb/train/training_checkpoint.hpp"

namespace lorasb::examples {

/// A finished run: the model that it trained and what it measured. `model` looks into the task's base model.
struct FinishedRun {
  train::TunedModel<float> model;
  RunResult result;
};

class Run {
 public:
  Run(Task& task, FinetuneOptions options)
      : task_(task),
        options_(std::move(options)),
        batches_(task.train.size(), options_.batch * options_.accumulate, options_.seed) {
    const Index epochs = options_.epochs * steps_per_epoch();
    if (options_.method == Method::lora_sb && !goes_on())
      scouted_ = options_.look_ahead == FinetuneOptions::automatic ? epochs / 6 : options_.look_ahead;
    all_steps_ = options_.look_ahead_extra ? epochs + scouted_ : epochs;
    require(scouted_ < all_steps_, ErrorId::value, "--look-ahead: ", scouted_, " steps of the ", all_steps_,
            " of the run leave none for the cores");
    result_.method = options_.method;
    result_.seed = options_.seed;
    result_.learning_rate = learning_rate(options_);
  }

  FinishedRun finish() {
    const std::optional<io::Checkpoint<float>> saved = detail::load_checkpoint(options_);
    const double start = seconds_now();
    train::TunedModel<float> model = start_model(saved);
    if (!saved) result_.init_seconds = seconds_now() - start - result_.record.seconds;  // the scout's steps are steps
    if (options_.method == Method::head) {
      measure_head(*model.values);
    } else {
      train_model(model, saved);
    }
    task_.output_scale.apply(*model.values);
    result_.peak_rss_bytes = peak_rss_bytes();
    return {.model = std::move(model), .result = std::move(result_)};
  }

 private:
  /// Whether the model is that of --load, and not only its head.
  bool goes_on() const { return task_.loaded && task_.loaded->method == options_.method && options_.method != Method::head; }

  Parameters<float> trained_head() {
    std::optional<Parameters<float>> start;
    if (task_.loaded) {
      start = loaded_head(*task_.loaded, task_.base, empty_head());
      task_.output_scale.inverse().apply(*start);
    }
    if (start && options_.method != Method::head) return std::move(*start);
    if (task_.train_features.cols() == 0)
      task_.train_features = frozen_features(task_.base, task_.train, options_.parts, options_.threads);
    const Index epochs = options_.method == Method::head ? options_.head_epochs : options_.start_head_epochs;
    return train::train_head<float>(task_.train_features, task_.train.targets(), start ? std::move(*start) : empty_head(),
                                    head_options(epochs));
  }

  train::TunedModel<float> start_model(const std::optional<io::Checkpoint<float>>& saved) {
    Parameters<float> head = saved ? empty_head() : trained_head();
    if (options_.method != Method::full && options_.method != Method::head) result_.rank = options_.rank;
    if (goes_on()) return tune_loaded(*task_.loaded, task_.base, task_.loaded_adapters, head);
    AdapterSet<float> adapters;
    if (options_.method == Method::lora_sb)
      adapters = saved          ? train::restore_adapters(*saved, task_.base.modules)
                 : scouted_ > 0 ? look_ahead_adapters(head)
                                : first_step_adapters(head);
    if (options_.method == Method::lora_xs)
      adapters = saved ? train::restore_adapters(*saved, task_.base.modules) : xs_adapters(task_.base, options_.rank, options_.seed);
    return classify::start_model(options_.method, task_.base, std::move(adapters), lora_options(options_), head);
  }

  train::HeadOptions head_options(Index epochs) const {
    train::HeadOptions head = examples::head_options(task_.base, options_, epochs, options_.head_decay);
    head.class_weights = task_.class_weights;
    return head;
  }
  Parameters<float> empty_head() const { return start_head(task_.base, task_.classes(), options_.seed); }

  /// Adapters of the first step, estimated from some texts. The head stays as it is.
  AdapterSet<float> first_step_adapters(const Parameters<float>& head) {
    const std::vector<Index> order = first_texts();
    train::InitializeModulesOptions init;
    init.adapter = adapter_options();
    init.adapter.rule = first_step(options_);
    init.adapter.learning_rate = optim::Schedule(schedule()).first_nonzero_rate();
    init.kind = options_.init_sketch ? train::EstimateKind::sketch : train::EstimateKind::dense;
    init.memory_bytes = static_cast<std::size_t>(options_.init_memory_mb) << 20;
    train::InitializedModules<float> found =
        sb_adapters(task_.base, head, task_.train, order, options_.parts, options_.threads, init, task_.class_weights);
    result_.start_loss_before = found.loss_before;
    result_.start_loss_after = found.loss_after;
    if (found.raises_loss())
      std::fprintf(stderr, "The start raises the loss from %.3f to %.3f: a lower --learning-rate may help\n", found.loss_before,
                   found.loss_after);
    return take(std::move(found));
  }

  /// Adapters of the update that a scout makes in the first steps of the run; it trains the head, too.
  AdapterSet<float> look_ahead_adapters(Parameters<float>& head) {
    train::Scout<float> scout(task_.base.modules, head,
                              {.kind = options_.scout,
                               .lora_rank = options_.scout_rank > 0 ? options_.scout_rank : 2 * options_.rank,
                               .seed = options_.seed});
    std::fprintf(stderr, "The scout (%s) trains %td numbers for %td steps; it takes %.0f MiB more than the frozen model\n",
                 std::string(train::scout_names[std::size_t(options_.scout)]).c_str(), scout.values().layout().size(),
                 scouted_, double(scout.bytes(options_.parts)) / (1 << 20));
    LookAheadOptions ahead = look_ahead_options(options_);
    ahead.steps = scouted_;
    ahead.adapter = adapter_options();
    ahead.warmup_steps = Index(options_.warmup * double(scouted_));
    ahead.pass_texts = options_.batch;
    ahead.dropout = options_.dropout;
    ahead.seed = options_.seed;
    ahead.class_weights = task_.class_weights;
    ahead.measured = first_texts();
    ahead.parts = options_.parts;
    StepProgress progress("scout", texts_per_step(), 0, scouted_);
    ahead.after_step = [&](train::TrainingRun<float>& run, Classifier& classifier) { after_step(run, classifier, progress); };
    LookAhead found = look_ahead(scout, task_.base, task_.train, batches_, ahead);
    result_.look_ahead = found.report;
    result_.record = std::move(found.record);
    head = scout.head();
    return take(std::move(found.modules));
  }

  /// With ranks by energy, modules start at up to twice the rank and are cut back in take().
  InitializeOptions adapter_options() const {
    InitializeOptions adapter{.rank = options_.rank, .seed = options_.seed};
    if (options_.rank_allocation == RankAllocation::energy) {
      adapter.rank *= 2;
      for (const Module<float>& m : task_.base.modules) adapter.rank = std::min({adapter.rank, m.W0.rows(), m.W0.cols()});
    }
    return adapter;
  }
  AdapterSet<float> take(train::InitializedModules<float>&& found) {
    if (options_.rank_allocation == RankAllocation::energy)
      train::allocate_ranks(found, std::ssize(found.reports) * options_.rank * options_.rank);
    result_.captured = std::move(found.reports);
    if (options_.core_start == CoreStart::zero)
      for (auto& [name, adapter] : found.adapters) adapter.R.setZero();
    return std::move(found.adapters);
  }

  /// The first texts of the run's order: what first steps are estimated from and losses of the start are measured on.
  std::vector<Index> first_texts() const {
    train::ShuffledBatches shuffled(task_.train.size(), std::min(options_.init_examples, task_.train.size()), options_.seed);
    const std::span<const Index> texts = shuffled.next();
    return {texts.begin(), texts.end()};
  }
  /// Texts of an update: the sampler draws them together, so that the gradients of several batches are those of one large
  /// batch.
  Index texts_per_step() const { return options_.batch * options_.accumulate; }
  Index steps_per_epoch() const { return (task_.train.size() + texts_per_step() - 1) / texts_per_step(); }
  /// Of the steps after the scout's, counted from 1.
  optim::ScheduleOptions schedule() const {
    const Index steps = all_steps_ - scouted_;
    return {.decay = optim::Decay::linear,
            .learning_rate = learning_rate(options_),
            .warmup_steps = Index(options_.warmup * double(steps)),
            .total_steps = steps};
  }

  void measure_head(const Parameters<float>& head) {
    const auto outputs = [&](Matrix<float>& features, const TokenizedTexts& texts) {
      if (features.cols() == 0) features = frozen_features(task_.base, texts, options_.parts, options_.threads);
      return as_given(train::head_outputs<float>(head, features, head_options(0)));
    };
    result_.trainable_head = head.layout().size();
    if (task_.validation.size() > 0)
      result_.validation = scores_of(task_.validation.targets(), outputs(task_.validation_features, task_.validation))[0].value;
    result_.take_test(task_.test, outputs(task_.test_features, task_.test));
  }

  /// Outputs in the size that the user's numbers have.
  Matrix<float> as_given(Matrix<float> outputs) const {
    task_.output_scale.apply(MatrixView<float>(outputs));
    return outputs;
  }
  Matrix<float> outputs_for(Classifier& classifier, const TokenizedTexts& texts) const {
    return as_given(models::outputs(classifier, texts, options_.parts, options_.threads));
  }

  void train_model(train::TunedModel<float>& model, const std::optional<io::Checkpoint<float>>& saved) {
    Classifier classifier = make_classifier(task_.base, model.weights, model.layers, *model.values, options_.parts);
    result_.trainable = classifier.adapter_size();
    result_.trainable_head = classifier.head_size();
    classifier.set_class_weights(task_.class_weights);
    const std::unique_ptr<optim::Optimizer<float>> optimizer = model_optimizer(options_, model.values->layout(), learning_rate(options_));
    require(options_.keep == Keep::last || task_.validation.size() > 0, ErrorId::data, options_.patience > 0 ? "--patience" : "--keep best",
            ": there are no validation texts: a tenth of the training texts is none");
    train::TrainingRun<float> run(*model.values, *optimizer, batches_,
                                  {.steps = all_steps_ - scouted_,
                                   .steps_before = scouted_,
                                   .schedule = schedule(),
                                   .max_norm = options_.max_norm,
                                   .pass_examples = options_.batch,
                                   .keep_best = options_.keep == Keep::best,
                                   .patience = options_.patience,
                                   .parts = options_.parts,
                                   .threads = options_.threads},
                                  std::move(result_.record));
    if (saved) {
      train::restore_training(*saved, run);
      detail::restore_result(*saved, result_);
    }
    const std::string name(name_of(options_.method));
    StepProgress progress(name, texts_per_step(), run.steps_taken(), all_steps_);
    while (!run.is_done()) {
      set_step_dropout(classifier, options_.dropout, options_.seed, run.steps_taken() + 1);
      const double rate = run.learning_rate();
      const train::StepResult found = run.step([&](std::span<const Index> texts, Index part, std::span<float> gradient) {
        return classifier.pass(task_.train, texts, part, gradient);
      });
      require(found.status == train::StepStatus::updated, ErrorId::not_finite, name, ", step ", run.steps_taken() + 1,
              ": the loss is ", found.mean_loss, " and the gradient's norm is ", found.gradient_norm,
              "; a lower --learning-rate (now ", rate, ") may help");
      after_step(run, classifier, progress);
      if (options_.checkpoint_every > 0 && (run.steps_taken() % options_.checkpoint_every == 0 || run.is_done())) save(run, model);
    }
    run.finish();
    result_.kept_step = run.best_step();
    if (run.is_out_of_patience()) result_.stopped_step = run.record().evaluations.back().step;
    if (const auto kept = run.kept_evaluation()) result_.validation = kept->score;
    result_.record = run.record();
    result_.take_test(task_.test, outputs_for(classifier, task_.test));
  }

  /// Progress, and validation where an epoch ends.
  void after_step(train::TrainingRun<float>& run, Classifier& classifier, StepProgress& progress) const {
    progress.update(run.steps_taken(), run.record().steps.back().loss);
    if (run.ends_epoch() && task_.validation.size() > 0)
      run.evaluate(scores_of(task_.validation.targets(), outputs_for(classifier, task_.validation))[0].value);
  }
  void save(const train::TrainingRun<float>& run, const train::TunedModel<float>& model) const {
    io::Checkpoint<float> c;
    train::save_training(c, run);
    detail::save_result(c, result_, model, options_);
    io::save_checkpoint(detail::checkpoint_path(options_), c);
  }

  Task& task_;
  FinetuneOptions options_;
  train::ShuffledBatches batches_;
  Index scouted_ = 0, all_steps_ = 0;  // the scout's steps, and all
  RunResult result_;
};

}  // namespace lorasb::examples
