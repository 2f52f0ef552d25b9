// From texts to the token ids that a base model reads, and a checksum of them.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/classify/base_model.hpp"
#include "lorasb/core/parallel.hpp"
#include "lorasb/data/corpus.hpp"
#include "lorasb/io/checksum.hpp"
#include "lorasb/models/tokenized_texts.hpp"
#include "lorasb/nn/problem.hpp"

namespace lorasb::classify {

using models::TokenizedTexts;
using nn::ProblemType;

/// What the tokenizer has found in all sets of a run.
struct TextCounts {
  Index cut = 0;      // to what the encoder reads
  Index unknown = 0;  // the vocabulary finds nothing in them

  /// In words, where there is something to say.
  void add_notes(const BaseModel& base, std::vector<std::string>& notes) const {
    if (cut > 0) notes.push_back(concat(cut, " texts cut to the ", base.max_tokens, " tokens that the encoder reads"));
    if (unknown > 0) notes.push_back(concat(unknown, " texts in which the vocabulary of ", base.name, " finds nothing"));
  }
};

/// Token ids of all examples, cut to what the encoder reads, with what they should come out as; a text without any is read as one
/// token, 0. Adds to `counts`. Throws what BaseModel::encode throws.
inline TokenizedTexts encode_examples(const std::vector<data::Example>& examples, const BaseModel& base, TextCounts& counts,
                                      ProblemType problem = ProblemType::single_label, int threads = 1) {
  TokenizedTexts texts;
  texts.ids.resize(examples.size());
  texts.types.resize(examples.size());
  const Index pieces = 16;
  std::vector<TextCounts> of_piece(static_cast<std::size_t>(pieces));
  parallel_for(pieces, threads, [&](Index piece) {
    TextCounts& found_here = of_piece[static_cast<std::size_t>(piece)];
    for (std::size_t i = static_cast<std::size_t>(piece); i < examples.size(); i += static_cast<std::size_t>(pieces)) {
      text::Encoding found = base.encode(examples[i].text);
      found_here.cut += found.cut;
      found_here.unknown += found.unknown;
      if (found.ids.empty()) found.ids.push_back(0);
      texts.ids[i] = std::move(found.ids);
      texts.types[i] = std::move(found.types);
    }
  });
  for (const TextCounts& found : of_piece) {
    counts.cut += found.cut;
    counts.unknown += found.unknown;
  }
  for (const data::Example& example : examples) texts.labels.push_back(example.label);
  if (problem == ProblemType::single_label) return texts;
  texts.problem = problem;
  texts.values.resize(examples.empty() ? 0 : std::ssize(examples.front().values), std::ssize(examples));
  for (Index i = 0; i < texts.values.cols(); ++i)
    texts.values.col(i) = as_vector(std::span<const float>(examples[static_cast<std::size_t>(i)].values));
  return texts;
}

/// Of tokens and labels, in order: another split, file, vocabulary or tokenizer shows.
inline std::string checksum(std::initializer_list<const TokenizedTexts*> sets) {
  io::Fnv64 sum;
  const auto add = [&](const std::vector<std::int32_t>& numbers) {
    const std::size_t count = numbers.size();
    sum.add(std::as_bytes(std::span(&count, 1)));
    sum.add(std::as_bytes(std::span(numbers)));
  };
  for (const TokenizedTexts* texts : sets) {
    add(texts->labels);
    sum.add(std::as_bytes(std::span(texts->values.data(), static_cast<std::size_t>(texts->values.size()))));
    for (const std::vector<std::int32_t>& ids : texts->ids) add(ids);
  }
  return concat(sum.value());
}

}  // namespace lorasb::classify
