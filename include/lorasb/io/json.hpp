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
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/core/types.hpp"
#include "lorasb/io/json_events.hpp"
#include "lorasb/io/mapped_file.hpp"
#include "lorasb/io/ordered_json.hpp"

namespace lorasb::io {
namespace detail {

inline OrderedJson& add_value(OrderedJson& parent, std::string&& key, OrderedJson&& value) {
  return parent.is_array() ? parent.add(std::move(value)) : parent.add(std::move(key), std::move(value));
}
template <class Json>
Json& add_value(Json& parent, std::string&& key, Json&& value) {
  if (!parent.is_array()) return parent[std::move(key)] = std::move(value);
  parent.push_back(std::move(value));
  return parent.back();
}

/// Builds a value from the events of its text.
template <class Json>
class JsonBuilder final : public JsonEvents {
 public:
  explicit JsonBuilder(std::string_view where) : where_(where) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(std::int64_t value) override { return put(value); }
  bool number_unsigned(std::uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // text has none
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return put(Json::object());
  }
  bool key(std::string& name) override {
    require(keys_.back().insert(name).second, ErrorId::json, where_, ": key ", in_quotes(name), " comes twice");
    key_ = std::move(name);
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return end_array();
  }
  bool start_array(std::size_t) override { return put(Json::array()); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    throw Error(ErrorId::json, concat(where_, ": ", std::string_view(error.what()).substr(0, 300)));
  }

 private:
  bool put(Json value) {
    require(open_.size() < 100, ErrorId::json, where_, ": more than 100 levels of objects and arrays");
    const bool opens = value.is_array() || value.is_object();
    Json& placed = open_.empty() ? root_ = std::move(value) : add_value(*open_.back(), std::move(key_), std::move(value));
    if (opens) open_.push_back(&placed);
    return true;
  }

  std::string_view where_;
  Json root_;
  std::vector<Json*> open_;                   // objects and arrays, the innermost last
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  std::string key_;                           // the last one read
};

}  // namespace detail

/// The JSON reader itself keeps the last of two values for a key, in silence, and nests as deep as the text does.
/// Throws ErrorId::json with `where` (the path) for text that is not JSON, a key that comes twice in one object, and more than
/// 100 levels.
/// Json is nlohmann::json, or OrderedJson where the order of keys means something.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text, std::string_view where) {
  require(text.find('\0') == text.npos, ErrorId::json, where, ": holds a zero byte");  // the JSON reader would stop there
  detail::JsonBuilder<Json> builder(where);
  read_events(text, builder);
  return builder.take();
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
