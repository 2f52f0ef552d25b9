// One private run: every training text is protected, and nothing but noised sums is learnt from it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/common/private_bases.hpp"
#include "examples/finetune/run.hpp"
#include "lorasb/train/private_step.hpp"

namespace lorasb::examples {

class PrivateRun {
 public:
  /// `task` must outlive it.
  PrivateRun(Task& task, const FinetuneOptions& options)
      : task_(task),
        options_(options),
        ledger_(options.privacy.ledger(static_cast<std::uint64_t>(task.train.size()))) {
    result_.method = options_.method;
    result_.seed = options_.seed;
    result_.learning_rate = rate();
  }

  FinishedRun finish() {
    const double began = seconds_now();
    train::TunedModel<float> model = start_model();
    result_.init_seconds = seconds_now() - began;
    train(model);
    result_.peak_rss_bytes = peak_rss_bytes();
    return {.model = std::move(model), .result = std::move(result_)};
  }

 private:
  double rate() const {
    return options_.method == Method::head && options_.learning_rate == 0 ? options_.head_learning_rate : learning_rate(options_);
  }

  /// A head of zeros, or one from the public texts.
  Parameters<float> first_head(const TokenizedTexts& known) const {
    Parameters<float> zeros = start_head(task_.base, task_.classes(), options_.seed);
    if (known.size() == 0) return zeros;
    return train::train_head<float>(frozen_features(task_.base, known, options_.parts, options_.threads), known.labels,
                                    std::move(zeros),
                                    head_options(task_.base, options_, options_.start_head_epochs, options_.head_decay));
  }
  TokenizedTexts public_texts() const {
    if (options_.privacy.bases != PrivateBases::public_file) return {};
    std::vector<Example> examples;
    for (Row& row : read_tsv_file(options_.privacy.public_file, false, nullptr, options_.pairs)) {
      const auto label = std::ranges::find(task_.label_names, row.label);
      require(label != task_.label_names.end(), ErrorId::data, "--bases: \"", options_.privacy.public_file, "\", line ",
              examples.size() + 1, " has the label \"", row.label, "\", which the training texts never show");
      examples.push_back({std::move(row.text), static_cast<std::int32_t>(label - task_.label_names.begin()), {}});
    }
    Index cut = 0;
    return tokenize(examples, task_.base, options_.threads, cut);
  }

  train::TunedModel<float> start_model() {
    const TokenizedTexts known = public_texts();
    const Parameters<float> head = first_head(known);
    const FrozenModel<float>& base = task_.base.weights;
    const std::vector<Module<float>> modules = task_.base.modules;
    if (options_.method != Method::head) result_.rank = options_.rank;
    switch (options_.method) {
      case Method::lora_sb:
        return train::tune_cores(options_.method, base, modules, bases(head, known), head);
      case Method::lora_xs:
        return train::tune_cores(options_.method, base, modules, xs_adapters(task_.base, options_.rank, options_.seed), head);
      case Method::lora:
        return train::tune_lora(base, modules,
                                {.rank = options_.rank, .alpha = double(options_.rank), .seed = options_.seed}, head);
      default:
        return train::tune_head(base, modules, head);
    }
  }
  AdapterSet<float> bases(const Parameters<float>& head, const TokenizedTexts& known) {
    if (known.size() > 0) {
      const std::vector<Index> order = all_of(known);
      train::InitializeModulesOptions init{.adapter = {.rank = options_.rank, .rule = first_step(options_), .seed = options_.seed}};
      init.adapter.learning_rate = rate();
      init.measure_start = false;
      train::InitializedModules<float> found = sb_adapters(task_.base, head, known, order, options_.parts, options_.threads, init);
      result_.captured = std::move(found.reports);
      for (auto& [name, adapter] : found.adapters) adapter.R.setZero();
      return std::move(found.adapters);
    }
    if (options_.privacy.bases == PrivateBases::noised) {
      options_.privacy.charge_bases(ledger_);
      const std::vector<Index> order = all_of(task_.train);
      const std::unique_ptr<privacy::NoiseSource> noise = options_.privacy.source(2);
      return train::bases_of_sums(noised_sums(task_.base, head, task_.train, order, options_.privacy, options_.parts, options_.threads, *noise),
                                  {.rank = options_.rank, .seed = options_.seed});
    }
    return data_free_adapters(task_.base.modules, options_.privacy.bases, options_.rank, options_.seed);
  }

  void train(train::TunedModel<float>& model) {
    const PrivateOptions& o = options_.privacy;
    Classifier classifier = make_classifier(task_.base, model.weights, model.layers, *model.values, options_.parts);
    result_.trainable = classifier.adapter_size();
    result_.trainable_head = classifier.head_size();
    const ParameterLayout& layout = model.values->layout();
    const std::unique_ptr<optim::Optimizer<float>> optimizer = make_optimizer(options_.optimizer, layout.size());
    if (options_.optimizer == OptimizerKind::adamw)
      for (const Range& head : layout.ranges([](const auto& t) { return is_head(t.role); }))
        optimizer->set_rate_factor(head.first, head.count, options_.head_learning_rate / rate());

    const Index examples = task_.train.size();
    const std::unique_ptr<privacy::NoiseSource> draws = o.source(0), noise = o.source(1);
    privacy::PoissonBatches batches(examples, std::min(1.0, double(options_.batch) / double(examples)), *draws);
    const auto steps = static_cast<std::uint64_t>(options_.epochs * ((examples + options_.batch - 1) / options_.batch));
    const double sigma = o.reserve(ledger_, batches.rate(), steps);
    std::fprintf(stderr, "Private: %td texts, q %.3g, %llu steps, noise %.4f x clip %g%s\n", examples, batches.rate(),
                 static_cast<unsigned long long>(steps), sigma, o.clip,
                 o.noise_seed ? "; the noise is SEEDED: nothing is private" : "");
    PrivateReport report{.epsilon = {}, .delta = o.delta, .sigma = sigma, .q = batches.rate(), .steps = steps, .clip = o.clip,
                         .accountant = {}, .bases = options_.method == Method::lora_sb   ? o.bases_name()
                                                    : options_.method == Method::lora_xs ? "w0"
                                                                                         : "none"};
    report.probe_before = probe(classifier);

    train::PrivateStep<float> step(layout.size(), options_.parts, options_.threads,
                                   {.clip = o.clip, .noise = sigma, .origin = o.origin(options_.method == Method::lora_sb)}, ledger_,
                                   batches, *noise);
    const optim::Schedule rates({.decay = optim::Decay::linear,
                                 .learning_rate = rate(),
                                 .warmup_steps = Index(options_.warmup * double(steps)),
                                 .total_steps = Index(steps)});
    ProgressBar bar(std::string(name_of(options_.method)), double(steps), "steps");
    std::string spent;
    for (std::uint64_t t = 1; t <= steps; ++t) {
      const double began = seconds_now();
      step.charge();
      accumulate_in_pieces(step, batches.next(), options_.batch,
                           [&](std::span<const Index> piece, Index part, Index start, Index count, std::span<float> gradient) {
                             return classifier.pass_clipped(task_.train, piece.subspan(std::size_t(start), std::size_t(count)), part, o.clip,
                                                            gradient);
                           });
      const train::PrivateStepResult found = step.apply(model.values->flat(), *optimizer, rates.rate(Index(t)));
      require(found.status == train::StepStatus::updated, ErrorId::not_finite, "step ", t, ": the noised gradient's norm is ",
              found.gradient_norm);
      result_.train_seconds += seconds_now() - began;
      if (t == steps || t % std::max<std::uint64_t>(1, steps / 20) == 0) {  // RDP is quick, and a bound
        char text[64];
        std::snprintf(text, sizeof text, "epsilon < %.2f%s", privacy::rdp_epsilon(ledger_.spent(), o.delta),
                      ledger_.is_private() ? "" : " if it were private");
        spent = text;
      }
      bar.update(double(t), 0, spent);
    }
    const privacy::Epsilon claimed = ledger_.claimed_epsilon();
    report.accountant = privacy::accountant_names[static_cast<std::size_t>(claimed.method)];
    if (ledger_.is_private()) report.epsilon = claimed.epsilon;
    report.probe_after = probe(classifier);
    result_.validation_accuracy = report.probe_after;
    result_.take_test(task_.classes(), task_.test.labels,
                      models::predictions(classifier, task_.test, options_.parts, options_.threads));
    result_.privacy = report;
  }

  /// Accuracy on the validation texts, which are taken as public.
  double probe(Classifier& classifier) const {
    if (task_.validation.size() == 0) return 0;
    return models::accuracy(classifier, task_.validation, options_.parts, options_.threads);
  }

  Task& task_;
  FinetuneOptions options_;
  privacy::Ledger ledger_;
  RunResult result_;
};

/// What holds of the trained numbers, in words.
inline std::string statement(const PrivateReport& r) {
  char text[400];
  const std::string claim = r.epsilon ? concat("epsilon ", *r.epsilon) : std::string("no epsilon: the noise is seeded");
  std::snprintf(text, sizeof text,
                "Privacy of each training text (add-remove): %s at delta %g, by %s; noise %.4f, q %.3g, %llu steps, clip %g, bases %s.\n"
                "Accuracy on public texts: %.2f %% before, %.2f %% after. Not covered: the choice of settings, the labels' names.\n",
                claim.c_str(), r.delta, r.accountant.c_str(), r.sigma, r.q, static_cast<unsigned long long>(r.steps), r.clip,
                r.bases.c_str(), 100 * r.probe_before, 100 * r.probe_after);
  return text;
}

}  // namespace lorasb::examples
