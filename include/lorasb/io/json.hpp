// JSON text that is taken at its word: no key twice, no bottomless nesting.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/mapped_file.hpp"

namespace lorasb::io {

/// The JSON reader itself keeps the last of two values for a key, in silence, and nests as deep as the text does.
/// Throws ErrorId::json with `where` (the path) for text that is not JSON, a key that comes twice in one object, and more than
/// 100 levels.
/// Json is nlohmann::json, or nlohmann::ordered_json where the order of keys means something.
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

/// Throws ErrorId::file_open as well.
template <class Json = nlohmann::json>
Json read_json(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_json<Json>(file.text(), path.string());
}

}  // namespace lorasb::io
