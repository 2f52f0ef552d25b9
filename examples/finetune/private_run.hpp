// One private run: every training text is protected, and nothing but noised sums is learnt from it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/common/ledger_file.hpp"
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
        ledger_(options.privacy.ledger(static_cast<std::uint64_t>(task.train.size()))),
        ledger_file_(options.out / "ledger.txt", options.checkpoint_every > 0 && !options.privacy.noise_seed) {
    if (!options.resume) ledger_file_.remove();
    result_.method = options_.method;
    result_.seed = options_.seed;
    result_.learning_rate = rate();
  }

  FinishedRun finish() {
    const double began = seconds_now();
    const std::optional<io::Checkpoint<float>> saved = detail::load_checkpoint(options_);
    if (options_.resume) restore_ledger(saved);
    train::TunedModel<float> model = start_model(saved);
    if (!saved) result_.init_seconds = seconds_now() - began;
    train(model, saved);
    result_.peak_rss_bytes = peak_rss_bytes();
    return {.model = std::move(model), .result = std::move(result_)};
  }

 private:
  /// What was spent before, by the checkpoint and by the file beside it. Throws ErrorId::checkpoint where that is not known.
  void restore_ledger(const std::optional<io::Checkpoint<float>>& saved) {
    if (saved) {
      const auto text = saved->state.find("ledger");
      require(text != saved->state.end(), ErrorId::checkpoint,
              "--resume: the checkpoint has no ledger: what was spent before is unknown");
      ledger_.restore(text->second);
    }
    if (!ledger_file_.is_written()) return;
    const std::uint64_t of_checkpoint = ledger_.steps();
    const std::optional<std::string> text = ledger_file_.read();
    require(text || !saved, ErrorId::checkpoint, "--resume: there is no \"", ledger_file_.path().string(),
            "\" beside the checkpoint: what was spent after it is unknown");
    if (!text) return;
    ledger_.restore(*text);
    require(ledger_.steps() >= of_checkpoint, ErrorId::checkpoint, "--resume: \"", ledger_file_.path().string(), "\" has ",
            ledger_.steps(), " steps, fewer than the ", of_checkpoint, " of the checkpoint: it is of another run");
  }
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
    const FrozenModel<float>& base = task_.base.weights;
    const std::vector<Module<float>> modules = task_.base.modules;
    if (options_.method != Method::head) result_.rank = options_.rank;
    switch (options_.method) {
      case Method::lora_sb:
        return train::tune_cores(options_.method, base, modules,
                                 saved ? detail::saved_adapters(*saved, modules) : bases(head, known), head);
      case Method::lora_xs:
        return train::tune_cores(options_.method, base, modules,
                                 saved ? detail::saved_adapters(*saved, modules)
                                       : xs_adapters(task_.base, options_.rank, options_.seed),
                                 head);
      case Method::lora:
        return train::tune_lora(base, modules,
                                {.rank = options_.rank, .alpha = double(options_.rank), .seed = options_.seed}, head);
      case Method::ffa_lora:
        return train::tune_ffa_lora(base, modules,
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
      ledger_file_.save(ledger_.text());
      const std::vector<Index> order = all_of(task_.train);
      const std::unique_ptr<privacy::NoiseSource> noise = options_.privacy.source(2);
      return train::bases_of_sums(noised_sums(task_.base, head, task_.train, order, options_.privacy, options_.parts, options_.threads, *noise),
                                  {.rank = options_.rank, .seed = options_.seed});
    }
    return data_free_adapters(task_.base.modules, options_.privacy.bases, options_.rank, options_.seed);
  }

  void train(train::TunedModel<float>& model, const std::optional<io::Checkpoint<float>>& saved) {
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
    detail::RunState state(options_, model, *optimizer, batches, result_);
    if (saved) state.restore(*saved);
    const auto done = static_cast<std::uint64_t>(optimizer->steps());
    const privacy::SubsampledGaussian planned = plan(batches.rate(), steps, steps - done);
    const double sigma = planned.noise;
    const std::uint64_t last = done + planned.steps;
    if (last < steps)
      std::fprintf(stderr, "Steps that were lost are paid for: the budget has room for %llu of the %llu that are left\n",
                   static_cast<unsigned long long>(planned.steps), static_cast<unsigned long long>(steps - done));
    std::fprintf(stderr, "Private: %td texts, q %.3g, %llu steps, noise %.4f x clip %g%s\n", examples, batches.rate(),
                 static_cast<unsigned long long>(steps), sigma, o.clip,
                 o.noise_seed ? "; the noise is SEEDED: nothing is private" : "");
    std::fprintf(stderr, "Taken as public: %td validation and %td test texts, on which accuracies are measured%s; epsilon says nothing of them\n",
                 task_.validation.size(), task_.test.size(),
                 o.bases == PrivateBases::public_file ? concat(", and those of \"", o.public_file, "\"").c_str() : "");
    PrivateReport report{.epsilon = {}, .delta = o.delta, .sigma = sigma, .q = batches.rate(), .steps = steps, .clip = o.clip,
                         .accountant = {}, .bases = options_.method == Method::lora_sb   ? o.bases_name()
                                                    : options_.method == Method::lora_xs ? "w0"
                                                                                         : "none"};
    report.probe_before = saved ? saved->number("probe_before") : probe(classifier);

    train::PrivateStep<float> step(layout.size(), options_.parts, options_.threads,
                                   {.clip = o.clip, .noise = sigma, .kind = o.kind, .origin = o.origin(options_.method == Method::lora_sb)},
                                   ledger_,
                                   batches, *noise);
    const optim::Schedule rates({.decay = optim::Decay::linear,
                                 .learning_rate = rate(),
                                 .warmup_steps = Index(options_.warmup * double(steps)),
                                 .total_steps = Index(steps)});
    ProgressBar bar(std::string(name_of(options_.method)), double(steps), "steps");
    std::string spent;
    for (std::uint64_t t = done + 1; t <= last; ++t) {
      const double began = seconds_now();
      step.charge();
      ledger_file_.save(ledger_.text());
      accumulate_in_pieces(step, batches.next(), options_.batch,
                           [&](std::span<const Index> piece, Index part, Index start, Index count, auto sum) {
                             const std::span<const Index> texts = piece.subspan(std::size_t(start), std::size_t(count));
                             return pass_clipped(classifier, task_.train, texts, part, step, sum);
                           });
      const train::PrivateStepResult found = step.apply(model.values->flat(), *optimizer, rates.rate(Index(t)));
      require(found.status == train::StepStatus::updated, ErrorId::not_finite, "step ", t, ": the noised gradient's norm is ",
              found.gradient_norm);
      result_.train_seconds += seconds_now() - began;
      const auto every = static_cast<std::uint64_t>(options_.checkpoint_every);
      if (every > 0 && (t % every == 0 || t == last)) save(state, report.probe_before);
      if (t == last || t % std::max<std::uint64_t>(1, steps / 20) == 0) {  // RDP is quick, and a bound
        char text[64];
        std::snprintf(text, sizeof text, "epsilon < %.2f%s",
                      privacy::rdp_epsilon(ledger_.spent(), o.delta), ledger_.is_private() ? "" : " if it were private");
        spent = text;
      }
      bar.update(double(t), double(done), spent);
    }
    report.steps = training_steps(ledger_);
    report.steps_lost = report.steps - last;
    const privacy::Epsilon claimed = ledger_.claimed_epsilon();
    if (o.kind == train::NoiseKind::discrete) {
      report.grid = step.on_grid();
      report.epsilon_continuous = epsilon_of_continuous(step.on_grid());
    }
    report.accountant = privacy::accountant_names[static_cast<std::size_t>(claimed.method)];
    if (ledger_.is_private()) report.epsilon = claimed.epsilon;
    report.probe_after = probe(classifier);
    result_.validation = report.probe_after;
    result_.take_test(task_.test, models::outputs(classifier, task_.test, options_.parts, options_.threads));
    result_.privacy = report;
  }

  /// The noise, and how many of `left` steps may be taken. A run that goes on keeps the noise that it started with; what is
  /// left of its reserve is all that a budget allows.
  privacy::SubsampledGaussian plan(double rate, std::uint64_t steps, std::uint64_t left) {
    const privacy::SubsampledGaussian* const reserved = ledger_.reserved().empty() ? nullptr : &ledger_.reserved().front();
    const privacy::SubsampledGaussian* taken = nullptr;
    const std::vector<privacy::SubsampledGaussian> training = training_of(ledger_);
    if (!training.empty()) taken = &training.back();
    if (reserved == nullptr && taken == nullptr)
      return {.rate = rate, .noise = options_.privacy.reserve(ledger_, rate, steps), .steps = left};
    const double noise = (reserved != nullptr ? reserved : taken)->noise;
    const std::uint64_t room = reserved != nullptr ? reserved->steps : 0;
    if (options_.privacy.epsilon > 0 || room >= left) return {.rate = rate, .noise = noise, .steps = std::min(room, left)};
    ledger_.reserve(privacy::SamplingScheme::poisson, rate, noise, left - room);
    return {.rate = rate, .noise = noise, .steps = left};
  }
  bool bases_cost() const { return options_.method == Method::lora_sb && options_.privacy.bases == PrivateBases::noised; }
  /// What is spent without the one mechanism of noised bases. A training with all texts and as much noise is in one entry with it.
  std::vector<privacy::SubsampledGaussian> training_of(const privacy::Ledger& ledger) const {
    std::vector<privacy::SubsampledGaussian> training = ledger.spent();
    if (!bases_cost()) return training;
    const auto bases = std::ranges::find_if(training, [](const auto& m) { return m.rate == 1 && m.noise == bases_noise; });
    if (bases != training.end() && --bases->steps == 0) training.erase(bases);
    return training;
  }
  std::uint64_t training_steps(const privacy::Ledger& ledger) const {
    std::uint64_t steps = 0;
    for (const privacy::SubsampledGaussian& m : training_of(ledger)) steps += m.steps;
    return steps;
  }
  /// ε of continuous noise as large as that on the grid, over gradients that were clipped and not rounded.
  double epsilon_of_continuous(const privacy::GridNoise& on) const {
    std::vector<privacy::SubsampledGaussian> spent = training_of(ledger_);
    for (privacy::SubsampledGaussian& m : spent) m.noise = std::sqrt(double(on.variance)) * on.grid / options_.privacy.clip;
    if (bases_cost()) spent.push_back({.rate = 1, .noise = bases_noise, .steps = 1});
    return privacy::epsilon_of(spent, options_.privacy.delta).epsilon;
  }
  void save(const detail::RunState<privacy::PoissonBatches>& state, double probe_before) const {
    io::Checkpoint<float> numbers;
    numbers.put_number("probe_before", probe_before);
    state.save({{"ledger", ledger_.text()}, {"probe_before", numbers.state["probe_before"]}});
  }

  /// Accuracy on the validation texts, which are taken as public.
  double probe(Classifier& classifier) const {
    if (task_.validation.size() == 0) return 0;
    return models::accuracy(classifier, task_.validation, options_.parts, options_.threads);
  }

  Task& task_;
  FinetuneOptions options_;
  privacy::Ledger ledger_;
  LedgerFile ledger_file_;
  RunResult result_;
};

/// What holds of the trained numbers, in words.
inline std::string statement(const PrivateReport& r) {
  char text[400];
  const std::string claim = r.epsilon ? epsilon_text(*r.epsilon) : std::string("no epsilon: the noise is seeded");
  std::snprintf(text, sizeof text,
                "Privacy of each training text (add-remove): %s at delta %g, by %s; noise %.4f, q %.3g, %llu steps, clip %g, bases %s.\n"
                "Accuracy on public texts: %.2f %% before, %.2f %% after. Not covered: the choice of settings, the labels' names.\n",
                claim.c_str(), r.delta, r.accountant.c_str(), r.sigma, r.q, static_cast<unsigned long long>(r.steps), r.clip,
                r.bases.c_str(), 100 * r.probe_before, 100 * r.probe_after);
  if (!r.grid) return text;
  return concat(text, "Noise is discrete, on a grid of ", r.grid->grid, ": a text moves the sum by at most ",
                r.grid->sensitivity, ", and sigma is over that.",
                r.epsilon ? concat(" Of epsilon, ", *r.epsilon - r.epsilon_continuous, " is for the rounding of gradients to it.\n")
                          : std::string("\n"));
}

}  // namespace lorasb::examples
