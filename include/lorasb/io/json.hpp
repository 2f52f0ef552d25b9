// JSON text that is taken at its word: no key twice, no bottomless nesting.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/core/types.hpp"
#include "lorasb/io/mapped_file.hpp"

namespace lorasb::io {

/// The object type of nlohmann::ordered_json with an index beside it: there every key is searched for in a row, which takes minutes
/// for the 100,000 names that a large model's files have. Nothing is erased from it.
template <class Key, class T, class Less = std::less<>, class Allocator = std::allocator<std::pair<const Key, T>>>
struct IndexedMap : nlohmann::ordered_map<Key, T, Less, Allocator> {
  using Base = nlohmann::ordered_map<Key, T, Less, Allocator>;
  using Row = std::vector<std::pair<const Key, T>, Allocator>;
  using Base::Base;
  using typename Base::const_iterator;
  using typename Base::iterator;

  template <class K, class V>
  std::pair<iterator, bool> emplace(K&& key, V&& value) {
    const auto [place, is_new] = places_.try_emplace(Key(key), this->size());
    if (is_new) Row::emplace_back(Key(std::forward<K>(key)), std::forward<V>(value));
    return {this->begin() + static_cast<std::ptrdiff_t>(place->second), is_new};
  }
  template <class K>
  T& operator[](K&& key) {
    return emplace(std::forward<K>(key), T()).first->second;
  }
  template <class K>
  iterator find(const K& key) {
    const auto place = places_.find(Key(key));
    return place == places_.end() ? this->end() : this->begin() + static_cast<std::ptrdiff_t>(place->second);
  }
  template <class K>
  const_iterator find(const K& key) const {
    const auto place = places_.find(Key(key));
    return place == places_.end() ? this->end() : this->begin() + static_cast<std::ptrdiff_t>(place->second);
  }

 private:
  std::unordered_map<Key, std::size_t> places_;
};
/// JSON whose objects keep the order of their keys.
using OrderedJson = nlohmann::basic_json<IndexedMap>;

/// The JSON reader itself keeps the last of two values for a key, in silence, and nests as deep as the text does.
/// Throws ErrorId::json with `where` (the path) for text that is not JSON, a key that comes twice in one object, and more than
/// 100 levels.
/// Json is nlohmann::json, or OrderedJson where the order of keys means something.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text, std::string_view where) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open, the innermost last
  const typename Json::parser_callback_t check = [&](int depth, typename Json::parse_event_t event, Json& parsed) {
    require(depth < 100, ErrorId::json, where, ": more than 100 levels of objects and arrays");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string key = parsed.template get<std::string>();
      require(keys.back().insert(key).second, ErrorId::json, where, ": key ", in_quotes(key), " comes twice");
    }
    return true;
  };
  require(text.find('\0') == text.npos, ErrorId::json, where, ": holds a zero byte");  // the JSON reader would stop there
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorId::json, concat(where, ": ", std::string_view(error.what()).substr(0, 300)));
  }
}

/// The integer that a value is, from -2^63 to 2^63 - 1; nothing for every other value, 1.5 and 1e300 among them. The JSON reader's own
/// get() casts any number to an integer, which is undefined where it does not fit.
template <class Json>
std::optional<Index> json_integer(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.template get<std::uint64_t>() > std::uint64_t(std::numeric_limits<Index>::max())) return std::nullopt;
  return value.template get<Index>();
}

/// Throws ErrorId::file_open as well.
template <class Json = nlohmann::json>
Json read_json(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_json<Json>(file.text(), path.string());
}

}  // namespace lorasb::io
