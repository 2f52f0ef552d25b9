// Where the npm packages lie that the examples read.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace lorasb::examples {

/// The folder that setup.sh unpacks a package into, or the one that the environment names.
inline std::filesystem::path package_folder(const char* variable, const char* name) {
  if (const char* folder = std::getenv(variable)) return folder;
  if (const char* cache = std::getenv("LORASB_CACHE")) return std::filesystem::path(cache) / name;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : "/tmp") / ".cache" / "lorasb" / name;
}

}  // namespace lorasb::examples
