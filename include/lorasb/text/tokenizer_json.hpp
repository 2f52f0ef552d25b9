// Reads what all tokenizers of a Hugging Face folder share: vocabulary, added tokens, template of special tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lorasb/io/json.hpp"
#include "lorasb/text/added_tokens.hpp"
#include "lorasb/text/sequence_template.hpp"

namespace lorasb::text {

/// Pieces and their ids.
using Vocabulary = std::unordered_map<std::string, std::int32_t>;

namespace detail {

inline constexpr std::int64_t max_vocabulary = std::int64_t{1} << 24;

/// A file, or a part of one, whose faults are named by its path.
struct JsonSource {
  std::string where;

  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::vocabulary, where, ": ", parts...);
  }
  /// The value of a key, in place; null when there is none.
  static const nlohmann::json& get(const nlohmann::json& object, const std::string& key) {
    static const nlohmann::json none;
    if (!object.is_object()) return none;
    const auto found = object.find(key);
    return found == object.end() ? none : *found;
  }
  bool flag(const nlohmann::json& object, const char* key, bool otherwise) const {
    const nlohmann::json value = get(object, key);
    check(value.is_null() || value.is_boolean(), "\"", key, "\" is not true or false");
    return value.is_null() ? otherwise : value.get<bool>();
  }
  std::string string(const nlohmann::json& object, const char* key) const {
    const nlohmann::json value = get(object, key);
    check(value.is_string(), "\"", key, "\" is not a string");
    return value.get<std::string>();
  }
  std::int32_t id(const nlohmann::json& value, std::string_view of) const {
    const std::optional<Index> number = io::json_integer(value);
    check(number && *number >= 0 && *number < max_vocabulary, "the id of ", of, " is not a number from 0 to ", max_vocabulary - 1);
    return static_cast<std::int32_t>(*number);
  }
  /// Refuses what a part of the tokenizer asks for and this library does not do.
  [[noreturn]] void unsupported(std::string_view key, const nlohmann::json& value) const {
    throw Error(ErrorId::vocabulary, concat(where, ": ", in_quotes(key), " is ", std::string_view(value.dump()).substr(0, 200),
                                            ", which is not supported"));
  }
};

/// {"piece": id, …}
inline Vocabulary read_vocabulary(const nlohmann::json& json, const JsonSource& source) {
  source.check(json.is_object() && !json.empty(), "the vocabulary is not an object of pieces and ids");
  Vocabulary vocabulary;
  vocabulary.reserve(json.size());
  for (const auto& [piece, id] : json.items()) vocabulary.emplace(piece, source.id(id, in_quotes(piece)));
  return vocabulary;
}

/// The largest id and one.
inline std::size_t vocabulary_size(const Vocabulary& vocabulary) {
  std::int32_t last = -1;
  for (const auto& [piece, id] : vocabulary) last = std::max(last, id);
  return static_cast<std::size_t>(last) + 1;
}

inline std::vector<AddedToken> read_added_tokens(const nlohmann::json& json, const JsonSource& source) {
  std::vector<AddedToken> tokens;
  if (json.is_null()) return tokens;
  source.check(json.is_array(), "\"added_tokens\" is not an array");
  for (const nlohmann::json& entry : json) {
    AddedToken token;
    token.content = source.string(entry, "content");
    token.id = source.id(JsonSource::get(entry, "id"), in_quotes(token.content));
    token.single_word = source.flag(entry, "single_word", false);
    token.lstrip = source.flag(entry, "lstrip", false);
    token.rstrip = source.flag(entry, "rstrip", false);
    token.normalized = source.flag(entry, "normalized", !source.flag(entry, "special", false));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// The items of "single" (one text) or "pair" (two) of a TemplateProcessing. A template that has a text twice or not at all is refused:
/// no limit of tokens could be kept.
inline std::vector<SequenceTemplate::Item> read_template(const nlohmann::json& items, const nlohmann::json& specials, int texts,
                                                         const JsonSource& source) {
  using Item = SequenceTemplate::Item;
  source.check(items.is_array(), "\"post_processor\" has no array of items");
  std::vector<Item> read;
  for (const nlohmann::json& item : items) {
    const nlohmann::json &sequence = JsonSource::get(item, "Sequence"), &special = JsonSource::get(item, "SpecialToken");
    const nlohmann::json& of = sequence.is_null() ? special : sequence;
    const std::string name = source.string(of, "id");
    const std::int32_t type = source.id(JsonSource::get(of, "type_id"), "a token type");
    if (!sequence.is_null()) {
      source.check(name == "A" || name == "B", "\"post_processor\" names the text ", in_quotes(name), ", expected A or B");
      read.push_back({name == "A" ? Item::Kind::first : Item::Kind::second, 0, type});
      continue;
    }
    const nlohmann::json& ids = JsonSource::get(JsonSource::get(specials, name), "ids");
    source.check(ids.is_array(), "\"post_processor\" has no ids for ", in_quotes(name));
    for (const nlohmann::json& id : ids) read.push_back({Item::Kind::special, source.id(id, in_quotes(name)), type});
  }
  const bool once = std::ranges::count(read, Item::Kind::first, &Item::kind) == 1 &&
                    std::ranges::count(read, Item::Kind::second, &Item::kind) == texts - 1;
  source.check(once, "\"post_processor\" has a template for ", texts, texts == 1 ? " text" : " texts", " that does not have each of them once");
  return read;
}

/// "post_processor": TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (which adds no tokens) or a Sequence of these.
inline SequenceTemplate read_post_processor(const nlohmann::json& json, const JsonSource& source) {
  if (json.is_null()) return {};
  const std::string type = source.string(json, "type");
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") {
    const nlohmann::json& specials = JsonSource::get(json, "special_tokens");
    return {read_template(JsonSource::get(json, "single"), specials, 1, source),
            read_template(JsonSource::get(json, "pair"), specials, 2, source)};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {  // "sep": ["</s>", 2]
    const auto id = [&](const char* key) {
      const nlohmann::json& pair = JsonSource::get(json, key);
      source.check(pair.is_array() && pair.size() == 2, "\"post_processor\" has no token and id for \"", key, "\"");
      return source.id(pair[1], key);
    };
    const bool bert = type == "BertProcessing";
    return SequenceTemplate::around(id("cls"), id("sep"), bert ? 1 : 2, bert ? 1 : 0);
  }
  if (type == "Sequence") {
    SequenceTemplate found;
    for (const nlohmann::json& part : JsonSource::get(json, "processors"))
      if (source.string(part, "type") != "ByteLevel") found = read_post_processor(part, source);
    return found;
  }
  source.unsupported("post_processor", type);
}

/// The id of a token that must be there.
inline std::int32_t id_of(const Vocabulary& vocabulary, const std::string& token, const JsonSource& source) {
  const auto found = vocabulary.find(token);
  source.check(found != vocabulary.end(), "the vocabulary has no ", in_quotes(token));
  return found->second;
}

/// The tokens of `contents` that the vocabulary has, as special tokens.
inline std::vector<AddedToken> special_tokens(const Vocabulary& vocabulary, std::initializer_list<const char*> contents) {
  std::vector<AddedToken> tokens;
  for (const char* content : contents)
    if (const auto found = vocabulary.find(content); found != vocabulary.end())
      tokens.push_back({.content = content, .id = found->second});
  return tokens;
}

/// The lines of a text file, without line ends.
inline std::vector<std::string> read_lines(const std::filesystem::path& path) {
  const io::MappedFile file(path);
  std::vector<std::string> lines;
  for (std::string_view rest = file.text(); !rest.empty();) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return lines;
}

}  // namespace detail
}  // namespace lorasb::text
