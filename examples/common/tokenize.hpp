// From texts to the token ids that the encoder reads, and a checksum of them.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "examples/common/base_model.hpp"
#include "examples/common/dataset.hpp"
#include "lorasb/core/parallel.hpp"
#include "lorasb/io/checksum.hpp"
#include "lorasb/models/tokenized_texts.hpp"

namespace lorasb::examples {

using models::TokenizedTexts;

/// Token ids of all examples, cut to what the encoder reads; counts the texts that were cut.
inline TokenizedTexts tokenize(const std::vector<Example>& examples, const BaseModel& base, int threads, Index& cut) {
  TokenizedTexts texts;
  texts.ids.resize(examples.size());
  texts.types.resize(examples.size());
  const Index pieces = 16;
  std::vector<Index> cuts(static_cast<std::size_t>(pieces));
  parallel_for(pieces, threads, [&](Index piece) {
    for (std::size_t i = static_cast<std::size_t>(piece); i < examples.size(); i += static_cast<std::size_t>(pieces)) {
      text::Encoding found = base.encode(examples[i].text);
      require(!found.ids.empty(), ErrorId::data, "a text of label ", examples[i].label, " is empty");
      cuts[static_cast<std::size_t>(piece)] += found.cut;
      texts.ids[i] = std::move(found.ids);
      texts.types[i] = std::move(found.types);
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
