// Names that come from files, in messages.
#pragma once

#include <string>
#include <string_view>

#include "lorasb/core/message.hpp"

namespace lorasb::io {

/// The name between quotation marks; cut after 200 bytes, as a file may hold a name of any length.
inline std::string in_quotes(std::string_view name) {
  constexpr std::size_t longest = 200;
  return concat("\"", name.substr(0, longest), name.size() > longest ? "...\"" : "\"");
}

}  // namespace lorasb::io
