// The SentencePiece unigram tokenizer of the Universal Sentence Encoder: text into ids of pieces.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/io/json.hpp"
#include "lorasb/text/nfkc.hpp"
#include "lorasb/text/piece_trie.hpp"
#include "lorasb/text/unigram.hpp"

namespace lorasb::text {

/// Cuts a text into the pieces p₁ … p_k of a vocabulary whose scores (log probabilities) have the largest sum, by Viterbi
/// (`best_paths`) over the symbols (code points) of "▁" + NFKC(text), spaces written as "▁".
///
///     UseTokenizer tokenizer = UseTokenizer::from_json("vocab.json");
///     std::vector<std::int32_t> ids = tokenizer.encode("The quick brown fox");
///
/// The ids are those that the encoder was trained with, so they follow its tokenizer (tensorflow/tfjs-models,
/// universal-sentence-encoder/src/tokenizer) in everything, also where that departs from the formula:
///  - a score of `null` is 0; of equal pieces the last one counts;
///  - ids 0 to 5 are reserved: their pieces are not searched for;
///  - only where no piece of the vocabulary begins, one symbol is unknown: id 0, score 0; a run of ids 0 is written once;
///  - best[end] = 0 means "not reached yet", so a path whose score is 0 (unknown symbols, null scores) is replaced by any later
///  one;
///  - among equal scores the shortest last piece wins;
///  - an end that no piece reaches keeps score 0 and id 0, and pieces that begin there count as if it were the start of the
///  text;
///  - the way back steps over a piece by its length in UTF-16 units (2 for a symbol above U+FFFF), though positions count
///  symbols.
///
/// An empty text has no ids. Encoding changes nothing in the tokenizer: threads share one.
class UseTokenizer {
 public:
  using Piece = ScoredPiece;
  static constexpr std::int32_t unknown = 0;
  static constexpr std::size_t reserved = 6;

  /// A piece's id is its place. Throws ErrorId::vocabulary without pieces, for an empty piece, for a score that is not finite
  /// and for a piece that is not UTF-8.
  explicit UseTokenizer(const std::vector<Piece>& vocabulary) : trie_(index(vocabulary)) {
    scores_.reserve(vocabulary.size());
    steps_.reserve(vocabulary.size());
    for (const Piece& piece : vocabulary) {
      if (piece.text == "\xE2\x96\x81" && scores_.size() >= reserved) separator_ = static_cast<std::int32_t>(scores_.size());
      scores_.push_back(piece.score);
      steps_.push_back(utf16_units(piece.text));
    }
  }

  /// Reads an array of [piece, score or null]. Throws ErrorId::file_open, ErrorId::json for what is not JSON, and
  /// ErrorId::vocabulary for what is not such an array or not a vocabulary.
  static UseTokenizer from_json(const std::filesystem::path& path) {
    const nlohmann::json json = io::read_json(path);
    require(json.is_array(), ErrorId::vocabulary, "UseTokenizer::from_json: \"", path.string(), "\" holds one ",
            json.type_name(), ", expected an array of [piece, score]");
    std::vector<Piece> vocabulary;
    vocabulary.reserve(json.size());
    for (const nlohmann::json& entry : json) {
      require(entry.is_array() && entry.size() == 2 && entry[0].is_string() && (entry[1].is_number() || entry[1].is_null()),
              ErrorId::vocabulary, "UseTokenizer::from_json: \"", path.string(), "\": entry ", vocabulary.size(),
              " is not [piece, score or null]");
      vocabulary.push_back({entry[0].get<std::string>(), entry[1].is_null() ? 0 : entry[1].get<double>()});
    }
    return UseTokenizer(vocabulary);
  }

  /// How many ids there are: they run from 0 to size() - 1.
  std::size_t size() const { return scores_.size(); }

  /// Whether these ids of a text say nothing of it: there are none, or all are the unknown one or a "▁" alone.
  bool finds_nothing(std::span<const std::int32_t> ids) const {
    return std::ranges::all_of(ids, [&](std::int32_t id) { return id == unknown || id == separator_; });
  }

  /// The ids of the pieces of a text. Throws ErrorId::text, with the position of the byte, when it is not UTF-8.
  std::vector<std::int32_t> encode(std::string_view utf8) const {
    CodePoints symbols = nfkc(utf8);
    if (symbols.empty()) return {};
    std::replace(symbols.begin(), symbols.end(), std::int32_t{' '}, separator);
    symbols.insert(symbols.begin(), separator);
    return way_back(best_paths(symbols, trie_, scores_, {.id = unknown},
                               [](const LastPiece& kept, double score) { return kept.score == 0 || score >= kept.score; }));
  }

 private:
  static constexpr std::int32_t separator = 0x2581;  // ▁

  static std::vector<PieceTrie::Entry> index(const std::vector<Piece>& vocabulary) {
    require(!vocabulary.empty(), ErrorId::vocabulary, "UseTokenizer: the vocabulary is empty");
    std::vector<PieceTrie::Entry> entries;
    for (std::size_t id = 0; id < vocabulary.size(); ++id) {
      const auto& [text, score] = vocabulary[id];
      require(!text.empty(), ErrorId::vocabulary, "UseTokenizer: piece ", id, " is empty");
      require(!invalid_utf8(text), ErrorId::vocabulary, "UseTokenizer: piece ", id, " is not UTF-8");
      require(is_finite(score), ErrorId::vocabulary, "UseTokenizer: the score of piece ", id, " is ", score);
      if (id >= reserved) entries.push_back({decode_utf8(text), static_cast<std::int32_t>(id)});
    }
    return entries;
  }

  static std::int32_t utf16_units(std::string_view utf8) {
    std::int32_t units = 0;
    for (const std::int32_t symbol : decode_utf8(utf8)) units += symbol > 0xFFFF ? 2 : 1;
    return units;
  }

  /// The ids of the best path from the end of the text to its start, turned round.
  std::vector<std::int32_t> way_back(const std::vector<LastPiece>& last) const {
    std::vector<std::int32_t> ids;
    for (auto end = static_cast<std::ptrdiff_t>(last.size()) - 1; end > 0;) {
      const std::int32_t id = last[static_cast<std::size_t>(end)].id;
      if (ids.empty() || id != unknown || ids.back() != unknown) ids.push_back(id);
      end -= steps_[static_cast<std::size_t>(id)];
    }
    std::reverse(ids.begin(), ids.end());
    return ids;
  }

  PieceTrie trie_;
  std::vector<double> scores_;       // of the piece of an id
  std::int32_t separator_ = unknown;  // id of the piece "▁", if there is one
  std::vector<std::int32_t> steps_;  // its length in UTF-16 units
};

}  // namespace lorasb::text
