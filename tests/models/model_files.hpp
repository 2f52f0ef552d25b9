// Where the pretrained encoder's package was unpacked.
#pragma once

#include <cstdlib>
#include <filesystem>

#include "catch.hpp"
#include "skipped.hpp"

namespace lorasb::test {

/// LORASB_MODEL_DIR of the environment, or of the build.
inline std::filesystem::path model_folder() {
  const char* folder = std::getenv("LORASB_MODEL_DIR");
  return folder != nullptr ? folder : LORASB_MODEL_DIR;
}

inline bool model_files_present() {
  if (std::filesystem::exists(model_folder() / "dist" / "model.json")) return true;
  skipped() = true;
  WARN("not run: the encoder's package is not in LORASB_MODEL_DIR = \"" << model_folder().string() << "\"");
  return false;
}

}  // namespace lorasb::test
