// What a run has found, and what of it a checkpoint keeps.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "examples/finetune/options.hpp"
#include "lorasb/classify/look_ahead.hpp"
#include "lorasb/privacy/report.hpp"
#include "lorasb/train/run_state.hpp"

namespace lorasb::examples {

/// What a private run has spent, and whether it learnt anything.
struct PrivateReport {
  privacy::PrivacyReport spent = {};
  std::string bases = {};                    // as on the command line
  double probe_before = 0, probe_after = 0;  // accuracy on public texts
};

struct RunResult {
  Method method = Method::head;
  Index rank = 0;
  Index trainable = 0;  // outside the head
  Index trainable_head = 0;
  double learning_rate = 0;
  std::uint64_t seed = 0;
  double validation = 0;                     // the first of the scores
  Scores test = {};                          // of the test texts
  std::optional<ConfusionMatrix> confusion;  // of the test texts, where they have one label each
  Index kept_step = 0;                       // whose numbers are kept; 0: the last
  Index stopped_step = 0;                    // where patience ended; 0: nowhere
  double init_seconds = 0;   // head and adapters, up to the first step
  double peak_rss_bytes = 0;
  std::vector<train::ModuleReport> captured;
  double start_loss_before = 0, start_loss_after = 0;  // of LoRA-SB's start; 0: not measured
  LookAheadReport look_ahead;
  std::optional<PrivateReport> privacy;
  train::TrainingRecord record;  // steps, the scout's among them, and evaluations: the first of the scores

  /// `outputs` are what the head gives for the test texts, outputs x texts.
  void take_test(const TokenizedTexts& texts, ConstMatrixView<float> outputs) {
    test = scores_of(texts.targets(), outputs);
    if (texts.problem == ProblemType::single_label) confusion = confusion_of(texts.labels, outputs);
  }
};

/// alpha = rank, so s = 1 and the learning rate alone sets the pace.
inline LoraOptions lora_options(const FinetuneOptions& o) { return {.rank = o.rank, .alpha = double(o.rank), .seed = o.seed}; }

namespace detail {

inline std::filesystem::path checkpoint_path(const FinetuneOptions& options) { return options.out / "checkpoint.safetensors"; }

/// The checkpoint that --resume goes on from, if there is one. Refuses one of another configuration.
inline std::optional<io::Checkpoint<float>> load_checkpoint(const FinetuneOptions& options) {
  if (!options.resume) return std::nullopt;
  const std::filesystem::path path = checkpoint_path(options);
  if (!std::filesystem::exists(path)) {
    if (!options.compare)
      std::fprintf(stderr, "--resume: there is no checkpoint \"%s\"; the run starts from its beginning\n", path.c_str());
    return std::nullopt;
  }
  io::Checkpoint<float> c = io::load_checkpoint<float>(path);
  io::require_same_config(c.config, run_config(options));
  return c;
}

/// Adds to a checkpoint what the run is made again with, and what it has reported before its first step.
inline void save_result(io::Checkpoint<float>& c, const RunResult& result, const train::TunedModel<float>& model,
                        const FinetuneOptions& options) {
  c.config = run_config(options);
  train::save_bases(c, model.bases);
  c.put_number("init_seconds", result.init_seconds);
  c.state["start_loss"] = nlohmann::json{result.start_loss_before, result.start_loss_after}.dump();
  if (const LookAheadReport& l = result.look_ahead; l.steps > 0)
    c.state["look_ahead"] =
        nlohmann::json{l.steps, l.loss_before, l.loss_after_scout, l.loss_after_truncation, l.seconds, l.bytes}.dump();
  nlohmann::json reports = nlohmann::json::array();
  for (const train::ModuleReport& r : result.captured)
    reports.push_back({r.module, r.captured_energy, r.captured_energy_standard_error, r.flat_spectrum,
                       r.largest_singular_value, r.numerical_rank});
  c.state["captured"] = reports.dump();
}

/// Takes the reports back. Older versions saved less.
inline void restore_result(const io::Checkpoint<float>& c, RunResult& result) {
  result.init_seconds = c.number("init_seconds");
  if (const auto saved = c.state.find("start_loss"); saved != c.state.end()) {
    const nlohmann::json l = nlohmann::json::parse(saved->second);
    result.start_loss_before = l[0];
    result.start_loss_after = l[1];
  }
  if (const auto saved = c.state.find("look_ahead"); saved != c.state.end()) {
    const nlohmann::json l = nlohmann::json::parse(saved->second);
    result.look_ahead = {l[0], l[1], l[2], l[3], l[4], l[5]};
  }
  for (const auto& r : nlohmann::json::parse(c.state.at("captured")))
    result.captured.push_back({r.at(0), r.at(1), r.at(2), r.at(3), r.size() > 4 ? r[4].get<double>() : 0,
                               r.size() > 5 ? r[5].get<Index>() : 0});
}

}  // namespace detail

}  // namespace lorasb::examples
