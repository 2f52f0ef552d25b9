// A file seen as read-only memory.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "lorasb/core/error.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/descriptor.hpp"

namespace lorasb::io {

/// Whether something stands at the path, as far as this process may see; a path that cannot be asked for (too long, in a folder without
/// permission) holds nothing, where std::filesystem::exists throws an exception of its own.
inline bool is_there(const std::filesystem::path& path) {
  std::error_code unknown;
  return std::filesystem::exists(path, unknown);
}

/// The bytes of a regular file, mapped on construction and read from disk as they are touched. An empty file has no bytes.
/// Throws ErrorId::file_open, with the path and the system's reason.
/// The file must not be shortened while it is mapped: the system answers a read past its new end with SIGBUS. Files written by
/// AtomicFile never are, as they are replaced and not overwritten.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {
    // O_NONBLOCK: opening a pipe must not wait for a writer before we can say that it is not a file.
    const detail::Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status = {};
    if (!file.valid() || ::fstat(file.get(), &status) != 0) fail(detail::reason(errno));
    if (!S_ISREG(status.st_mode)) fail("it is not a regular file");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;
    void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (memory == MAP_FAILED) fail(detail::reason(errno));
    data_ = static_cast<const std::byte*>(memory);
  }
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  const std::filesystem::path& path() const { return path_; }
  /// Starts at a page boundary; stays valid when the object is moved.
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  [[noreturn]] void fail(std::string_view why) const {
    throw Error(ErrorId::file_open, concat("cannot open ", path_.string(), ": ", why));
  }

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace lorasb::io
