// From texts to the token ids that the encoder reads, and a checksum of them.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "examples/common/dataset.hpp"
#include "lorasb/core/parallel.hpp"
#include "lorasb/io/checksum.hpp"
#include "lorasb/models/tokenized_texts.hpp"
#include "lorasb/text/use_tokenizer.hpp"

namespace lorasb::examples {

using models::TokenizedTexts;

/// Token ids of all examples, cut to what the encoder reads; counts the texts that were cut.
inline TokenizedTexts tokenize(const std::vector<Example>& examples, const text::UseTokenizer& tokenizer, Index max_tokens,
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

}  // namespace lorasb::examples
