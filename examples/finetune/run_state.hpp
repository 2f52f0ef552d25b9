// A run between two steps: what it has found so far, and how that is saved and restored.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "examples/finetune/options.hpp"
#include "lorasb/models/tokenized_texts.hpp"
#include "lorasb/privacy/report.hpp"
#include "lorasb/train/run_state.hpp"

namespace lorasb::examples {

struct HistoryEntry {
  Index step = 0;
  double loss = 0;      // mean over the batch, before the step
  double accuracy = 0;  // of the same
  double learning_rate = 0;
};
struct Evaluation {
  Index step = 0;
  double validation = 0;  // the first of the scores
};

/// What the scout of --look-ahead did: mean losses of the first texts, and what it took.
struct LookAheadResult {
  Index steps = 0;
  double loss_before = 0, loss_after_scout = 0, loss_after_truncation = 0;
  double seconds = 0;  // steps and SVD
  std::size_t bytes = 0;
};

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
  double train_seconds = 0;  // steps, without evaluations
  double peak_rss_bytes = 0;
  std::vector<train::ModuleReport> captured;
  double start_loss_before = 0, start_loss_after = 0;  // of LoRA-SB's start; 0: not measured
  LookAheadResult look_ahead;
  std::optional<PrivateReport> privacy;
  std::vector<HistoryEntry> history;
  std::vector<Evaluation> evaluations;

  /// `outputs` are what the head gives for the test texts, outputs x texts.
  void take_test(const TokenizedTexts& texts, ConstMatrixView<float> outputs) {
    test = scores_of(texts.targets(), outputs);
    if (texts.problem == ProblemType::single_label) confusion = confusion_of(texts.labels, outputs);
  }
};

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

/// The frozen factors of a checkpoint, with R = 0: the cores come with the values.
inline AdapterSet<float> saved_adapters(const io::Checkpoint<float>& saved, const std::vector<Module<float>>& modules) {
  AdapterSet<float> adapters;
  for (const Module<float>& m : modules) {
    AdapterBasis<float> basis = train::restore_basis<float>(saved, m.name, m.W0.rows(), m.W0.cols());
    const Index rank = basis.rank();
    adapters.add(m.name, {.B = std::move(basis.B),
                          .R = Weight<float>::Zero(rank, rank),
                          .A = std::move(basis.A),
                          .scale = basis.scale});
  }
  return adapters;
}

/// Saves and restores all that the next step depends on; the base model, data and options are made again.
template <train::Sampler Batches>
class RunState {
 public:
  RunState(const FinetuneOptions& options, train::TunedModel<float>& model, optim::Optimizer<float>& optimizer,
           Batches& batches, RunResult& result, Index first_kept = 0)
      : options_(options), model_(model), optimizer_(optimizer), batches_(batches), result_(result), first_kept_(first_kept) {}

  /// The numbers of the best epoch so far, with --keep best.
  std::vector<float> best;

  /// Takes them when the last evaluation is the best one, the first of equals.
  void keep_best() {
    if (options_.keep != Keep::best || result_.evaluations.empty()) return;
    const Evaluation& last = result_.evaluations.back();
    const auto value = [](const Evaluation& e) {  // Pearson's correlation is no number where all outputs are the same
      return std::isnan(e.validation) ? -std::numeric_limits<double>::infinity() : e.validation;
    };
    for (const Evaluation& e : result_.evaluations)
      if (e.step != last.step && e.step >= first_kept_ && value(e) >= value(last)) return;
    const std::span<const float> values = std::as_const(*model_.values).flat();
    best.assign(values.begin(), values.end());
    result_.kept_step = last.step;
  }
  /// Whether so many epochs have passed since the best one.
  bool is_out_of_patience() const {
    if (options_.patience == 0 || best.empty()) return false;
    return std::ranges::count_if(result_.evaluations, [&](const Evaluation& e) { return e.step > result_.kept_step; }) >=
           options_.patience;
  }
  /// Goes back to them.
  void restore_best() {
    if (best.empty()) return;
    std::ranges::copy(best, model_.values->flat().begin());
    for (const Evaluation& e : result_.evaluations)
      if (e.step == result_.kept_step) result_.validation = e.validation;
  }

  /// With more entries of its state.
  void save(const std::map<std::string, std::string>& more = {}) const {
    io::Checkpoint<float> c;
    c.state = more;
    c.config = run_config(options_);
    train::save_run<float>(c, std::as_const(*model_.values).flat(), optimizer_, batches_);
    train::save_bases(c, model_.bases);
    if (!best.empty()) {
      c.tensors["best"] = best;
      c.put_integer("best_step", static_cast<std::uint64_t>(result_.kept_step));
    }
    c.put_number("init_seconds", result_.init_seconds);
    c.put_number("train_seconds", result_.train_seconds);
    c.state["start_loss"] = nlohmann::json{result_.start_loss_before, result_.start_loss_after}.dump();
    const LookAheadResult& l = result_.look_ahead;
    c.state["look_ahead"] =
        nlohmann::json{l.steps, l.loss_before, l.loss_after_scout, l.loss_after_truncation, l.seconds, l.bytes}.dump();
    nlohmann::json reports = nlohmann::json::array();
    for (const train::ModuleReport& r : result_.captured)
      reports.push_back({r.module, r.captured_energy, r.captured_energy_standard_error, r.flat_spectrum,
                         r.largest_singular_value, r.numerical_rank});
    nlohmann::json history = nlohmann::json::array();
    for (const HistoryEntry& h : result_.history) history.push_back({h.step, h.loss, h.accuracy, h.learning_rate});
    nlohmann::json evaluations = nlohmann::json::array();
    for (const Evaluation& e : result_.evaluations) evaluations.push_back({e.step, e.validation});
    c.state["captured"] = reports.dump();
    c.state["history"] = history.dump();
    c.state["evaluations"] = evaluations.dump();
    io::save_checkpoint(checkpoint_path(options_), c);
  }

  /// All but the frozen factors, which the model was made with.
  void restore(const io::Checkpoint<float>& c) {
    train::restore_run<float>(c, model_.values->flat(), optimizer_, batches_);
    if (c.tensors.contains("best")) {
      best.resize(model_.values->flat().size());
      train::restore_tensor<float>(c, "best", best);
      result_.kept_step = static_cast<Index>(c.integer("best_step"));
    }
    result_.init_seconds = c.number("init_seconds");
    result_.train_seconds = c.number("train_seconds");
    if (const auto saved = c.state.find("start_loss"); saved != c.state.end()) {  // not in checkpoints of older versions
      const nlohmann::json l = nlohmann::json::parse(saved->second);
      result_.start_loss_before = l[0];
      result_.start_loss_after = l[1];
    }
    if (const auto saved = c.state.find("look_ahead"); saved != c.state.end()) {
      const nlohmann::json l = nlohmann::json::parse(saved->second);
      result_.look_ahead = {l[0], l[1], l[2], l[3], l[4], l[5]};
    }
    for (const auto& r : nlohmann::json::parse(c.state.at("captured"))) result_.captured.push_back({r.at(0), r.at(1), r.at(2), r.at(3), r.size() > 4 ? r[4].get<double>() : 0,
                                  r.size() > 5 ? r[5].get<Index>() : 0});
    for (const auto& h : nlohmann::json::parse(c.state.at("history"))) result_.history.push_back({h[0], h[1], h[2], h[3]});
    for (const auto& e : nlohmann::json::parse(c.state.at("evaluations")))
      result_.evaluations.push_back({e[0], e[1].is_null() ? std::numeric_limits<double>::quiet_NaN() : e[1].get<double>()});
  }

 private:
  const FinetuneOptions& options_;
  train::TunedModel<float>& model_;
  optim::Optimizer<float>& optimizer_;
  Batches& batches_;
  RunResult& result_;
  Index first_kept_;  // evaluations before this step are of the scout, whose numbers are others
};

}  // namespace detail

}  // namespace lorasb::examples
