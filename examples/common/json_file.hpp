// JSON files of the programs' results.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lorasb/io/make_folder.hpp"
#include "lorasb/io/write_json.hpp"

namespace lorasb::examples {

using io::make_folder;
using io::write_json;

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
