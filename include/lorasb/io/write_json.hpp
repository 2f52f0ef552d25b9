// Writes a JSON value as a file for people and programs: an indent of one, a newline at the end.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "lorasb/core/check.hpp"
#include "lorasb/io/atomic_file.hpp"

namespace lorasb::io {

/// The file is the old one or the whole new one. Throws ErrorId::file_write, and ErrorId::value for text that is not UTF-8.
inline void write_json(const std::filesystem::path& path, const nlohmann::json& json) {
  std::string text;
  try {
    text = json.dump(1) + "\n";
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorId::value, concat("write_json: ", in_quotes(path.string()), ": ", error.what()));
  }
  write_file(path, text);
}

}  // namespace lorasb::io
