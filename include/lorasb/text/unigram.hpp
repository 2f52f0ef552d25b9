// Viterbi over pieces with scores: the cut of a text whose scores have the largest sum.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lorasb/text/piece_trie.hpp"

namespace lorasb::text {

/// A piece of a unigram vocabulary; its id is its place there.
struct ScoredPiece {
  std::string text;  // UTF-8
  double score = 0;  // log probability
};

/// The last piece of the best path to an end.
struct LastPiece {
  double score = 0;  // of the whole path
  std::int32_t id = 0;
  std::size_t length = 0;  // in symbols; 0 where no path ends
};

/// A symbol that is no piece of its own, as a piece.
struct UnknownSymbol {
  std::int32_t id = 0;
  double score = 0;
  bool beside_longer_pieces = false;  // it also stands where only longer pieces begin, not just where none does
};

/// For each end 0, …, |symbols| the last piece of the best path there (Kudo, Subword Regularization, ACL 2018):
///
///     best[0] = 0,   best[end] = max over pieces p that end there of  score(p) + best[end − |p|]
///
/// `replaces(kept, score)` says whether a path of that score replaces the one that is kept; paths come in the order of the start
/// of their last piece, then of its length. `scores` are those of the ids of `pieces`. An end that nothing reaches keeps the default.
template <class Replaces>
std::vector<LastPiece> best_paths(std::span<const std::int32_t> symbols, const PieceTrie& pieces, std::span<const double> scores,
                                  const UnknownSymbol& unknown, const Replaces& replaces) {
  std::vector<LastPiece> best(symbols.size() + 1);
  for (std::size_t start = 0; start < symbols.size(); ++start) {
    const double before = best[start].score;
    const auto reach = [&](std::size_t length, double score, std::int32_t id) {
      LastPiece& kept = best[start + length];
      if (replaces(kept, score)) kept = {score, id, length};
    };
    bool known = false;
    pieces.prefixes(symbols.subspan(start), [&](std::int32_t id, std::size_t length) {
      known = known || length == 1 || !unknown.beside_longer_pieces;
      reach(length, before + scores[static_cast<std::size_t>(id)], id);
    });
    if (!known) reach(1, before + unknown.score, unknown.id);
  }
  return best;
}

}  // namespace lorasb::text
