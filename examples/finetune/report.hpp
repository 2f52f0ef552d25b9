// What a run leaves behind: metrics.json, a plot, adapter folders, and a line of a table.
#pragma once

#include <cstdio>
#include <string>

#include "examples/common/confusion_picture.hpp"
#include "examples/common/json_file.hpp"
#include "examples/common/plot.hpp"
#include "examples/finetune/predict.hpp"
#include "examples/finetune/private_run.hpp"
#include "lorasb/formats/peft_writer.hpp"

namespace lorasb::examples {

inline nlohmann::json metrics(const RunResult& r, const Task& task, const FinetuneOptions& options) {
  nlohmann::json captured = nlohmann::json::object();
  nlohmann::json errors = nlohmann::json::object();
  nlohmann::json flat = nlohmann::json::array();
  for (const train::ModuleReport& m : r.captured) {
    captured[m.module] = m.captured_energy;
    if (options.init_sketch) errors[m.module] = m.captured_energy_standard_error;
    if (m.flat_spectrum) flat.push_back(m.module);
  }
  nlohmann::json history = nlohmann::json::array();
  for (const train::StepRecord& h : r.record.steps) {
    history.push_back({{"step", h.step}, {"loss", h.loss}, {"learning_rate", h.learning_rate}});
    if (options.problem != ProblemType::regression) history.back()["accuracy"] = h.accuracy;
  }
  const std::string validation = validation_key(options.problem);
  nlohmann::json evaluations = nlohmann::json::array();
  for (const train::EvaluationRecord& e : r.record.evaluations) evaluations.push_back({{"step", e.step}, {validation, e.score}});
  nlohmann::json m = {{"method", name_of(r.method)},
                      {"backend", linalg::backend_name()},
                      {"weights", weight_names[static_cast<std::size_t>(options.weights)]},
                      {"rank", r.rank},
                      {"trainable", r.trainable},
                      {"trainable_head", r.trainable_head},
                      {"config", run_config(options)},
                      {"seed", r.seed},
                      {"learning_rate", r.learning_rate},
                      {"task", name_of(options.problem)},
                      {validation, r.validation},
                      {"keep", keep_names[static_cast<std::size_t>(options.keep)]},
                      {"init_seconds", r.init_seconds},
                      {"train_seconds", r.record.seconds},
                      {"peak_rss_bytes", r.peak_rss_bytes},
                      {"captured_energy", captured},
                      {"start_loss", {r.start_loss_before, r.start_loss_after}},
                      {"train_examples", task.train.size()},
                      {"test_examples", task.test.size()},
                      {"classes", task.classes()},
                      {"labels", task.label_names},
                      {"modules", nlohmann::json::array()},
                      {"notes", task.notes},
                      {"evaluations", evaluations},
                      {"history", history}};
  for (const Score& score : r.test) m[score.key] = score.value;
  if (!task.class_weights.empty())
    for (std::size_t c = 0; c < task.label_names.size(); ++c) m["class_weights"][task.label_names[c]] = task.class_weights[c];
  if (r.rank > 0) m["modules"] = names_of(task.base.modules);
  if (task.loaded) m["loaded_from"] = options.load.string();
  if (r.look_ahead.steps > 0) {
    const LookAheadReport& l = r.look_ahead;
    m["look_ahead"] = {{"steps", l.steps},
                       {"scout", train::scout_names[static_cast<std::size_t>(options.scout)]},
                       {"learning_rate", scout_learning_rate(options)},
                       {"loss_before", l.loss_before},
                       {"loss_after_scout", l.loss_after_scout},
                       {"loss_after_truncation", l.loss_after_truncation},
                       {"seconds", l.seconds},
                       {"extra_bytes", l.bytes}};
  }
  if (r.kept_step > 0) m["kept_step"] = r.kept_step;
  if (r.stopped_step > 0) m["stopped_step"] = r.stopped_step;
  if (r.privacy) {
    const privacy::PrivacyReport& p = r.privacy->spent;
    m["epsilon"] = p.epsilon ? nlohmann::json(*p.epsilon) : nlohmann::json();
    m["delta"] = p.delta;
    m["sigma"] = p.noise;
    m["q"] = p.rate;
    m["steps"] = p.steps;
    if (p.steps_lost > 0) m["steps_lost"] = p.steps_lost;
    m["clip"] = p.clip;
    m["accountant"] = privacy::accountant_names[static_cast<std::size_t>(p.accountant)];
    m["unit"] = privacy::unit_names[static_cast<std::size_t>(p.unit)];
    m["relation"] = privacy::relation_names[static_cast<std::size_t>(p.relation)];
    m["bases"] = r.privacy->bases;
    m["noise_kind"] = train::noise_kind_names[p.grid ? 1 : 0];
    if (p.grid) {
      m["grid"] = p.grid->grid;
      m["sensitivity"] = p.grid->sensitivity;
      m["noise_deviation"] = std::sqrt(double(p.grid->variance)) * p.grid->grid;
      m["epsilon_continuous"] = p.epsilon ? nlohmann::json(p.epsilon_continuous) : nlohmann::json();
    }
    if (r.privacy->bases == "noised") m["bases_sigma"] = bases_noise;
    m["probe"] = {{"texts", task.validation.size()}, {"before", r.privacy->probe_before}, {"after", r.privacy->probe_after}};
  }
  if (options.init_sketch) {
    m["captured_energy_standard_error"] = errors;
    m["flat_spectrum"] = flat;
  }
  return m;
}

/// Loss and accuracy by step, smoothed over a fortieth of the run, as plot.png in `out`; false when gnuplot is not there.
inline bool write_plot(const RunResult& r, ProblemType problem, const std::filesystem::path& out) {
  if (r.record.steps.empty()) return false;
  Plot plot(out / "plot.png", 1000, 500);
  const double keep = 1 - 1 / std::max(1.0, double(r.record.steps.size()) / 40);
  const std::string score = problem == ProblemType::single_label ? "accuracy" : r.test[0].heading;
  plot.print("set title '%s, rank %td: test %s %s'\n", std::string(name_of(r.method)).c_str(), r.rank, score.c_str(),
             score_text(r.test[0]).c_str());
  plot.print(
      "set xlabel 'step'\nset ylabel 'training loss (smoothed)'\nset y2label '%s in %%'\nset y2tics\nset ytics nomirror\n"
      "set grid\nset key outside bottom center horizontal\n"
      "plot '-' using 1:2 with lines lw 2 title 'loss'", score.c_str());
  const bool has_accuracy = problem == ProblemType::single_label;
  if (has_accuracy) plot.print(", '-' using 1:2 axes x1y2 with lines lw 2 title 'training accuracy'");
  if (!r.record.evaluations.empty())
    plot.print(", '-' using 1:2 axes x1y2 with linespoints lw 2 pt 7 title 'validation %s'", score.c_str());
  plot.print("\n");
  const auto series = [&](auto value) {
    double smooth = value(r.record.steps.front());
    for (const train::StepRecord& h : r.record.steps) {
      smooth = keep * smooth + (1 - keep) * value(h);
      plot.print("%td %g\n", h.step, smooth);
    }
    plot.print("e\n");
  };
  series([](const train::StepRecord& h) { return h.loss; });
  if (has_accuracy) series([](const train::StepRecord& h) { return 100 * h.accuracy; });
  for (const train::EvaluationRecord& e : r.record.evaluations) plot.print("%td %g\n", e.step, 100 * e.score);
  if (!r.record.evaluations.empty()) plot.print("e\n");
  return plot.finish();
}

/// Runs and reports one method into options.out.
inline RunResult run_and_report(Task& task, const FinetuneOptions& options) {
  require_no_model(options.out);
  make_folder(options.out, "--out");
  FinishedRun run = options.privacy.enabled ? PrivateRun(task, options).finish() : Run(task, options).finish();
  remove_classifiers(options.out);
  write_trained(options.out, task.base, run.model, classifier_file(name_of(run.result.method), task.label_names, options),
                options.dropout);
  if (!run.result.record.steps.empty() && !write_plot(run.result, options.problem, options.out))
    std::fprintf(stderr, "%s was not written: gnuplot is missing or failed\n", (options.out / "plot.png").c_str());
  if (run.result.confusion) write_confusion_picture(options.out / "confusion.svg", *run.result.confusion, task.label_names);
  write_json(options.out / "metrics.json", metrics(run.result, task, options));
  if (!options.write_merged.empty())
    write_merged_folder(options.write_merged, task.base, run.model.weights, trained_adapters(run.model, task.base.modules),
                        *run.model.values, task.label_names, form_of(options), "--write-merged");
  return std::move(run.result);
}

inline void print_table(const RunResult& r) {
  std::printf("\n%-8s %5s %12s %8s", "method", "rank", "trainable", "head");
  for (const Score& score : r.test) std::printf(" %10s", score.heading);
  std::printf(" %10s %9s %9s\n%-8s %5td %12td %8td", "train s", "init s", "peak MiB",
              std::string(name_of(r.method)).c_str(), r.rank, r.trainable, r.trainable_head);
  for (const Score& score : r.test)
    score.in_percent ? std::printf(" %9.2f%%", 100 * score.value) : std::printf(" %10s", score_text(score).c_str());
  std::printf(" %10.1f %9.1f %9.0f\n", r.record.seconds, r.init_seconds, r.peak_rss_bytes / (1 << 20));
}

}  // namespace lorasb::examples
