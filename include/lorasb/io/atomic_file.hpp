// Writes a file so that its name always stands for a whole one, the old or the new.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lorasb/core/check.hpp"
#include "lorasb/io/descriptor.hpp"

namespace lorasb::io {

/// The bytes go to a temporary file in the same folder; commit() syncs it, renames it to `path` and syncs the folder. When that
/// does not come to pass, the temporary file is removed and what stood at `path` before is untouched.
///
///     AtomicFile file("run/checkpoint.safetensors");
///     file.write(header);
///     file.write(data);
///     file.commit();
///
/// Throws ErrorId::file_write with the path and the system's reason: a missing folder, a full disk, no permission. Where a
/// limit on the size of files is set (RLIMIT_FSIZE, `ulimit -f`) the system sends SIGXFSZ, which ends the program, before it
/// reports an error. A library does not change signal handlers: a program that wants the error calls `std::signal(SIGXFSZ,
/// SIG_IGN)`. A process killed in the middle leaves a file `.lorasb-*.tmp`, which nothing reads and anybody may delete.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
    static std::atomic<unsigned> counter{0};
    const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
    folder_ = detail::Descriptor(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
    check(folder_.valid(), "cannot open its folder");
    do {  // not mkstemp, whose files only their owner may read
      temporary_ = concat(".lorasb-", ::getpid(), "-", counter++, ".tmp");
      file_ = detail::Descriptor(::openat(folder_.get(), temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    } while (!file_.valid() && errno == EEXIST);
    check(file_.valid(), "cannot create a temporary file beside it");
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!committed_) ::unlinkat(folder_.get(), temporary_.c_str(), 0);
  }

  /// Appends.
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      check(written >= 0, "cannot write");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Once, at the end. When only the last step fails, the syncing of the folder, the new file is in place and the message says
  /// so.
  void commit() {
    check(::fsync(file_.get()) == 0, "cannot sync");
    check(file_.close() == 0, "cannot close");
    check(::renameat(folder_.get(), temporary_.c_str(), folder_.get(), path_.filename().c_str()) == 0, "cannot rename to it");
    committed_ = true;
    check(::fsync(folder_.get()) == 0, "written, but a power failure could undo it: cannot sync its folder");
  }

 private:
  void check(bool good, std::string_view what) const {
    if (good) [[likely]]
      return;
    const int error_number = errno;
    throw Error(ErrorId::file_write, concat(path_.string(), ": ", what, ": ", detail::reason(error_number)));
  }

  std::filesystem::path path_;
  std::string temporary_;
  detail::Descriptor folder_;
  detail::Descriptor file_;
  bool committed_ = false;
};

/// A whole file in one call. Throws ErrorId::file_write.
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace lorasb::io
