// What all sessions of one call share: the base model, the texts as token ids, and which of them start the session.
#pragma once

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/common/tuned_model.hpp"
#include "examples/federated/go_on.hpp"
#include "examples/federated/options.hpp"

namespace lorasb::examples {

struct FederatedTask {
  BaseModel base;
  std::vector<std::string> label_names;
  TokenizedTexts train;              // of the clients
  std::vector<std::string> origins;  // of each, where the set tells it
  TokenizedTexts start;              // of no client: head and bases come from them
  TokenizedTexts test;
  std::vector<std::string> notes;
  std::string checksum;
  std::optional<TrainedFolder> loaded;  // what the session goes on from
  AdapterSet<float> loaded_adapters;    // its adapters, by the base model's names

  Index classes() const { return std::ssize(label_names); }
};

namespace detail {

/// The examples of --init-data: the first of the training set, which then belong to no client, or those of a file with the same
/// labels. Throws ErrorId::data.
inline std::vector<Example> take_start(const std::string& init_data, Dataset& data, bool is_loaded) {
  std::size_t count = 0;
  const auto [end, error] = std::from_chars(init_data.data(), init_data.data() + init_data.size(), count);
  if (error == std::errc() && end == init_data.data() + init_data.size()) {
    require((count >= 1 || is_loaded) && count < data.train.size(), ErrorId::data, "--init-data: ", count, " of ",
            data.train.size(), " training texts, expected at least ", is_loaded ? 0 : 1, ", and some left for the clients");
    const auto first = std::make_move_iterator(data.train.begin());
    std::vector<Example> start(first, first + static_cast<std::ptrdiff_t>(count));
    data.train.erase(data.train.begin(), data.train.begin() + static_cast<std::ptrdiff_t>(count));
    return start;
  }
  const std::filesystem::path file = init_data;
  return label_rows(read_tsv_file(file), ProblemType::single_label, data.label_names, {"--init-data", file},
                    "which the training texts never show");
}

}  // namespace detail

/// Reads model and data, and what --load names, which decides options. Throws what their readers throw.
inline FederatedTask read_task(FederateOptions& options) {
  std::optional<TrainedFolder> loaded;
  if (!options.load.empty()) {
    loaded = read_trained_folder(options);
    go_on_from(*loaded, options);
  }
  Dataset data = split(
      read_dataset(options.data, options.spam_package, options.header, options.pairs, loaded ? loaded->labels : std::vector<std::string>()),
      {.train = options.train_size, .validation = options.test_size, .test = options.test_size});
  const std::vector<Example> start = detail::take_start(options.init_data, data, loaded.has_value());
  FederatedTask task{.base = read_base_model(options),
                     .label_names = std::move(data.label_names),
                     .train = {},
                     .origins = {},
                     .start = {},
                     .test = {},
                     .notes = std::move(data.notes),
                     .checksum = {},
                     .loaded = std::move(loaded),
                     .loaded_adapters = {}};
  if (task.loaded) task.loaded_adapters = adapters_to_go_on_from(*task.loaded, task.base, only_loads);
  choose_modules(task.base, options.modules, task.notes);
  const std::vector<Example>& tested = options.validation ? data.validation : data.test;
  std::unordered_set<std::string_view> test_texts;
  for (const Example& example : tested) test_texts.insert(example.text);
  const auto shared = std::ranges::count_if(start, [&](const Example& e) { return test_texts.contains(e.text); });
  if (shared > 0) task.notes.push_back(concat(shared, " of the texts to start from (--init-data) stand among the test texts too"));
  TextCounts counts;
  task.train = tokenize(data.train, task.base, options.threads, counts);
  task.start = tokenize(start, task.base, options.threads, counts);
  task.test = tokenize(options.validation ? data.validation : data.test, task.base, options.threads, counts);
  require(task.test.size() > 0, ErrorId::data, "there are no validation texts");
  for (Example& example : data.train) task.origins.push_back(std::move(example.natural_client));
  task.checksum = checksum({&task.train, &task.start, &task.test});
  counts.add_notes(task.base, task.notes);
  return task;
}

}  // namespace lorasb::examples
