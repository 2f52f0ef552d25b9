// RoBERTa's byte-level BPE tokenizer: text into ids of pieces.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lorasb/text/tokenizer.hpp"
#include "lorasb/text/tokenizer_json.hpp"

namespace lorasb::text {

/// Cuts a text into words with the white space before them, and each word, byte by byte, into pieces: the pair of neighbours that was
/// merged first in training is joined, the leftmost of equal ones, until no pair is left to join (Sennrich et al., arXiv 1508.07909;
/// bytes: Radford et al., GPT-2). Pieces are written with a letter for each byte. Ids are those of Hugging Face's tokenizers
/// (models/bpe, pre_tokenizers/byte_level.rs). There are no unknown tokens while all bytes are pieces; a byte that is none is left out.
///
///     const ByteBpeTokenizer tokenizer = ByteBpeTokenizer::from_json("tokenizer.json");
///     tokenizer.encode("Hello world").ids;    // <s> Hello Ġworld </s>
class ByteBpeTokenizer final : public Tokenizer {
 public:
  /// Two pieces that are joined, the first merges first.
  using Merges = std::vector<std::pair<std::string, std::string>>;
  struct Options {
    bool add_prefix_space = false;  // before a text that does not start with a space
  };

  /// Throws ErrorId::vocabulary for a merge whose pieces or result the vocabulary has not.
  ByteBpeTokenizer(const Vocabulary& vocabulary, const Merges& merges, Options options, const std::vector<AddedToken>& added,
                   SequenceTemplate around)
      : options_(options) {
    const detail::JsonSource source{"ByteBpeTokenizer"};
    source.check(merges.size() <= detail::max_vocabulary, "there are ", merges.size(), " merges, expected at most ", detail::max_vocabulary);
    for (const auto& [left, right] : merges) {
      const std::int32_t joined = detail::id_of(vocabulary, left + right, source);
      const Merge merge{detail::id_of(vocabulary, left, source), detail::id_of(vocabulary, right, source), joined};
      ranks_[key(merge.left, merge.right)] = static_cast<std::uint32_t>(merges_.size());
      merges_.push_back(merge);
    }
    for (int byte = 0; byte < 256; ++byte) {
      std::string letter;
      append_utf8(letter_of(byte), letter);
      const auto found = vocabulary.find(letter);
      byte_ids_[static_cast<std::size_t>(byte)] = found == vocabulary.end() ? none : found->second;
    }
    set_up(added, std::move(around), detail::vocabulary_size(vocabulary));
  }

  /// Reads a tokenizer.json whose model is BPE with the pre-tokenizer ByteLevel. Its truncation and padding are not obeyed. Throws
  /// ErrorId::file_open, ErrorId::json, and ErrorId::vocabulary with the key that is not supported.
  static ByteBpeTokenizer from_json(const std::filesystem::path& path) { return from_json(io::read_json(path), path.string()); }
  static ByteBpeTokenizer from_json(const nlohmann::json& json, const std::string& where) {
    using Json = detail::JsonSource;
    const Json source{where};
    const nlohmann::json &model = Json::get(json, "model"), &pre_tokenizer = Json::get(json, "pre_tokenizer");
    if (Json::get(model, "type") != "BPE") source.unsupported("model", Json::get(model, "type"));
    if (Json::get(pre_tokenizer, "type") != "ByteLevel" || !source.flag(pre_tokenizer, "use_regex", true))
      source.unsupported("pre_tokenizer", pre_tokenizer);
    if (!Json::get(json, "normalizer").is_null()) source.unsupported("normalizer", Json::get(json, "normalizer"));
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const nlohmann::json& value = Json::get(model, key); !value.is_null() && value != "") source.unsupported(key, value);
    for (const char* key : {"byte_fallback", "ignore_merges"})
      if (source.flag(model, key, false)) source.unsupported(key, true);
    Merges merges;
    const nlohmann::json& listed = Json::get(model, "merges");
    source.check(listed.is_array(), "\"merges\" is not an array");
    for (const nlohmann::json& merge : listed) {  // "a b", or since tokenizers 0.20 ["a", "b"]
      const bool is_pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
      source.check(is_pair || merge.is_string(), "merge ", merges.size(), " is not two pieces");
      merges.push_back(is_pair ? std::pair(merge[0].get<std::string>(), merge[1].get<std::string>())
                               : two_pieces(merge.get<std::string>(), merges.size(), source));
    }
    return {detail::read_vocabulary(Json::get(model, "vocab"), source), merges,
            {.add_prefix_space = source.flag(pre_tokenizer, "add_prefix_space", true)},
            detail::read_added_tokens(Json::get(json, "added_tokens"), source),
            detail::read_post_processor(Json::get(json, "post_processor"), source)};
  }

  /// Reads RoBERTa's vocab.json and merges.txt, two pieces in each line below a line "#version"; `config` is the content of
  /// tokenizer_config.json or null: add_prefix_space (false).
  static ByteBpeTokenizer from_vocabulary(const std::filesystem::path& vocabulary_file, const std::filesystem::path& merges_file,
                                          const nlohmann::json& config = {}) {
    const detail::JsonSource source{vocabulary_file.string()}, of_merges{merges_file.string()};
    const Vocabulary vocabulary = detail::read_vocabulary(io::read_json(vocabulary_file), source);
    Merges merges;
    for (const std::string& line : detail::read_lines(merges_file))
      if (!line.empty() && !line.starts_with("#version")) merges.push_back(two_pieces(line, merges.size(), of_merges));
    std::vector<AddedToken> added = detail::special_tokens(vocabulary, {"<s>", "<pad>", "</s>", "<unk>", "<mask>"});
    for (AddedToken& token : added) token.lstrip = token.content == "<mask>";
    const std::int32_t begin = detail::id_of(vocabulary, "<s>", source), end = detail::id_of(vocabulary, "</s>", source);
    return {vocabulary, merges, {.add_prefix_space = source.flag(config, "add_prefix_space", false)}, added,
            SequenceTemplate::around(begin, end, 2, 0)};
  }

 private:
  static constexpr std::int32_t none = -1;
  static constexpr std::uint32_t end_of_word = 0xFFFFFFFF;
  struct Merge {
    std::int32_t left, right, joined;  // ids
  };
  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint32_t>(right);
  }
  static std::pair<std::string, std::string> two_pieces(const std::string& line, std::size_t number,
                                                        const detail::JsonSource& source) {
    const std::size_t space = line.find(' ');
    source.check(space != line.npos && line.find(' ', space + 1) == line.npos, "merge ", number, " is ", in_quotes(line),
                 ", expected two pieces");
    return {line.substr(0, space), line.substr(space + 1)};
  }
  /// The letter that stands for a byte: itself where it is visible in Latin-1, else the next one from U+0100 on.
  static std::int32_t letter_of(int byte) {
    const auto visible = [](int b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
    if (visible(byte)) return byte;
    std::int32_t letter = 0x100;
    for (int b = 0; b < byte; ++b) letter += !visible(b);
    return letter;
  }

  CodePoints normalize(std::span<const std::int32_t> text) const override { return {text.begin(), text.end()}; }

  void append_pieces(std::span<const std::int32_t> text, bool, std::vector<std::int32_t>& ids) const override {
    CodePoints prefixed;
    if (options_.add_prefix_space && text.front() != ' ') {
      prefixed.push_back(' ');
      prefixed.insert(prefixed.end(), text.begin(), text.end());
      text = prefixed;
    }
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = word_length(text.subspan(at));
      append_word(text.subspan(at, length), ids);
      at += length;
    }
  }

  /// The code points of the word that the text begins with: GPT-2's pattern
  ///     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  static std::size_t word_length(std::span<const std::int32_t> text) {
    if (text[0] == '\'' && text.size() > 1) {
      const std::int32_t next = text[1], second = text.size() > 2 ? text[2] : 0;
      if (next == 's' || next == 't' || next == 'm' || next == 'd') return 2;
      if ((next == 'r' && second == 'e') || (next == 'v' && second == 'e') || (next == 'l' && second == 'l')) return 3;
    }
    const auto kind = [](std::int32_t c) { return is_letter(c) ? 0 : is_number(c) ? 1 : is_whitespace(c) ? 2 : 3; };
    const auto run = [&](std::size_t first) {  // the end of the code points of one kind
      std::size_t end = first + 1;
      while (end < text.size() && kind(text[end]) == kind(text[first])) ++end;
      return end;
    };
    if (kind(text[0]) != 2) return run(0);
    if (text[0] == ' ' && text.size() > 1 && kind(text[1]) != 2) return run(1);
    const std::size_t end = run(0);
    return end == text.size() || end == 1 ? end : end - 1;  // the last white space belongs to the next word
  }

  /// Joins pairs in the order of their ranks, the leftmost of equal ones, in n log n for n bytes: a heap of numbers (rank, place of the
  /// left piece) over a list of pieces. Both are small, so that a long word stays near the processor.
  void append_word(std::span<const std::int32_t> word, std::vector<std::int32_t>& ids) const {
    std::string bytes;
    for (const std::int32_t c : word) append_utf8(c, bytes);
    require(bytes.size() < end_of_word, ErrorId::text, "ByteBpeTokenizer: a word has ", bytes.size(), " bytes, expected less than ",
            end_of_word);
    struct Piece {
      std::int32_t id;
      std::uint32_t before, after;
    };
    std::vector<Piece> pieces;
    for (const char byte : bytes)
      if (const std::int32_t id = byte_ids_[static_cast<unsigned char>(byte)]; id != none) {
        const auto place = static_cast<std::uint32_t>(pieces.size());
        pieces.push_back({id, place == 0 ? end_of_word : place - 1, place + 1});
      }
    if (pieces.empty()) return;
    pieces.back().after = end_of_word;

    std::vector<std::uint64_t> found;
    const auto propose = [&](std::uint32_t left) {
      if (left == end_of_word || pieces[left].after == end_of_word) return false;
      const auto rank = ranks_.find(key(pieces[left].id, pieces[pieces[left].after].id));
      if (rank != ranks_.end()) found.push_back(std::uint64_t{rank->second} << 32 | left);
      return rank != ranks_.end();
    };
    for (std::uint32_t i = 0; i < pieces.size(); ++i) propose(i);
    std::ranges::make_heap(found, std::greater<>());
    while (!found.empty()) {
      const auto place = static_cast<std::uint32_t>(found.front());
      const Merge& merge = merges_[found.front() >> 32];
      std::ranges::pop_heap(found, std::greater<>());
      found.pop_back();
      Piece& left = pieces[place];
      if (left.id != merge.left || left.after == end_of_word || pieces[left.after].id != merge.right) continue;  // joined with others since
      Piece& right = pieces[left.after];
      left.id = merge.joined;
      left.after = right.after;
      right.id = none;
      if (left.after != end_of_word) pieces[left.after].before = place;
      for (const std::uint32_t changed : {left.before, place})
        if (propose(changed)) std::ranges::push_heap(found, std::greater<>());
    }
    for (std::uint32_t i = 0; i != end_of_word; i = pieces[i].after) ids.push_back(pieces[i].id);
  }

  Options options_;
  std::vector<Merge> merges_;                              // by rank
  std::unordered_map<std::uint64_t, std::uint32_t> ranks_;  // of pairs
  std::array<std::int32_t, 256> byte_ids_ = {};  // of the piece of a byte
};

}  // namespace lorasb::text
