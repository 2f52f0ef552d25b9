// BERT's WordPiece tokenizer: text into ids of pieces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/text/bert_normalizer.hpp"
#include "lorasb/text/tokenizer.hpp"
#include "lorasb/text/tokenizer_json.hpp"

namespace lorasb::text {

/// Cuts a normalised text at white space and round every punctuation mark, and each word into pieces from left to right, always the
/// longest that the vocabulary has (Devlin et al., arXiv 1810.04805). Pieces inside a word are listed with a prefix, "##". A word that
/// cannot be cut so, or is longer than max_letters, is one unknown token. Ids are those of Hugging Face's tokenizers (models/wordpiece,
/// pre_tokenizers/bert.rs).
///
///     const WordPieceTokenizer tokenizer = WordPieceTokenizer::from_json("tokenizer.json");
///     tokenizer.encode("unaffable").ids;    // [CLS] un ##aff ##able [SEP]
class WordPieceTokenizer final : public Tokenizer {
 public:
  struct Options {
    BertNormalizer normalizer = {};
    std::string unknown = "[UNK]";
    std::string prefix = "##";
    std::size_t max_letters = 100;  // code points
  };

  /// Throws ErrorId::vocabulary when the unknown token is missing or a piece is not UTF-8.
  WordPieceTokenizer(const Vocabulary& vocabulary, Options options, const std::vector<AddedToken>& added, SequenceTemplate around)
      : normalizer_(options.normalizer), max_letters_(options.max_letters), first_(index(vocabulary, "")),
        inside_(index(vocabulary, options.prefix)) {
    unknown_ = detail::id_of(vocabulary, options.unknown, {"WordPieceTokenizer"});
    set_up(added, std::move(around), detail::vocabulary_size(vocabulary), unknown_);
  }

  /// Reads a tokenizer.json whose model is WordPiece with BertNormalizer and BertPreTokenizer. Its truncation and padding are not
  /// obeyed. Throws ErrorId::file_open, ErrorId::json, and ErrorId::vocabulary with the key that is not supported.
  static WordPieceTokenizer from_json(const std::filesystem::path& path) {
    return from_json(io::read_json(path), path.string());
  }
  static WordPieceTokenizer from_json(const nlohmann::json& json, const std::string& where) {
    const detail::JsonSource source{where};
    const nlohmann::json& model = detail::JsonSource::get(json, "model");
    const nlohmann::json& normalizer = detail::JsonSource::get(json, "normalizer");
    const nlohmann::json& pre_tokenizer = detail::JsonSource::get(json, "pre_tokenizer");
    if (detail::JsonSource::get(model, "type") != "WordPiece") source.unsupported("model", detail::JsonSource::get(model, "type"));
    if (detail::JsonSource::get(pre_tokenizer, "type") != "BertPreTokenizer") source.unsupported("pre_tokenizer", pre_tokenizer);
    if (detail::JsonSource::get(normalizer, "type") != "BertNormalizer") source.unsupported("normalizer", normalizer);
    Options options{.normalizer = read_normalizer(normalizer, "lowercase", "handle_chinese_chars", source)};
    options.normalizer.clean_text = source.flag(normalizer, "clean_text", true);
    options.unknown = source.string(model, "unk_token");
    options.prefix = source.string(model, "continuing_subword_prefix");
    const nlohmann::json& letters = detail::JsonSource::get(model, "max_input_chars_per_word");
    source.check(letters.is_number_unsigned(), "\"max_input_chars_per_word\" is not a number");
    options.max_letters = letters.get<std::size_t>();
    return {detail::read_vocabulary(detail::JsonSource::get(model, "vocab"), source), std::move(options),
            detail::read_added_tokens(detail::JsonSource::get(json, "added_tokens"), source),
            detail::read_post_processor(detail::JsonSource::get(json, "post_processor"), source)};
  }

  /// Reads a vocab.txt, a piece in each line; `config` is the content of tokenizer_config.json or null: do_lower_case (true),
  /// strip_accents (as do_lower_case), tokenize_chinese_chars (true).
  static WordPieceTokenizer from_vocabulary(const std::filesystem::path& path, const nlohmann::json& config = {}) {
    const detail::JsonSource source{path.string()};
    Vocabulary vocabulary;
    std::int32_t id = 0;
    for (std::string& line : detail::read_lines(path)) vocabulary[std::move(line)] = id++;
    const BertNormalizer normalizer = read_normalizer(config, "do_lower_case", "tokenize_chinese_chars", source);
    const std::int32_t begin = detail::id_of(vocabulary, "[CLS]", source), end = detail::id_of(vocabulary, "[SEP]", source);
    return {vocabulary, {.normalizer = normalizer},
            detail::special_tokens(vocabulary, {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}),
            SequenceTemplate::around(begin, end, 1, 1)};
  }

 private:
  static BertNormalizer read_normalizer(const nlohmann::json& json, const char* lower_case, const char* chinese,
                                        const detail::JsonSource& source) {
    BertNormalizer normalizer{.chinese_spaces = source.flag(json, chinese, true)};
    normalizer.lower_case = source.flag(json, lower_case, true);
    normalizer.strip_accents = source.flag(json, "strip_accents", normalizer.lower_case);
    return normalizer;
  }

  /// The pieces that begin with the prefix, without it.
  static PieceTrie index(const Vocabulary& vocabulary, std::string_view prefix) {
    std::vector<PieceTrie::Entry> entries;
    for (const auto& [piece, id] : vocabulary) {
      require(!invalid_utf8(piece), ErrorId::vocabulary, "WordPieceTokenizer: piece ", id, " is not UTF-8");
      if (piece.starts_with(prefix)) entries.push_back({decode_utf8(std::string_view(piece).substr(prefix.size())), id});
    }
    return PieceTrie(std::move(entries));
  }

  CodePoints normalize(std::span<const std::int32_t> text) const override { return normalizer_(text); }

  void append_pieces(std::span<const std::int32_t> text, bool, std::vector<std::int32_t>& ids) const override {
    std::size_t first = 0;  // of the word
    const auto end_word = [&](std::size_t end) {
      if (end > first) append_word(text.subspan(first, end - first), ids);
      first = end;
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (is_whitespace(text[i])) {
        end_word(i);
        first = i + 1;
      } else if (is_mark_apart(text[i])) {
        end_word(i);
        end_word(i + 1);
      }
    }
    end_word(text.size());
  }
  /// Punctuation, and all of ASCII's marks ("$", "+", "^").
  static bool is_mark_apart(std::int32_t c) {
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126) || bert_unicode::is_punctuation(c);
  }

  void append_word(std::span<const std::int32_t> word, std::vector<std::int32_t>& ids) const {
    const std::size_t before = ids.size();
    for (std::size_t at = 0; at < word.size();) {
      std::size_t longest = 0;
      std::int32_t piece = unknown_;
      if (word.size() <= max_letters_)
        (at == 0 ? first_ : inside_).prefixes(word.subspan(at), [&](std::int32_t id, std::size_t length) {
          piece = id;
          longest = length;
        });
      if (longest == 0) {
        ids.resize(before);
        ids.push_back(unknown_);
        return;
      }
      ids.push_back(piece);
      at += longest;
    }
  }

  BertNormalizer normalizer_;
  std::size_t max_letters_;
  PieceTrie first_, inside_;  // pieces at the start of a word, and inside
  std::int32_t unknown_ = 0;
};

}  // namespace lorasb::text
