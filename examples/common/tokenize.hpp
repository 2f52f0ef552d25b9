// The texts of a run as token ids.
#pragma once

#include <vector>

#include "examples/common/base_model.hpp"
#include "lorasb/classify/encode_texts.hpp"

namespace lorasb::examples {

/// encode_examples(); throws ErrorId::data, too, when the vocabulary finds nothing in more than nine tenths of them.
inline TokenizedTexts tokenize(const std::vector<Example>& examples, const BaseModel& base, int threads, TextCounts& counts,
                               ProblemType problem = ProblemType::single_label) {
  const Index before = counts.unknown;
  TokenizedTexts texts = encode_examples(examples, base, counts, problem, threads);
  const Index unknown = counts.unknown - before;
  require(10 * unknown <= 9 * texts.size(), ErrorId::data, "in ", unknown, " of ", texts.size(), " texts the vocabulary of ",
          base.name, " finds nothing: their language or script needs another model (--model)");
  return texts;
}

}  // namespace lorasb::examples
