// Tokens that are found in a text before anything else looks at it, such as "[MASK]".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lorasb/text/piece_trie.hpp"
#include "lorasb/text/unicode.hpp"

namespace lorasb::text {

/// A row of "added_tokens" in a tokenizer.json.
struct AddedToken {
  std::string content = {};  // UTF-8
  std::int32_t id = 0;
  bool single_word = false;  // only where no letter, mark, decimal digit or underscore stands beside it
  bool lstrip = false;       // takes the white space in front of it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in the normalised text
};

/// Finds tokens from left to right, the longest of those that begin at one place. What is found and then refused for
/// `single_word` is text, and the search goes on behind it, as in Hugging Face's tokenizers (added_vocabulary.rs).
class AddedTokens {
 public:
  AddedTokens() : trie_({}) {}
  /// An empty token is never found.
  explicit AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), trie_(index(tokens_)) {}

  /// Calls between(part of the text, not empty) and found(id) in the order of the text.
  template <class Between, class Found>
  void split(std::span<const std::int32_t> text, const Between& between, const Found& found) const {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const AddedToken* token = nullptr;
      std::size_t length = 0;
      trie_.prefixes(text.subspan(at), [&](std::int32_t place, std::size_t symbols) {
        token = &tokens_[static_cast<std::size_t>(place)];
        length = symbols;
      });
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t first = at, end = at + length;
      at = end;
      if (token->single_word && ((first > 0 && is_word(text[first - 1])) || (end < text.size() && is_word(text[end])))) continue;
      while (token->lstrip && first > done && is_whitespace(text[first - 1])) --first;
      while (token->rstrip && end < text.size() && is_whitespace(text[end])) ++end;
      if (first > done) between(text.subspan(done, first - done));
      found(token->id);
      done = at = end;
    }
    if (done < text.size()) between(text.subspan(done));
  }

 private:
  static std::vector<PieceTrie::Entry> index(const std::vector<AddedToken>& tokens) {
    std::vector<PieceTrie::Entry> entries;
    for (std::size_t i = 0; i < tokens.size(); ++i)
      entries.push_back({decode_utf8(tokens[i].content), static_cast<std::int32_t>(i)});
    return entries;
  }
  /// A word character of regular expressions (Unicode Technical Standard 18, annex C): alphabetic, marks, decimal digits, joiners.
  static bool is_word(std::int32_t c) {
    const utf8proc_category_t category = utf8proc_category(c);
    return is_letter(c) || is_mark(c) || category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
           (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  }

  std::vector<AddedToken> tokens_;
  PieceTrie trie_;  // ids are places in tokens_
};

}  // namespace lorasb::text
