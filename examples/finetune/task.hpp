// What all runs of one call share: the base model, the texts as token ids, and the frozen encoder's vectors of them.
#pragma once

#include <string>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/finetune/options.hpp"

namespace lorasb::examples {

struct Task {
  BaseModel base;
  std::vector<std::string> label_names;
  TokenizedTexts train, validation, test;
  std::vector<std::string> notes;                                    // what was left out or cut, in words
  std::string checksum;                                              // of tokens and labels, in order
  Matrix<float> train_features, validation_features, test_features;  // features x texts

  Index classes() const { return std::ssize(label_names); }
};

/// Reads model and data. Throws what their readers throw.
inline Task read_task(const FinetuneOptions& options) {
  Dataset data = split(read_dataset(options.data, options.spam_package, options.header, options.pairs),
                       {.train = options.train_size, .validation = options.validation_size, .test = options.test_size});
  const Dtype modules = options.weights == WeightType::bf16 ? Dtype::bf16 : Dtype::f32;
  Task task{.base = read_base_model(options, modules),
            .label_names = std::move(data.label_names),
            .train = {},
            .validation = {},
            .test = {},
            .notes = std::move(data.notes),
            .checksum = {},
            .train_features = {},
            .validation_features = {},
            .test_features = {}};
  Index cut = 0;
  task.train = tokenize(data.train, task.base, options.threads, cut);
  task.validation = tokenize(data.validation, task.base, options.threads, cut);
  task.test = tokenize(data.test, task.base, options.threads, cut);
  task.checksum = checksum({&task.train, &task.validation, &task.test});
  if (cut > 0) task.notes.push_back(concat(cut, " texts cut to the ", task.base.max_tokens, " tokens that the encoder reads"));
  return task;
}

}  // namespace lorasb::examples
