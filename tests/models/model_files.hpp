// Where the pretrained encoders were unpacked.
#pragma once

#include <cstdlib>
#include <filesystem>

#include "catch.hpp"
#include "skipped.hpp"

namespace lorasb::test {

/// LORASB_MODEL_DIR or LORASB_MINILM_DIR of the environment, or of the build.
inline std::filesystem::path model_folder() {
  const char* folder = std::getenv("LORASB_MODEL_DIR");
  return folder != nullptr ? folder : LORASB_MODEL_DIR;
}
inline std::filesystem::path minilm_folder() {
  const char* folder = std::getenv("LORASB_MINILM_DIR");
  return folder != nullptr ? folder : LORASB_MINILM_DIR;
}

namespace detail {

inline bool is_present(const std::filesystem::path& file, const char* variable) {
  if (std::filesystem::exists(file)) return true;
  skipped() = true;
  WARN("not run: there is no \"" << file.string() << "\"; set " << variable);
  return false;
}

}  // namespace detail

inline bool model_files_present() { return detail::is_present(model_folder() / "dist" / "model.json", "LORASB_MODEL_DIR"); }
inline bool minilm_files_present() { return detail::is_present(minilm_folder() / "config.json", "LORASB_MINILM_DIR"); }

}  // namespace lorasb::test
