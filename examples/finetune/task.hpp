// What all runs of one call share: the base model, the texts as token ids, and the frozen encoder's vectors of them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/finetune/options.hpp"
#include "lorasb/data/class_weights.hpp"
#include "lorasb/train/standardize.hpp"

namespace lorasb::examples {

struct Task {
  BaseModel base;
  std::vector<std::string> label_names;
  TokenizedTexts train, validation, test;
  std::vector<std::string> notes;                                    // what was left out or cut, in words
  std::string checksum;                                              // of tokens and labels, in order
  std::optional<TrainedFolder> loaded;                               // what training goes on from
  AdapterSet<float> loaded_adapters;                                 // its adapters, by the base model's names
  std::vector<double> class_weights;                                 // in the loss; empty: all 1
  train::OutputScale output_scale;                                   // of a regression: `train` has numbers of deviation 1
  Matrix<float> train_features, validation_features, test_features;  // features x texts

  Index classes() const { return std::ssize(label_names); }
};

/// Reads model and data; `loaded` is what training goes on from. Throws what their readers throw.
inline Task read_task(const FinetuneOptions& options, std::optional<TrainedFolder> loaded = {}) {
  Dataset data = split(read_dataset(options.data, options.spam_package, options.header, options.pairs,
                                    loaded ? loaded->labels : std::vector<std::string>(), options.problem),
                       {.train = options.train_size, .validation = options.validation_size, .test = options.test_size});
  Task task{.base = read_base_model(options, dtype_of(options.weights)),
            .label_names = std::move(data.label_names),
            .train = {},
            .validation = {},
            .test = {},
            .notes = std::move(data.notes),
            .checksum = {},
            .loaded = std::move(loaded),
            .loaded_adapters = {},
            .class_weights = {},
            .output_scale = {},
            .train_features = {},
            .validation_features = {},
            .test_features = {}};
  if (task.loaded) task.loaded_adapters = adapters_to_go_on_from(*task.loaded, task.base, only_loads);
  choose_modules(task.base, options.modules, task.notes);
  TextCounts counts;
  task.train = tokenize(data.train, task.base, options.threads, counts, options.problem);
  task.validation = tokenize(data.validation, task.base, options.threads, counts, options.problem);
  task.test = tokenize(data.test, task.base, options.threads, counts, options.problem);
  task.checksum = checksum({&task.train, &task.validation, &task.test});
  if (options.problem == ProblemType::regression) task.output_scale = train::standardize(task.train.values);
  counts.add_notes(task.base, task.notes);
  if (options.class_weights != "none") {
    task.class_weights = options.class_weights == "balanced"
                             ? balanced_weights(task.classes(), task.train.labels)
                             : read_class_weights(options.class_weights, task.label_names, "--class-weights");
    io::Fnv64 sum;
    sum.add(std::as_bytes(std::span(task.class_weights)));
    task.checksum += concat(" ", sum.value());
  }
  return task;
}

}  // namespace lorasb::examples
