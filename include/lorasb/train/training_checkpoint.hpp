// A TrainingRun in a checkpoint, from which it goes on to the same bits.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/io/json.hpp"
#include "lorasb/train/run_state.hpp"
#include "lorasb/train/training_run.hpp"

namespace lorasb::train {

/// Puts all that the next step depends on into the checkpoint (save_run), the best values so far, and what the run has recorded.
/// Names: those of save_run, and "best", "best_step", "train_seconds", "history", "evaluations".
///
///     io::Checkpoint<float> checkpoint;
///     save_training(checkpoint, run);
///     save_bases(checkpoint, model.bases);   // where adapters are trained over bases that texts have made
///     io::save_checkpoint("checkpoint.safetensors", checkpoint);
template <Real S>
void save_training(io::Checkpoint<S>& checkpoint, const TrainingRun<S>& run) {
  save_run<S>(checkpoint, run.values().flat(), run.optimizer(), run.batches());
  if (!run.best().empty()) {
    checkpoint.tensors["best"] = detail::copied<S>(run.best());
    checkpoint.put_integer("best_step", static_cast<std::uint64_t>(run.best_step()));
  }
  const TrainingRecord& record = run.record();
  checkpoint.put_number("train_seconds", record.seconds);
  nlohmann::json history = nlohmann::json::array(), evaluations = nlohmann::json::array();
  for (const StepRecord& s : record.steps) history.push_back({s.step, s.loss, s.accuracy, s.learning_rate});
  for (const EvaluationRecord& e : record.evaluations) evaluations.push_back({e.step, e.score});
  checkpoint.state["history"] = history.dump();
  checkpoint.state["evaluations"] = evaluations.dump();
}

namespace detail {

/// A list of lists of `size` numbers each, in the state of a checkpoint, of which the first counts steps; null is NaN. Throws
/// ErrorId::checkpoint.
template <Real S>
std::vector<std::vector<double>> saved_rows(const io::Checkpoint<S>& checkpoint, const std::string& name, std::size_t size) {
  const auto check = [&](bool good) {
    require(good, ErrorId::checkpoint, "checkpoint state \"", name, "\" is no list of a step and ", size - 1, " numbers each");
  };
  const auto text = checkpoint.state.find(name);
  check(text != checkpoint.state.end());
  const nlohmann::json json = nlohmann::json::parse(text->second, nullptr, false);
  check(json.is_array());
  std::vector<std::vector<double>> rows;
  for (const nlohmann::json& row : json) {
    check(row.is_array() && row.size() == size);
    std::vector<double>& numbers = rows.emplace_back();
    for (const nlohmann::json& x : row) {
      check(x.is_number() || x.is_null());
      numbers.push_back(x.is_null() ? std::numeric_limits<double>::quiet_NaN() : x.get<double>());
    }
    check(numbers[0] >= 0 && numbers[0] <= 0x1p53);
  }
  return rows;
}

}  // namespace detail

/// Takes it back into a run that was made as the saved one was: the same options, sampler and kind of optimizer. Throws
/// ErrorId::checkpoint for other sizes, a missing entry, or one of another form.
template <Real S>
void restore_training(const io::Checkpoint<S>& checkpoint, TrainingRun<S>& run) {
  TrainingRecord record{.seconds = checkpoint.number("train_seconds")};
  for (const std::vector<double>& s : detail::saved_rows(checkpoint, "history", 4))
    record.steps.push_back({static_cast<Index>(s[0]), s[1], s[2], s[3]});
  for (const std::vector<double>& e : detail::saved_rows(checkpoint, "evaluations", 2))
    record.evaluations.push_back({static_cast<Index>(e[0]), e[1]});
  std::vector<S> best;
  Index best_step = 0;
  if (checkpoint.tensors.contains("best")) {
    best.resize(run.values().flat().size());
    restore_tensor<S>(checkpoint, "best", best);
    best_step = static_cast<Index>(checkpoint.integer("best_step"));
  }
  restore_run<S>(checkpoint, run.values().flat(), run.optimizer(), run.batches());
  run.go_on(std::move(record), std::move(best), best_step);
}

}  // namespace lorasb::train
