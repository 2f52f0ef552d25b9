// A run between two steps: what it has found so far, and how that is saved and restored.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "examples/finetune/options.hpp"
#include "lorasb/io/checkpoint.hpp"
#include "lorasb/train/sampler.hpp"

namespace lorasb::examples {

struct HistoryEntry {
  Index step = 0;
  double loss = 0;      // mean over the batch, before the step
  double accuracy = 0;  // of the same
  double learning_rate = 0;
};
struct Evaluation {
  Index step = 0;
  double validation_accuracy = 0;
};

struct RunResult {
  Method method = Method::head;
  Index rank = 0;
  Index trainable = 0;  // outside the head
  Index trainable_head = 0;
  double learning_rate = 0;
  std::uint64_t seed = 0;
  double validation_accuracy = 0;
  double test_accuracy = 0;
  double init_seconds = 0;   // head and adapters, up to the first step
  double train_seconds = 0;  // steps, without evaluations
  double peak_rss_bytes = 0;
  std::vector<train::ModuleReport> captured;
  std::vector<HistoryEntry> history;
  std::vector<Evaluation> evaluations;
};

namespace detail {

/// All that decides the bits of a run. Threads do not.
inline std::map<std::string, std::string> run_config(const FinetuneOptions& o) {
  const auto text = [](const auto& value) { return concat(value); };
  return {{"data", o.data},
          {"data_checksum", o.data_checksum},
          {"method", std::string(name_of(o.method))},
          {"rank", text(o.rank)},
          {"epochs", text(o.epochs)},
          {"batch", text(o.batch)},
          {"learning_rate", text(learning_rate(o))},
          {"optimizer", o.optimizer == OptimizerKind::adamw ? "adamw" : "sgd"},
          {"warmup", text(o.warmup)},
          {"max_norm", text(o.max_norm)},
          {"init_examples", text(o.init_examples)},
          {"init_sketch", text(int(o.init_sketch))},
          {"train_size", text(o.train_size)},
          {"validation_size", text(o.validation_size)},
          {"test_size", text(o.test_size)},
          {"head_epochs", text(o.method == Method::head ? o.head_epochs : o.start_head_epochs)},
          {"head_learning_rate", text(o.head_learning_rate)},
          {"head_decay", text(o.head_decay)},
          {"backend", linalg::backend_name()},
          {"weights", std::string(name_of(o.weights))},
          {"parts", text(o.parts)},
          {"seed", text(o.seed)}};
}

/// Saves and restores all that the next step depends on; the base model, data and options are made again.
class RunState {
 public:
  RunState(const FinetuneOptions& options, TunedModel& model, optim::Optimizer<float>& optimizer,
           train::ShuffledBatches& batches, RunResult& result)
      : options_(options), model_(model), optimizer_(optimizer), batches_(batches), result_(result) {}

  void save() const {
    io::Checkpoint<float> c;
    c.config = run_config(options_);
    c.tensors["values"] = copy(model_.values->flat());
    for (const ParameterLayout::Tensor& t : optimizer_.state().layout().tensors())
      c.tensors["optimizer." + t.name] = copy(std::as_const(optimizer_).state().flat(t.name));
    for (const auto& [name, adapter] : model_.adapters) {
      c.tensors["frozen." + name + ".B"] = copy(flat(adapter.B));
      c.tensors["frozen." + name + ".A"] = copy(flat(adapter.A));
    }
    c.put_integer("steps", optimizer_.steps());
    c.put_integer("epoch", batches_.epoch());
    c.put_integer("position", batches_.position());
    c.put_number("init_seconds", result_.init_seconds);
    c.put_number("train_seconds", result_.train_seconds);
    nlohmann::json reports = nlohmann::json::array();
    for (const train::ModuleReport& r : result_.captured)
      reports.push_back({r.module, r.captured_energy, r.captured_energy_standard_error, r.flat_spectrum});
    nlohmann::json history = nlohmann::json::array();
    for (const HistoryEntry& h : result_.history) history.push_back({h.step, h.loss, h.accuracy, h.learning_rate});
    nlohmann::json evaluations = nlohmann::json::array();
    for (const Evaluation& e : result_.evaluations) evaluations.push_back({e.step, e.validation_accuracy});
    c.state["captured"] = reports.dump();
    c.state["history"] = history.dump();
    c.state["evaluations"] = evaluations.dump();
    io::save_checkpoint(path(options_), c);
  }

  static std::filesystem::path path(const FinetuneOptions& options) { return options.out / "checkpoint.safetensors"; }

  /// Refuses a checkpoint of another configuration.
  static std::optional<io::Checkpoint<float>> load(const FinetuneOptions& options) {
    if (!options.resume || !std::filesystem::exists(path(options))) return std::nullopt;
    io::Checkpoint<float> c = io::load_checkpoint<float>(path(options));
    io::require_same_config(c.config, run_config(options));
    return c;
  }

  /// All but the frozen factors, which the model was made with.
  void restore(const io::Checkpoint<float>& c) {
    fill(model_.values->flat(), c.tensor("values"), "values");
    for (const ParameterLayout::Tensor& t : optimizer_.state().layout().tensors())
      fill(optimizer_.state().flat(t.name), c.tensor("optimizer." + t.name), t.name);
    optimizer_.set_steps(c.integer("steps"));
    batches_.seek(c.integer("epoch"), c.integer("position"));
    result_.init_seconds = c.number("init_seconds");
    result_.train_seconds = c.number("train_seconds");
    for (const auto& r : nlohmann::json::parse(c.state.at("captured"))) result_.captured.push_back({r[0], r[1], r[2], r[3]});
    for (const auto& h : nlohmann::json::parse(c.state.at("history"))) result_.history.push_back({h[0], h[1], h[2], h[3]});
    for (const auto& e : nlohmann::json::parse(c.state.at("evaluations"))) result_.evaluations.push_back({e[0], e[1]});
  }

  static void fill(std::span<float> to, const std::vector<float>& from, std::string_view name) {
    require(to.size() == from.size(), ErrorId::checkpoint, "the checkpoint's \"", name, "\" has ", from.size(),
            " numbers, expected ", to.size());
    std::ranges::copy(from, to.begin());
  }

 private:
  static std::vector<float> copy(std::span<const float> s) { return {s.begin(), s.end()}; }

  const FinetuneOptions& options_;
  TunedModel& model_;
  optim::Optimizer<float>& optimizer_;
  train::ShuffledBatches& batches_;
  RunResult& result_;
};

}  // namespace detail

}  // namespace lorasb::examples
