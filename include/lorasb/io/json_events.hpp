// JSON text as events, in the order of the text: what all readers of JSON in this library stand on.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace lorasb::io {

/// What nlohmann-json calls for each piece of a text. The functions may throw.
using JsonEvents = nlohmann::json_sax<nlohmann::json>;

/// Calls `events` for all of `text`, which holds no zero byte (the reader would stop there), and events.parse_error() where it is
/// not JSON. The parser is named and not reached through nlohmann::json::sax_parse, because that compiles four binary formats as
/// well, which takes about as long as one Eigen product; and all readers share the one for JsonEvents.
inline void read_events(std::string_view text, JsonEvents& events) {
  auto input = nlohmann::detail::input_adapter(text.data(), text.data() + text.size());
  nlohmann::detail::parser<nlohmann::json, decltype(input)>(std::move(input)).sax_parse(&events);
}

}  // namespace lorasb::io
