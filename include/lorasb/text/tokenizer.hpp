// A tokenizer as Hugging Face's tokenizers are built: added tokens, normaliser, model, template of special tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/text/added_tokens.hpp"
#include "lorasb/text/sequence_template.hpp"

namespace lorasb::text {

/// Cuts a text at its added tokens, normalises what lies between them, cuts that at the added tokens of the normalised text, and has
/// the rest cut into pieces by a derived class. Encoding changes nothing in the tokenizer: threads share one.
///
///     Encoding one = tokenizer.encode("A text", 128);                       // [CLS] … [SEP], at most 128 ids
///     Encoding two = tokenizer.encode_pair("A premise", "a hypothesis");    // [CLS] … [SEP] … [SEP], types 0 and 1
class Tokenizer {
 public:
  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// All ids are below it.
  std::size_t size() const { return size_; }

  /// Throws ErrorId::text, with the position of the byte, for text that is not UTF-8, and ErrorId::value for fewer tokens than the
  /// special ones.
  Encoding encode(std::string_view utf8, std::size_t max_tokens = no_limit, CutSide side = CutSide::right) const {
    std::vector<std::int32_t> found = pieces(utf8);
    const bool unknown = std::ranges::all_of(found, [&](std::int32_t id) { return id == unknown_ || id == blank_; });
    Encoding encoding = template_.apply(std::move(found), max_tokens, side);
    encoding.unknown = unknown;
    return encoding;
  }
  Encoding encode_pair(std::string_view first, std::string_view second, std::size_t max_tokens = no_limit,
                       CutSide side = CutSide::right) const {
    return template_.apply(pieces(first), pieces(second), max_tokens, side);
  }
  /// Without special tokens around it.
  std::vector<std::int32_t> pieces(std::string_view utf8) const {
    std::vector<std::int32_t> ids;
    const auto take = [&](std::int32_t id) { ids.push_back(id); };
    const CodePoints text = decode_utf8(utf8);
    raw_.split(
        text,
        [&](std::span<const std::int32_t> raw) {
          const CodePoints normal = normalize(raw);
          normalized_.split(
              normal,
              [&](std::span<const std::int32_t> part) {
                append_pieces(part, raw.data() == text.data() && part.data() == normal.data(), ids);
              },
              take);
        },
        take);
    return ids;
  }

 protected:
  Tokenizer() = default;
  /// To be called once, by the constructor of a derived class, whose normalize() must work by then.
  /// `unknown` is the id of what the vocabulary does not have, `blank` that of a space alone; -1 where there is none.
  void set_up(const std::vector<AddedToken>& added, SequenceTemplate around, std::size_t size, std::int32_t unknown = -1,
              std::int32_t blank = -1) {
    unknown_ = unknown;
    blank_ = blank;
    std::vector<AddedToken> raw, normalized;
    for (const AddedToken& token : added) {
      (token.normalized ? normalized : raw).push_back(token);
      size = std::max(size, static_cast<std::size_t>(token.id) + 1);
    }
    for (const std::vector<SequenceTemplate::Item>* items : {&around.single, &around.pair})
      for (const SequenceTemplate::Item& item : *items) size = std::max(size, static_cast<std::size_t>(item.id) + 1);
    for (AddedToken& token : normalized) {
      const CodePoints content = normalize(decode_utf8(token.content));
      token.content.clear();
      for (const std::int32_t c : content) append_utf8(c, token.content);
    }
    raw_ = AddedTokens(std::move(raw));
    normalized_ = AddedTokens(std::move(normalized));
    template_ = std::move(around);
    size_ = size;
  }

 private:
  virtual CodePoints normalize(std::span<const std::int32_t> text) const = 0;
  /// Appends the ids of a part of a normalised text without added tokens in it, not empty; `begins`: it is the first thing in the text.
  virtual void append_pieces(std::span<const std::int32_t> part, bool begins, std::vector<std::int32_t>& ids) const = 0;

  AddedTokens raw_, normalized_;
  SequenceTemplate template_;
  std::size_t size_ = 0;
  std::int32_t unknown_ = -1, blank_ = -1;
};

}  // namespace lorasb::text
