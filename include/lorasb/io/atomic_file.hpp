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

#include "lorasb/core/error.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/descriptor.hpp"
#include "lorasb/io/file_calls.hpp"

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
    folder_ = detail::open_folder_of(path_);
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
  void write(std::span<const std::byte> bytes) { check(detail::write_all(file_.get(), bytes), "cannot write"); }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Once, at the end. When only the last step fails, the syncing of the folder, the new file is in place and the message says
  /// so.
  void commit() {
    finish();
    check(::renameat(folder_.get(), temporary_.c_str(), folder_.get(), path_.filename().c_str()) == 0, "cannot rename to it");
    committed_ = true;
    sync_folder();
  }

  /// commit() for a file that must not take another's place, which a rename would do without a word: false, with nothing done,
  /// when something stands at `path` already. Of several who try at once exactly one is told true.
  bool commit_new() {
    finish();
    const bool linked = ::linkat(folder_.get(), temporary_.c_str(), folder_.get(), path_.filename().c_str(), 0) == 0;
    check(linked || errno == EEXIST, "cannot give it its name");
    if (linked) sync_folder();
    return linked;  // the destructor removes the temporary name
  }

 private:
  void finish() {
    check(detail::sync(file_.get()), "cannot sync");
    check(file_.close() == 0, "cannot close");
  }
  void sync_folder() const {
    check(detail::sync(folder_.get()), "written, but a power failure could undo it: cannot sync its folder");
  }
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
