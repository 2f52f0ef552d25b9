// System calls on files, repeated until they are done.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "lorasb/io/descriptor.hpp"

namespace lorasb::io::detail {

/// The result of a call that gives a negative number with errno when it fails, made again for as long as a signal interrupts
/// it.
template <class Call>
auto uninterrupted(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Each of these is false, with errno, when it failed.

/// At the file's position, or at its end when it was opened with O_APPEND.
inline bool write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = uninterrupted([&] { return ::write(file, bytes.data(), bytes.size()); });
    if (written < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

/// Fills `bytes` from `offset` on. A file that ends before is an input/output error: ask for its size first.
inline bool read_all(int file, std::uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = uninterrupted([&] { return ::pread(file, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (got == 0) errno = EIO;
    if (got <= 0) return false;
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

inline bool cut(int file, std::uint64_t size) {
  return uninterrupted([&] { return ::ftruncate(file, static_cast<off_t>(size)); }) == 0;
}

/// What was written is on the disk. Of a folder: the names in it.
inline bool sync(int file) {
  return uninterrupted([&] { return ::fsync(file); }) == 0;
}

/// The folder that holds `path`; not valid, with errno, when it cannot be opened.
inline Descriptor open_folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  return Descriptor(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
}

}  // namespace lorasb::io::detail
