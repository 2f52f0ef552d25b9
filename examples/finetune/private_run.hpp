// One private run: every training text is protected, and nothing but noised sums is learnt from it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/common/private_bases.hpp"
#include "examples/finetune/run.hpp"
#include "lorasb/train/ledger_file.hpp"
#include "lorasb/train/private_training.hpp"

namespace lorasb::examples {

class PrivateRun {
 public:
  /// `task` must outlive it.
  PrivateRun(Task& task, const FinetuneOptions& options)
      : task_(task),
        options_(options),
        ledger_(options.privacy.ledger(static_cast<std::uint64_t>(task.train.size()))),
        ledger_file_(options.checkpoint_every > 0 && !options.privacy.noise_seed ? train::LedgerFile(ledger_path(options))
                                                                                 : train::LedgerFile()) {
    if (!options.resume) std::filesystem::remove(ledger_path(options));
    ledger_file_.write_ahead(ledger_);
    result_.method = options_.method;
    result_.seed = options_.seed;
    result_.learning_rate = rate();
  }

  FinishedRun finish() {
    const double began = seconds_now();
    const std::optional<io::Checkpoint<float>> saved = detail::load_checkpoint(options_);
    if (options_.resume) train::restore_ledger(ledger_, saved ? &*saved : nullptr, ledger_file_, "--resume");
    train::TunedModel<float> model = start_model(saved);
    if (!saved) result_.init_seconds = seconds_now() - began;
    train_model(model, saved);
    result_.peak_rss_bytes = peak_rss_bytes();
    return {.model = std::move(model), .result = std::move(result_)};
  }

 private:
  static std::filesystem::path ledger_path(const FinetuneOptions& options) { return options.out / "ledger.txt"; }
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
    const std::filesystem::path file = options_.privacy.public_file;
    const std::vector<Example> examples =
        label_rows(read_tsv_file(file, {.pairs = options_.pairs}), ProblemType::single_label, task_.label_names,
                   {"--bases", file}, "which the training texts never show");
    TextCounts counts;
    return tokenize(examples, task_.base, options_.threads, counts);
  }

  train::TunedModel<float> start_model(const std::optional<io::Checkpoint<float>>& saved) {
    const TokenizedTexts known = saved ? TokenizedTexts() : public_texts();
    const Parameters<float> head = first_head(known);
    if (options_.method != Method::head) result_.rank = options_.rank;
    AdapterSet<float> adapters;
    if (options_.method == Method::lora_sb)
      adapters = saved ? train::restore_adapters(*saved, task_.base.modules) : bases(head, known);
    if (options_.method == Method::lora_xs)
      adapters = saved ? train::restore_adapters(*saved, task_.base.modules) : xs_adapters(task_.base, options_.rank, options_.seed);
    return classify::start_model(options_.method, task_.base, std::move(adapters), lora_options(options_), head);
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
    if (takes_noised_bases()) {
      const std::vector<Index> order = all_of(task_.train);
      const std::unique_ptr<privacy::NoiseSource> noise = options_.privacy.source(2);
      return train::noised_bases(task_.base.modules,
                                 estimation_pass(task_.base, head, task_.train, order, options_.parts, options_.threads, 1),
                                 options_.privacy.noised_bases(options_.rank, options_.seed), ledger_, *noise);
    }
    return data_free_adapters(task_.base.modules, options_.privacy.bases, options_.rank, options_.seed);
  }

  bool takes_noised_bases() const { return options_.method == Method::lora_sb && options_.privacy.bases == PrivateBases::noised; }
  /// Those of the ledger that paid for bases: several where a run was killed before its first checkpoint. A training over all
  /// texts at once may have the same entry.
  std::uint64_t charges_of_bases() const {
    if (!takes_noised_bases()) return 0;
    return options_.batch < task_.train.size() ? ledger_.steps(1, bases_noise) : 1;
  }

  void train_model(train::TunedModel<float>& model, const std::optional<io::Checkpoint<float>>& saved) {
    const PrivateOptions& o = options_.privacy;
    Classifier classifier = make_classifier(task_.base, model.weights, model.layers, *model.values, options_.parts);
    result_.trainable = classifier.adapter_size();
    result_.trainable_head = classifier.head_size();
    const ParameterLayout& layout = model.values->layout();
    const std::unique_ptr<optim::Optimizer<float>> optimizer = model_optimizer(options_, layout, rate());
    const Index examples = task_.train.size();
    const auto steps = static_cast<std::uint64_t>(options_.epochs * ((examples + options_.batch - 1) / options_.batch));
    const std::uint64_t done = saved ? saved->integer("steps") : 0;
    train::PrivateTraining<float> training(layout.size(), examples,
                                           {.steps = steps,
                                            .batch = options_.batch,
                                            .clip = o.clip,
                                            .noise = o.sigma,
                                            .kind = o.kind,
                                            .origin = o.origin(options_.method == Method::lora_sb),
                                            .seed = o.seed(),
                                            .steps_done = done,
                                            .other_charges = charges_of_bases(),
                                            .parts = options_.parts,
                                            .threads = options_.threads},
                                           ledger_);
    if (saved) {
      train::restore_run<float>(*saved, model.values->flat(), *optimizer, training.batches());
      result_.record.seconds = saved->number("train_seconds");
      detail::restore_result(*saved, result_);
    }
    const std::uint64_t last = training.last_step();
    if (last < steps)
      std::fprintf(stderr, "Steps that were lost are paid for: the budget has room for %llu of the %llu that are left\n",
                   static_cast<unsigned long long>(last - done), static_cast<unsigned long long>(steps - done));
    std::fprintf(stderr, "Private: %td texts, q %.3g, %llu steps, noise %.4f x clip %g%s\n", examples, training.rate(),
                 static_cast<unsigned long long>(steps), training.noise(), o.clip,
                 o.noise_seed ? "; the noise is SEEDED: nothing is private" : "");
    std::fprintf(stderr, "Taken as public: %td validation and %td test texts, on which accuracies are measured%s; epsilon says nothing of them\n",
                 task_.validation.size(), task_.test.size(),
                 o.bases == PrivateBases::public_file ? concat(", and those of \"", o.public_file, "\"").c_str() : "");
    PrivateReport report{.bases = options_.method == Method::lora_sb   ? o.bases_name()
                                  : options_.method == Method::lora_xs ? "w0"
                                                                       : "none"};
    report.probe_before = saved ? saved->number("probe_before") : probe(classifier);

    const optim::Schedule rates({.decay = optim::Decay::linear,
                                 .learning_rate = rate(),
                                 .warmup_steps = Index(options_.warmup * double(steps)),
                                 .total_steps = Index(steps)});
    ProgressBar bar(std::string(name_of(options_.method)), double(steps), "steps");
    std::string spent;
    for (std::uint64_t t = done + 1; t <= last; ++t) {
      const double began = seconds_now();
      const train::PrivateStepResult found = training.step(
          model.values->flat(), *optimizer, rates.rate(Index(t)),
          [&](std::span<const Index> texts, Index part, const privacy::ClippedSum<float>& sum) {
            classifier.pass_clipped(task_.train, texts, part, sum);
          });
      require(found.status == train::StepStatus::updated, ErrorId::not_finite, "step ", t, ": the noised gradient's norm is ",
              found.gradient_norm);
      result_.record.seconds += seconds_now() - began;
      const auto every = static_cast<std::uint64_t>(options_.checkpoint_every);
      if (every > 0 && (t % every == 0 || t == last)) save(model, *optimizer, training.batches(), report.probe_before);
      if (t == last || t % std::max<std::uint64_t>(1, steps / 20) == 0) {  // RDP is quick, and a bound
        char text[64];
        std::snprintf(text, sizeof text, "epsilon < %.2f%s",
                      privacy::rdp_epsilon(ledger_.spent(), o.delta), ledger_.is_private() ? "" : " if it were private");
        spent = text;
      }
      bar.update(double(t), double(done), spent);
    }
    report.spent = training.report();
    report.probe_after = probe(classifier);
    result_.validation = report.probe_after;
    result_.take_test(task_.test, models::outputs(classifier, task_.test, options_.parts, options_.threads));
    result_.privacy = report;
  }

  void save(const train::TunedModel<float>& model, const optim::Optimizer<float>& optimizer, const privacy::PoissonBatches& batches,
            double probe_before) const {
    io::Checkpoint<float> c;
    train::save_run<float>(c, std::as_const(*model.values).flat(), optimizer, batches);
    detail::save_result(c, result_, model, options_);
    c.put_number("train_seconds", result_.record.seconds);
    c.put_number("probe_before", probe_before);
    c.state["ledger"] = ledger_.text();
    io::save_checkpoint(detail::checkpoint_path(options_), c);
  }

  /// Accuracy on the validation texts, which are taken as public.
  double probe(Classifier& classifier) const {
    if (task_.validation.size() == 0) return 0;
    return models::accuracy(classifier, task_.validation, options_.parts, options_.threads);
  }

  Task& task_;
  FinetuneOptions options_;
  privacy::Ledger ledger_;
  train::LedgerFile ledger_file_;
  RunResult result_;
};

/// What holds of the trained numbers, in words.
inline std::string statement(const PrivateReport& r) {
  char probe[160];
  std::snprintf(probe, sizeof probe,
                "Accuracy on public texts: %.2f %% before, %.2f %% after. Not covered: the choice of settings, the labels' names.\n",
                100 * r.probe_before, 100 * r.probe_after);
  return privacy::statement(r.spent, "training text", ", bases " + r.bases) + probe + privacy::grid_statement(r.spent, "a text");
}

}  // namespace lorasb::examples
