// Makes a folder for results, so that a program learns before its work that it cannot write there.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"

namespace lorasb::io {

/// With those above it; one that is there is kept. `reader` begins the message. Throws ErrorId::file_write, with the system's
/// reason, where there is none in the end that this process may write to.
inline void make_folder(const std::filesystem::path& folder, std::string_view reader = "make_folder") {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) std::filesystem::create_directories(folder, error);
  if (!error && ::access(folder.c_str(), W_OK) != 0) error = {errno, std::generic_category()};
  require(!error, ErrorId::file_write, reader, ": ", in_quotes(folder.string()), " is no folder that can be written to: ",
          error.message());
}

}  // namespace lorasb::io
