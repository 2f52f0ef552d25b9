// One run of one method: head, initialisation, training, test.
#pragma once

#include <numeric>

#include "examples/common/peak_memory.hpp"
#include "examples/common/progress.hpp"
#include "examples/finetune/run_state.hpp"
#include "examples/finetune/task.hpp"
#include "lorasb/train/gradient_watch.hpp"
#include "lorasb/train/rank_allocation.hpp"

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
    if (!saved) result_.init_seconds = seconds_now() - start - result_.train_seconds;  // the scout's steps are steps
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
    const FrozenModel<float>& base = task_.base.weights;
    const std::vector<Module<float>> modules = task_.base.modules;
    if (options_.method != Method::full && options_.method != Method::head) result_.rank = options_.rank;
    if (goes_on()) return tune_loaded(*task_.loaded, task_.base, task_.loaded_adapters, head);
    switch (options_.method) {
      case Method::lora_sb: {
        AdapterSet<float> adapters = saved                      ? detail::saved_adapters(*saved, modules)
                                     : scouted_ > 0             ? look_ahead_adapters(head)
                                                                : first_step_adapters(head);
        return train::tune_cores(options_.method, base, modules, std::move(adapters), head);
      }
      case Method::lora_xs:
        return train::tune_cores(options_.method, base, modules,
                                 saved ? detail::saved_adapters(*saved, modules)
                                       : xs_adapters(task_.base, options_.rank, options_.seed),
                                 head);
      case Method::lora:  // alpha = rank, so s = 1 and the learning rate alone sets the pace
        return train::tune_lora(base, modules,
                                {.rank = options_.rank, .alpha = double(options_.rank), .seed = options_.seed}, head);
      case Method::ffa_lora:
        return train::tune_ffa_lora(base, modules,
                                    {.rank = options_.rank, .alpha = double(options_.rank), .seed = options_.seed}, head);
      case Method::full:
        return train::tune_all(base, modules, task_.base.layout, head);
      case Method::head:
        break;
    }
    return train::tune_head(base, modules, head);
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
    init.adapter.learning_rate = schedule().first_nonzero_rate();
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
    const double began = seconds_now();
    train::Scout<float> scout(task_.base.modules, head,
                              {.kind = options_.scout,
                               .lora_rank = options_.scout_rank > 0 ? options_.scout_rank : 2 * options_.rank,
                               .seed = options_.seed});
    LookAheadResult& found = result_.look_ahead;
    found.steps = scouted_;
    found.bytes = scout.bytes(options_.parts);
    std::fprintf(stderr, "The scout (%s) trains %td numbers for %td steps; it takes %.0f MiB more than the frozen model\n",
                 std::string(train::scout_names[std::size_t(options_.scout)]).c_str(), scout.values().layout().size(),
                 scouted_, double(found.bytes) / (1 << 20));
    const std::vector<Index> order = first_texts();
    found.loss_before = mean_loss(scout.layers(), scout.values(), order);
    {
      Classifier classifier = make_classifier(task_.base, task_.base.weights, scout.layers(), scout.values(), options_.parts);
      classifier.set_class_weights(task_.class_weights);
      const std::unique_ptr<optim::Optimizer<float>> optimizer = scout.make_optimizer();
      set_head_rate(*optimizer, scout.values().layout(), scout_learning_rate(options_));
      const optim::Schedule rates({.learning_rate = scout_learning_rate(options_),
                                   .warmup_steps = Index(options_.warmup * double(scouted_))});
      take_steps(
          "scout", "--scout-learning-rate", 1, scouted_, classifier, scout.values(), *optimizer,
          [&](Index t) { return rates.rate(t); }, [&] { scout.after_step(); }, [](Index) { return false; });
    }
    found.loss_after_scout = mean_loss(scout.layers(), scout.values(), order);
    head = scout.head();
    train::InitializedModules<float> adapters = scout.adapters(adapter_options());
    found.loss_after_truncation =
        mean_loss(train::started_layers<float>(task_.base.modules, adapters.adapters), head, order);
    found.seconds = seconds_now() - began;
    return take(std::move(adapters));
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
  double mean_loss(const Layers<float>& layers, const Parameters<float>& values, const std::vector<Index>& order) const {
    Classifier classifier = make_classifier(task_.base, task_.base.weights, layers, values, options_.parts);
    std::vector<double> losses(std::size_t(options_.parts));
    models::for_pieces(std::ssize(order), options_.parts, options_.threads,
                       [&](Index part, Index, std::span<const Index> piece) {
                         std::vector<Index> texts;
                         for (const Index i : piece) texts.push_back(order[std::size_t(i)]);
                         losses[std::size_t(part)] += classifier.measure(task_.train, texts, part).loss;
                       });
    return std::accumulate(losses.begin(), losses.end(), 0.0) / double(order.size());
  }

  /// Texts of an update: the sampler draws them together, so that the gradients of several batches are those of one large
  /// batch.
  Index texts_per_step() const { return options_.batch * options_.accumulate; }
  Index steps_per_epoch() const { return (task_.train.size() + texts_per_step() - 1) / texts_per_step(); }
  /// Of the steps after the scout's, counted from 1.
  optim::Schedule schedule() const {
    const Index steps = all_steps_ - scouted_;
    return optim::Schedule({.decay = optim::Decay::linear,
                            .learning_rate = learning_rate(options_),
                            .warmup_steps = Index(options_.warmup * double(steps)),
                            .total_steps = steps});
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
    const std::unique_ptr<optim::Optimizer<float>> optimizer =
        make_optimizer(options_.optimizer, model.values->layout().size());
    if (options_.optimizer == OptimizerKind::adamw)  // SGD's rates are of another size: there the head has the method's
      set_head_rate(*optimizer, model.values->layout(), learning_rate(options_));
    classifier.set_class_weights(task_.class_weights);
    require(options_.keep == Keep::last || task_.validation.size() > 0, ErrorId::data, options_.patience > 0 ? "--patience" : "--keep best",
            ": there are no validation texts: a tenth of the training texts is none");
    detail::RunState state(options_, model, *optimizer, batches_, result_, scouted_ + 1);
    if (saved) state.restore(*saved);

    const optim::Schedule rates = schedule();
    if (!state.is_out_of_patience())
      take_steps(
          std::string(name_of(options_.method)), "--learning-rate", scouted_ + Index(optimizer->steps()) + 1, all_steps_,
          classifier, *model.values, *optimizer, [&](Index t) { return rates.rate(t - scouted_); }, [] {},
          [&](Index t) {
            const bool is_evaluated = !result_.evaluations.empty() && result_.evaluations.back().step == t;
            if (is_evaluated) state.keep_best();
            const bool is_done = is_evaluated && state.is_out_of_patience();
            if (options_.checkpoint_every > 0 && (t % options_.checkpoint_every == 0 || t == all_steps_ || is_done))
              state.save();
            return is_done;
          });
    if (state.is_out_of_patience()) result_.stopped_step = result_.evaluations.back().step;
    if (!result_.evaluations.empty()) result_.validation = result_.evaluations.back().validation;
    state.restore_best();
    result_.take_test(task_.test, outputs_for(classifier, task_.test));
  }

  void set_head_rate(optim::Optimizer<float>& optimizer, const ParameterLayout& layout, double rate) const {
    for (const Range& head : layout.ranges([](const auto& t) { return is_head(t.role); }))
      optimizer.set_rate_factor(head.first, head.count, options_.head_learning_rate / rate);
  }

  /// Steps first, ..., last of the run, with the rate `rate(t)`. `moved()` follows each step; then comes validation, where an
  /// epoch ends, and `finished(t)`, which says whether to stop.
  template <class Rate, class Moved, class Finished>
  void take_steps(const std::string& name, const char* rate_flag, Index first, Index last, Classifier& classifier, Parameters<float>& values,
                  optim::Optimizer<float>& optimizer, const Rate& rate, const Moved& moved,
                  const Finished& finished) {
    train::Step<float> step(values.layout().size(), options_.parts, options_.threads);
    train::GradientWatch watch(values.layout());
    ProgressBar bar(name, double(last * texts_per_step()));
    double running_loss = 0;
    for (Index t = first; t <= last; ++t) {
      const double began = seconds_now();
      const std::span<const Index> batch = batches_.next();
      classifier.set_dropout(options_.dropout, derive_seed(derive_seed(options_.seed, dropout_stream), std::uint64_t(t)));
      for (std::size_t done = 0; done < batch.size(); done += std::size_t(options_.batch)) {
        const std::span<const Index> piece = batch.subspan(done, std::min(std::size_t(options_.batch), batch.size() - done));
        step.accumulate(std::ssize(piece), [&](Index part, Index start, Index count, std::span<float> gradient) {
          return classifier.pass(task_.train, piece.subspan(std::size_t(start), std::size_t(count)), part, gradient);
        });
      }
      watch.see<float>(step.gradient_sum());
      const train::StepResult found = step.apply(values.flat(), optimizer, rate(t), {.max_norm = options_.max_norm});
      require(found.status == train::StepStatus::updated, ErrorId::not_finite, name, ", step ", t, ": the loss is ",
              found.mean_loss, " and the gradient's norm is ", found.gradient_norm, "; a lower ", rate_flag, " (now ", rate(t), ") may help");
      result_.history.push_back({t, found.mean_loss, double(found.correct) / double(batch.size()), rate(t)});
      moved();
      result_.train_seconds += seconds_now() - began;
      running_loss = t == first ? found.mean_loss : 0.95 * running_loss + 0.05 * found.mean_loss;
      char note[48];
      std::snprintf(note, sizeof note, "loss %.3f", running_loss);
      bar.update(double(t * texts_per_step()), double((first - 1) * texts_per_step()), note);
      if (t % steps_per_epoch() == 0 && task_.validation.size() > 0)
        result_.evaluations.push_back({t, scores_of(task_.validation.targets(), outputs_for(classifier, task_.validation))[0].value});
      if (finished(t)) return;
    }
  }

  static constexpr std::uint64_t dropout_stream = 19;  // of the seed, its own

  Task& task_;
  FinetuneOptions options_;
  train::ShuffledBatches batches_;
  Index scouted_ = 0, all_steps_ = 0;  // the scout's steps, and all
  RunResult result_;
};

}  // namespace lorasb::examples
