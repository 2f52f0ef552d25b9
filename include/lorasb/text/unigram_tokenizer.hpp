// XLM-RoBERTa's tokenizer, SentencePiece's unigram pieces: text into ids of pieces.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/text/normalizer.hpp"
#include "lorasb/text/tokenizer.hpp"
#include "lorasb/text/tokenizer_json.hpp"
#include "lorasb/text/unigram.hpp"

namespace lorasb::text {

/// Writes spaces as a letter of their own, and one in front.
struct Metaspace {
  enum class Prepend { always, first, never };  // before every part of a text, before the one that begins it, never
  std::int32_t replacement = 0x2581;            // ▁
  Prepend prepend = Prepend::always;
  bool split = true;  // a word begins at each replacement
};

/// Cuts a normalised text into words and each word into the pieces whose scores have the largest sum (`best_paths`; of equal sums the
/// one whose last piece begins first). A symbol that is no piece has the smallest score less 10; a run of such symbols is one unknown
/// token, or with byte_fallback the pieces "<0x00>" … "<0xFF>" of its bytes. Ids are those of Hugging Face's tokenizers
/// (models/unigram, pre_tokenizers/metaspace.rs), of XLM-RoBERTa and what was trained from it.
///
///     const UnigramTokenizer tokenizer = UnigramTokenizer::from_json("tokenizer.json");
///     tokenizer.encode("Hello world").ids;    // <s> ▁Hello ▁world </s>
class UnigramTokenizer final : public Tokenizer {
 public:
  struct Options {
    Normalizer normalizer = {};
    bool split_whitespace = false;  // words are what stands between white space (WhitespaceSplit), before metaspace
    std::optional<Metaspace> metaspace = {};
    std::int32_t unknown = 0;  // id
    bool byte_fallback = false;
  };

  /// Throws ErrorId::vocabulary for a piece that is not UTF-8, a score that is not finite, and an unknown id that is none.
  UnigramTokenizer(const std::vector<ScoredPiece>& vocabulary, Options options, const std::vector<AddedToken>& added,
                   SequenceTemplate around)
      : options_(std::move(options)), pieces_(index(vocabulary)) {
    require(options_.unknown >= 0 && static_cast<std::size_t>(options_.unknown) < vocabulary.size(), ErrorId::vocabulary,
            "UnigramTokenizer: the unknown id is ", options_.unknown, " of ", vocabulary.size(), " pieces");
    double least = std::numeric_limits<double>::infinity();
    for (const ScoredPiece& piece : vocabulary) {
      scores_.push_back(piece.score);
      least = std::min(least, piece.score);
    }
    unknown_ = {.id = options_.unknown, .score = least - 10, .beside_longer_pieces = true};
    for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
      std::array<char, 8> name;
      std::snprintf(name.data(), name.size(), "<0x%02zX>", byte);
      byte_ids_[byte] = options_.byte_fallback ? id_of(decode_utf8(name.data())) : none;
    }
    const std::int32_t blank = options_.metaspace ? id_of(std::span(&options_.metaspace->replacement, 1)) : none;
    set_up(added, std::move(around), vocabulary.size(), unknown_.id, blank);
  }

  /// Reads a tokenizer.json whose model is Unigram, with the normalisers of `Normalizer` and the pre-tokenizers WhitespaceSplit and
  /// Metaspace. Its truncation and padding are not obeyed. Throws ErrorId::file_open, ErrorId::json, and ErrorId::vocabulary with the
  /// key that is not supported.
  static UnigramTokenizer from_json(const std::filesystem::path& path) { return from_json(io::read_json(path), path.string()); }
  static UnigramTokenizer from_json(const nlohmann::json& json, const std::string& where) {
    using Json = detail::JsonSource;
    const Json source{where};
    const nlohmann::json &model = Json::get(json, "model"), &unknown = Json::get(model, "unk_id");
    if (Json::get(model, "type") != "Unigram") source.unsupported("model", Json::get(model, "type"));
    if (unknown.is_null()) source.unsupported("unk_id", unknown);
    Options options{.normalizer = Normalizer(Json::get(json, "normalizer"), source), .unknown = source.id(unknown, "the unknown piece")};
    options.byte_fallback = source.flag(model, "byte_fallback", false);
    read_pre_tokenizer(Json::get(json, "pre_tokenizer"), source, options);
    source.check(!options.metaspace || options.metaspace->prepend != Metaspace::Prepend::first ||
                     (!options.split_whitespace && !options.normalizer.takes_from_start()),
                 "\"prepend_scheme\" is \"first\", which is not supported beside WhitespaceSplit, Nmt, Strip on the left and Replace");
    return {read_pieces(Json::get(model, "vocab"), source), std::move(options),
            detail::read_added_tokens(Json::get(json, "added_tokens"), source),
            detail::read_post_processor(Json::get(json, "post_processor"), source)};
  }

 private:
  static constexpr std::int32_t none = -1;

  static std::vector<ScoredPiece> read_pieces(const nlohmann::json& json, const detail::JsonSource& source) {
    source.check(json.is_array() && json.size() <= detail::max_vocabulary, "\"vocab\" is not an array of at most ",
                 detail::max_vocabulary, " pieces");
    std::vector<ScoredPiece> pieces;
    pieces.reserve(json.size());
    for (const nlohmann::json& entry : json) {
      source.check(entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number(), "piece ", pieces.size(),
                   " is not [piece, score]");
      pieces.push_back({entry[0].get<std::string>(), entry[1].get<double>()});
    }
    return pieces;
  }

  static void read_pre_tokenizer(const nlohmann::json& json, const detail::JsonSource& source, Options& options) {
    using Json = detail::JsonSource;
    if (json.is_null()) return;
    const std::string type = source.string(json, "type");
    if (type == "Sequence") {
      const nlohmann::json& parts = Json::get(json, "pretokenizers");
      source.check(parts.is_array(), "\"pretokenizers\" is not an array");
      for (const nlohmann::json& part : parts) read_pre_tokenizer(part, source, options);
      return;
    }
    if (options.metaspace) source.unsupported("pre_tokenizer", json);  // nothing after a Metaspace
    if (type == "WhitespaceSplit") {
      options.split_whitespace = true;
      return;
    }
    if (type != "Metaspace") source.unsupported("pre_tokenizer", json);
    const CodePoints replacement = decode_utf8(source.string(json, "replacement"));
    source.check(replacement.size() == 1, "\"replacement\" is not one letter");
    const nlohmann::json& scheme = Json::get(json, "prepend_scheme");
    if (!scheme.is_null() && scheme != "always" && scheme != "first" && scheme != "never") source.unsupported("prepend_scheme", scheme);
    if (!source.flag(json, "add_prefix_space", true) && scheme != "never") source.unsupported("add_prefix_space", false);
    using enum Metaspace::Prepend;
    options.metaspace = Metaspace{.replacement = replacement[0],
                                  .prepend = scheme == "never" ? never : scheme == "first" ? first : always,
                                  .split = source.flag(json, "split", true)};
  }

  static PieceTrie index(const std::vector<ScoredPiece>& vocabulary) {
    std::vector<PieceTrie::Entry> entries;
    entries.reserve(vocabulary.size());
    for (const auto& [piece, score] : vocabulary) {
      require(!invalid_utf8(piece), ErrorId::vocabulary, "UnigramTokenizer: piece ", entries.size(), " is not UTF-8");
      require(is_finite(score), ErrorId::vocabulary, "UnigramTokenizer: the score of piece ", entries.size(), " is ", score);
      entries.push_back({decode_utf8(piece), static_cast<std::int32_t>(entries.size())});
    }
    return PieceTrie(std::move(entries));
  }

  /// The id of a piece, or none.
  std::int32_t id_of(std::span<const std::int32_t> piece) const {
    std::int32_t found = none;
    pieces_.prefixes(piece, [&](std::int32_t id, std::size_t length) {
      if (length == piece.size()) found = id;
    });
    return found;
  }

  CodePoints normalize(std::span<const std::int32_t> text) const override { return options_.normalizer(text); }

  void append_pieces(std::span<const std::int32_t> text, bool begins, std::vector<std::int32_t>& ids) const override {
    if (!options_.split_whitespace) return append_part(text, begins, ids);
    for (auto at = text.begin();;) {
      const auto first = std::find_if_not(at, text.end(), is_whitespace);
      if (first == text.end()) return;
      at = std::find_if(first, text.end(), is_whitespace);
      append_part({first, at}, false, ids);
    }
  }

  void append_part(std::span<const std::int32_t> text, bool begins, std::vector<std::int32_t>& ids) const {
    if (!options_.metaspace) return append_word(text, ids);
    const auto [replacement, prepend, split] = *options_.metaspace;
    CodePoints part;
    part.reserve(text.size() + 1);
    const bool wanted = prepend == Metaspace::Prepend::always || (prepend == Metaspace::Prepend::first && begins);
    if (wanted && text[0] != ' ' && text[0] != replacement) part.push_back(replacement);
    std::ranges::replace_copy(text, std::back_inserter(part), std::int32_t{' '}, replacement);
    for (auto first = part.begin(); first != part.end();) {
      const auto end = split ? std::find(first + 1, part.end(), replacement) : part.end();
      append_word({first, end}, ids);
      first = end;
    }
  }

  void append_word(std::span<const std::int32_t> word, std::vector<std::int32_t>& ids) const {
    const std::vector<LastPiece> best =
        best_paths(word, pieces_, scores_, unknown_,
                   [](const LastPiece& kept, double score) { return kept.length == 0 || score > kept.score; });
    const std::ptrdiff_t before = std::ssize(ids);
    for (std::size_t end = word.size(); end > 0;) {  // from the end of the word to its start
      std::size_t start = end - best[end].length;
      if (best[end].id != unknown_.id) {
        ids.push_back(best[end].id);
      } else {
        while (start > 0 && best[start].id == unknown_.id) start -= best[start].length;
        append_unknown(word.subspan(start, end - start), ids);
      }
      end = start;
    }
    std::reverse(ids.begin() + before, ids.end());
  }

  /// A run of unknown symbols, its bytes from the last to the first. It can be a piece: the unknown one itself, for one.
  void append_unknown(std::span<const std::int32_t> run, std::vector<std::int32_t>& ids) const {
    if (const std::int32_t id = id_of(run); id != none) return ids.push_back(id);
    std::string bytes;
    if (options_.byte_fallback)
      for (const std::int32_t c : run) append_utf8(c, bytes);
    const auto id_of_byte = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (bytes.empty() || std::ranges::any_of(bytes, [&](char byte) { return id_of_byte(byte) == none; })) return ids.push_back(unknown_.id);
    std::transform(bytes.rbegin(), bytes.rend(), std::back_inserter(ids), id_of_byte);
  }

  Options options_;
  PieceTrie pieces_;
  std::vector<double> scores_;  // of the piece of an id
  UnknownSymbol unknown_;
  std::array<std::int32_t, 256> byte_ids_ = {};
};

}  // namespace lorasb::text
