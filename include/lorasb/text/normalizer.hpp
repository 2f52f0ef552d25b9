// The normalisers of SentencePiece's tokenizers, as a tokenizer.json lists them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/text/charsmap.hpp"
#include "lorasb/text/nfkc.hpp"
#include "lorasb/text/tokenizer_json.hpp"

namespace lorasb::text {

/// Normalisers that are applied one after another:
///
///     Precompiled   SentencePiece's table (Charsmap)
///     Nmt           control characters out; tabs, line ends, zero-width and other spaces, U+2581 and U+FFFD become spaces
///     NFKC          as the installed utf8proc has it
///     Lowercase     each letter by itself
///     Strip         no white space at the start, at the end
///     Replace       a string becomes another one; of expressions, those that transformers writes: " {2,}", "\A +| +\z" and "\A▁"
///     Sequence      of these
///
/// A text may grow to 64 code points for each of its own, and 256 more.
class Normalizer {
 public:
  /// No normaliser.
  Normalizer() = default;
  /// Reads "normalizer" of a tokenizer.json. Throws ErrorId::vocabulary for what is not in the table above, with its key and value.
  Normalizer(const nlohmann::json& json, const detail::JsonSource& source) { add(json, source); }

  /// Throws ErrorId::text for a text that grows beyond the limit, ErrorId::vocabulary for a damaged table.
  CodePoints operator()(std::span<const std::int32_t> text) const {
    CodePoints out(text.begin(), text.end());
    const std::size_t most = 64 * text.size() + 256;
    for (const Step& step : steps_) {
      out = step(std::move(out), most);
      require_size(out, most);
    }
    return out;
  }

  /// Whether what is at the start of a normalised text may have stood behind something else.
  bool takes_from_start() const { return takes_from_start_; }

 private:
  using Step = std::function<CodePoints(CodePoints text, std::size_t most)>;

  static bool is_space(std::int32_t c) { return c == ' '; }
  static void require_size(const CodePoints& text, std::size_t most) {
    require(text.size() <= most, ErrorId::text, "Normalizer: a text grows beyond ", most, " code points");
  }

  void add(const nlohmann::json& json, const detail::JsonSource& source) {
    using Json = detail::JsonSource;
    if (json.is_null()) return;
    const std::string type = source.string(json, "type");
    if (type == "Sequence") {
      const nlohmann::json& parts = Json::get(json, "normalizers");
      source.check(parts.is_array(), "\"normalizers\" is not an array");
      for (const nlohmann::json& part : parts) add(part, source);
    } else if (type == "Precompiled") {
      Charsmap table(decode_base64(source.string(json, "precompiled_charsmap")));
      steps_.push_back([table = std::move(table)](CodePoints text, std::size_t) { return table(text); });
    } else if (type == "Nmt") {
      takes_from_start_ = true;
      steps_.push_back([](CodePoints text, std::size_t) { return nmt(std::move(text)); });
    } else if (type == "NFKC") {
      steps_.push_back([](CodePoints text, std::size_t) { return nfkc(std::move(text)); });
    } else if (type == "Lowercase") {
      steps_.push_back([](CodePoints text, std::size_t) { return lowered(text); });
    } else if (type == "Strip") {
      const bool left = source.flag(json, "strip_left", false), right = source.flag(json, "strip_right", false);
      takes_from_start_ = takes_from_start_ || left;
      steps_.push_back([=](CodePoints text, std::size_t) { return strip(std::move(text), left, right); });
    } else if (type == "Replace") {
      add_replace(json, source);
    } else {
      source.unsupported("normalizer", json);
    }
  }

  void add_replace(const nlohmann::json& json, const detail::JsonSource& source) {
    using Json = detail::JsonSource;
    const nlohmann::json& pattern = Json::get(json, "pattern");
    const CodePoints content = decode_utf8(source.string(json, "content"));
    takes_from_start_ = takes_from_start_ || content.empty() || (content[0] != ' ' && content[0] != 0x2581);
    const nlohmann::json& expression = Json::get(pattern, "Regex");
    if (expression == " {2,}") {
      steps_.push_back([content](const CodePoints& text, std::size_t most) {
        return replace(text, content, most, [](auto at, auto end) {
          const auto last = std::find_if_not(at, end, is_space);
          return last - at < 2 ? at : last;
        });
      });
      return;
    }
    if (expression == "\\A +| +\\z") {
      steps_.push_back([content](const CodePoints& text, std::size_t most) {
        const auto first = std::find_if_not(text.begin(), text.end(), is_space);
        const auto last = std::find_if_not(text.rbegin(), text.rend(), is_space).base();
        return replace(text, content, most, [&](auto at, auto end) { return at == text.begin() ? first : at >= last ? end : at; });
      });
      return;
    }
    if (expression == "\\A▁") {
      steps_.push_back([content](const CodePoints& text, std::size_t most) {
        return replace(text, content, most, [&](auto at, auto) { return at + (at == text.begin() && *at == 0x2581); });
      });
      return;
    }
    if (!Json::get(pattern, "String").is_string() || Json::get(pattern, "String") == "") source.unsupported("pattern", pattern);
    const CodePoints wanted = decode_utf8(source.string(pattern, "String"));
    steps_.push_back([content, wanted](const CodePoints& text, std::size_t most) {
      return replace(text, content, most, [&](auto at, auto end) {
        return end - at >= std::ssize(wanted) && std::equal(wanted.begin(), wanted.end(), at) ? at + std::ssize(wanted) : at;
      });
    });
  }

  /// `end_of_match(at, end)` is the end of what is replaced at a place, or the place itself.
  template <class EndOfMatch>
  static CodePoints replace(const CodePoints& text, const CodePoints& content, std::size_t most, const EndOfMatch& end_of_match) {
    CodePoints out;
    out.reserve(text.size());
    for (auto at = text.begin(); at != text.end();) {
      const auto end = end_of_match(at, text.end());
      if (end == at) {
        out.push_back(*at++);
        continue;
      }
      out.insert(out.end(), content.begin(), content.end());
      require_size(out, most);
      at = end;
    }
    return out;
  }

  /// The normaliser of Google's neural machine translation (normalizers/unicode.rs).
  static CodePoints nmt(CodePoints text) {
    std::erase_if(text, [](std::int32_t c) {
      return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    });
    for (std::int32_t& c : text)
      if (c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
          c == 0x2581 || c == 0xFEFF || c == 0xFFFD)
        c = ' ';
    return text;
  }

  static CodePoints strip(CodePoints text, bool left, bool right) {
    if (right) text.erase(std::find_if_not(text.rbegin(), text.rend(), is_whitespace).base(), text.end());
    if (left) text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_whitespace));
    return text;
  }

  std::vector<Step> steps_;
  bool takes_from_start_ = false;
};

}  // namespace lorasb::text
