// JSON files of the examples' results.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/atomic_file.hpp"

namespace lorasb::examples {

/// Makes a folder for results, so that a run learns before it trains that it cannot write there. `flag` names it to the user.
/// Throws ErrorId::file_write.
inline void make_folder(const std::filesystem::path& folder, std::string_view flag) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) std::filesystem::create_directories(folder, error);
  if (!error && ::access(folder.c_str(), W_OK) != 0) error = {errno, std::generic_category()};
  require(!error, ErrorId::file_write, flag, ": ", in_quotes(folder.string()), " is no folder that can be written to: ", error.message());
}

inline void write_json(const std::filesystem::path& path, const nlohmann::json& json) {
  io::write_file(path, json.dump(1) + "\n");
}

/// The metrics in `file`, when a run with just this configuration left them.
inline std::optional<nlohmann::json> finished_metrics(const std::filesystem::path& file,
                                                      const std::map<std::string, std::string>& config) {
  std::ifstream in(file);
  if (!in.good()) return std::nullopt;
  nlohmann::json metrics = nlohmann::json::parse(in, nullptr, false);
  if (!metrics.is_object() || metrics.value("config", nlohmann::json()) != nlohmann::json(config)) return std::nullopt;
  return metrics;
}

}  // namespace lorasb::examples
