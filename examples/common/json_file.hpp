// JSON files of the examples' results.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lorasb/io/atomic_file.hpp"

namespace lorasb::examples {

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
