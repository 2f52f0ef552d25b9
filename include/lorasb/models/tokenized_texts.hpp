// Texts as an encoder reads them, and a loop over them in pieces.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "lorasb/core/parallel.hpp"
#include "lorasb/nn/problem.hpp"

namespace lorasb::models {

/// Token ids of texts, with what they should come out as: `labels`, or `values` for other problems than one label a text.
struct TokenizedTexts {
  std::vector<std::vector<std::int32_t>> ids = {};
  std::vector<std::vector<std::int32_t>> types = {};  // token types, for each text; none: all 0
  std::vector<std::int32_t> labels = {};
  nn::ProblemType problem = nn::ProblemType::single_label;
  Matrix<float> values = {};  // outputs x texts, as nn::Targets has them
  std::vector<Index> tasks = {};  // of each text, for layers that route by it and heads of several tasks; may be empty
  Index size() const { return std::ssize(ids); }
  nn::Targets<float> targets() const { return {.problem = problem, .labels = labels, .values = values}; }
};

/// Calls visit(part, first text, texts of the piece) for all of `texts` texts in pieces of 16, `parts` of them at a time. What a
/// pass keeps grows with its texts, about 1 MB for each; sixteen are enough for products at full speed.
template <class Visit>
void for_pieces(Index texts, Index parts, int threads, const Visit& visit) {
  constexpr Index size = 16;
  std::vector<Index> order(static_cast<std::size_t>(texts));
  std::iota(order.begin(), order.end(), Index{0});
  parallel_for(parts, threads, [&](Index part) {
    for (Index first = size * part; first < texts; first += size * parts)
      visit(part, first,
            std::span<const Index>(order).subspan(static_cast<std::size_t>(first),
                                                  static_cast<std::size_t>(std::min(size, texts - first))));
  });
}

/// What the head gives for each text, before softmax or sigmoid: outputs x texts. Throws ErrorId::not_finite for a text whose outputs
/// are not: they would be taken for an answer.
template <class Classifier>
Matrix<float> outputs(Classifier& classifier, const TokenizedTexts& texts, Index parts, int threads) {
  Matrix<float> all(classifier.classes(), texts.size());
  for_pieces(texts.size(), parts, threads, [&](Index part, Index first, std::span<const Index> piece) {
    all.middleCols(first, std::ssize(piece)) = classifier.outputs(texts, piece, part);
  });
  for (Index i = 0; i < all.cols(); ++i)
    require(all_finite(&all(0, i), all.rows()), ErrorId::not_finite, "the outputs of text ", i + 1,
            " are not finite: the model, or what was trained of it, holds numbers that are not finite or far too large");
  return all;
}

/// The share of texts that a TextClassifier classifies right; 0 for no texts. Throws ErrorId::not_finite for a loss that is not.
template <class Classifier>
double accuracy(Classifier& classifier, const TokenizedTexts& texts, Index parts, int threads) {
  std::vector<Index> correct(static_cast<std::size_t>(parts));
  for_pieces(texts.size(), parts, threads, [&](Index part, Index, std::span<const Index> piece) {
    const nn::PassResult found = classifier.measure(texts, piece, part);
    require(is_finite(found.loss), ErrorId::not_finite, "the loss of texts ", piece.front() + 1, " to ", piece.back() + 1, " is ", found.loss,
            ": the model, or what was trained of it, holds numbers that are not finite or far too large");
    correct[static_cast<std::size_t>(part)] += found.correct;
  });
  const Index all = std::accumulate(correct.begin(), correct.end(), Index{0});
  return texts.size() == 0 ? 0 : double(all) / double(texts.size());
}

}  // namespace lorasb::models
