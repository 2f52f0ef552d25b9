// What all runs of one call share: the base model, the texts as token ids, and the frozen encoder's vectors of them.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "examples/common/datasets.hpp"
#include "examples/common/head.hpp"
#include "examples/finetune/options.hpp"
#include "lorasb/io/checksum.hpp"
#include "lorasb/text/unigram_tokenizer.hpp"

namespace lorasb::examples {

struct Task {
  UseLite base;
  std::vector<std::string> label_names;
  TokenizedTexts train, validation, test;
  std::vector<std::string> notes;                                    // what was left out or cut, in words
  std::string checksum;                                              // of tokens and labels, in order
  Matrix<float> train_features, validation_features, test_features;  // features x texts

  Index classes() const { return std::ssize(label_names); }
};

namespace detail {

/// Token ids of all examples, cut to what the encoder reads; counts the texts that were cut.
inline TokenizedTexts tokenize(const std::vector<Example>& examples, const text::UnigramTokenizer& tokenizer, Index max_tokens,
                               int threads, Index& cut) {
  TokenizedTexts texts;
  texts.ids.resize(examples.size());
  const Index pieces = 16;
  std::vector<Index> cuts(static_cast<std::size_t>(pieces));
  parallel_for(pieces, threads, [&](Index piece) {
    for (std::size_t i = static_cast<std::size_t>(piece); i < examples.size(); i += static_cast<std::size_t>(pieces)) {
      std::vector<std::int32_t> ids = tokenizer.encode(examples[i].text);
      require(!ids.empty(), ErrorId::data, "a text of label ", examples[i].label, " is empty");
      if (std::ssize(ids) > max_tokens) {
        ids.resize(static_cast<std::size_t>(max_tokens));
        ++cuts[static_cast<std::size_t>(piece)];
      }
      texts.ids[i] = std::move(ids);
    }
  });
  for (const Example& example : examples) texts.labels.push_back(example.label);
  for (const Index count : cuts) cut += count;
  return texts;
}

/// Another split, file, vocabulary or tokenizer shows.
inline std::string checksum(std::initializer_list<const TokenizedTexts*> sets) {
  io::Fnv64 sum;
  const auto add = [&](const std::vector<std::int32_t>& numbers) {
    const std::size_t count = numbers.size();
    sum.add(std::as_bytes(std::span(&count, 1)));
    sum.add(std::as_bytes(std::span(numbers)));
  };
  for (const TokenizedTexts* texts : sets) {
    add(texts->labels);
    for (const std::vector<std::int32_t>& ids : texts->ids) add(ids);
  }
  return concat(sum.value());
}

}  // namespace detail

/// Reads model and data. Throws what their readers throw.
inline Task read_task(const FinetuneOptions& options) {
  Dataset data = split(read_dataset(options.data, options.spam_package),
                       {.train = options.train_size, .validation = options.validation_size, .test = options.test_size});
  Task task{.base = read_use_lite(options.model),
            .label_names = std::move(data.label_names),
            .train = {},
            .validation = {},
            .test = {},
            .notes = std::move(data.notes),
            .checksum = {},
            .train_features = {},
            .validation_features = {},
            .test_features = {}};
  const text::UnigramTokenizer tokenizer = text::UnigramTokenizer::from_json(options.model / "dist" / "vocab.json");
  const Index max_tokens = task.base.config.max_tokens;
  Index cut = 0;
  task.train = detail::tokenize(data.train, tokenizer, max_tokens, options.threads, cut);
  task.validation = detail::tokenize(data.validation, tokenizer, max_tokens, options.threads, cut);
  task.test = detail::tokenize(data.test, tokenizer, max_tokens, options.threads, cut);
  task.checksum = detail::checksum({&task.train, &task.validation, &task.test});
  if (cut > 0) task.notes.push_back(concat(cut, " texts cut to the ", max_tokens, " tokens that the encoder reads"));
  return task;
}

}  // namespace lorasb::examples
