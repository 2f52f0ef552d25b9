// The domains of a run: one encoder, the texts of every domain as token ids, and a joint head with a row for each class.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/common/tuned_model.hpp"
#include "examples/mixer/options.hpp"

namespace lorasb::examples {

struct MixTask {
  BaseModel base = {};
  std::vector<std::string> domains = {};  // names of the experts, too
  std::vector<Range> classes = {};        // of each domain, in the joint head
  TokenizedTexts train = {}, test = {};   // labels are rows of the joint head, tasks are domains
  std::vector<std::string> notes = {};
  std::string checksum = {};

  Index domain_count() const { return std::ssize(domains); }
  Index class_count() const { return classes.back().first + classes.back().count; }
  /// Training texts of one domain.
  std::vector<Index> train_texts(Index domain) const {
    std::vector<Index> found;
    for (Index i = 0; i < train.size(); ++i)
      if (train.tasks[std::size_t(i)] == domain) found.push_back(i);
    return found;
  }
};

/// "wordnet", "banking" of clinc150:FILE:banking, "tsv": a name that a folder can have, not one of `taken`.
inline std::string domain_name(const std::string& data, const std::vector<std::string>& taken) {
  std::string name = data.substr(0, data.find(':'));
  if (name == "clinc150") name = data.substr(data.rfind(':') + 1);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '-';
  std::string unique = name;
  for (int n = 2; std::ranges::find(taken, unique) != taken.end(); ++n) unique = concat(name, "-", n);
  return unique;
}

/// Throws what the readers of model and data throw.
inline MixTask read_task(const MixOptions& options) {
  MixTask task{.base = read_base_model(options)};
  TextCounts counts;
  Index first = 0;
  for (const std::string& data : options.domains) {
    Dataset set = split(read_dataset(data, options.spam_package),
                        {.train = options.train_size, .validation = 0, .test = options.test_size});
    const std::string name = domain_name(data, task.domains);
    const auto append = [&](const std::vector<Example>& examples, TokenizedTexts& to) {
      TokenizedTexts texts = tokenize(examples, task.base, options.threads, counts);
      for (std::size_t i = 0; i < texts.ids.size(); ++i) {
        to.ids.push_back(std::move(texts.ids[i]));
        to.labels.push_back(texts.labels[i] + std::int32_t(first));
        to.tasks.push_back(task.domain_count());
      }
    };
    append(set.train, task.train);
    append(set.test, task.test);
    for (const std::string& note : set.notes) task.notes.push_back(name + ": " + note);
    task.notes.push_back(concat(name, ": ", set.train.size(), " training and ", set.test.size(), " test texts in ",
                                set.label_names.size(), " classes"));
    task.classes.push_back({first, std::ssize(set.label_names)});
    first += std::ssize(set.label_names);
    task.domains.push_back(name);
  }
  counts.add_notes(task.base, task.notes);
  task.checksum = checksum({&task.train, &task.test});
  return task;
}

}  // namespace lorasb::examples
