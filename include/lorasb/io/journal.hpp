// An append-only file of records, with which a process that was killed goes on where it was.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/digest.hpp"
#include "lorasb/io/journal_record.hpp"
#include "lorasb/io/same_config.hpp"
#include "lorasb/io/atomic_file.hpp"
#include "lorasb/io/descriptor.hpp"
#include "lorasb/io/file_calls.hpp"
#include "lorasb/core/text.hpp"

namespace lorasb::io {

/// Records are bytes of any number. One that append() returned for is there in every later run, whatever ended this one: it is
/// on the disk. One whose append() was cut short by a kill is there whole or not at all.
///
///     Journal journal("run/journal", {{"clients", "100"}, {"seed", "7"}});
///     journal.replay([&](std::span<const std::byte> record) { take_back(record); });  // nothing in the first run
///     journal.append(record);
///
/// Bytes of the file: "lorasb journal 1\n", then records, of which the first one, record 0, is the configuration. A file that
/// ends inside a record ends in an append that never returned: these bytes are cut off when it is opened. Anything else that is
/// not as it was written is damage and refused, with the place. A file without its last records cannot be told from one to
/// which they were never appended. The digests are against damage: they prove nothing of origin.
/// One thread at a time, and not in a forked child, which would share the lock.
class Journal {
 public:
  /// Opens the journal at `path`, reading it once to its end, or makes it: whole or not at all (see AtomicFile).
  /// Throws ErrorId::journal for a file that is no journal, of another version or configuration, damaged, or open elsewhere,
  /// and leaves it as it is; ErrorId::file_open and file_write with the system's reason.
  Journal(std::filesystem::path path, const std::map<std::string, std::string>& config) : path_(std::move(path)) {
    constexpr int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NONBLOCK;
    file_ = detail::Descriptor(::open(path_.c_str(), flags));
    if (!file_.valid() && errno == ENOENT) {
      create(config);
      file_ = detail::Descriptor(::open(path_.c_str(), flags));
    }
    check(file_.valid(), ErrorId::file_open, "cannot open the journal");
    lock();
    struct stat status = {};
    check(::fstat(file_.get(), &status) == 0, ErrorId::file_open, "cannot read the journal");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    require_version(size);
    end_ = walk(size, [&](std::uint64_t record, std::span<const std::byte> content) {
      if (record > 0) return;
      const auto saved = detail::config_from(content);
      require(saved.has_value(), ErrorId::journal, path_.string(), ": the configuration in its record 0 cannot be read");
      require_same_config(*saved, config, concat(path_.string(), ": the journal"), ErrorId::journal);
    });
    if (end_.record == 0) fail_damaged(end_, "the file ends inside it");

    dropped_ = size - end_.offset;
    check(dropped_ == 0 || detail::cut(file_.get(), end_.offset), ErrorId::file_write, "cannot cut off the last record");
    // A process that was killed before it could sync has left these bytes in memory only, and its folder too.
    const detail::Descriptor folder = detail::open_folder_of(path_);
    check(detail::sync(file_.get()) && folder.valid() && detail::sync(folder.get()), ErrorId::file_write,
          "cannot sync the journal and its folder");
  }

  /// Without the configuration.
  std::size_t size() const { return static_cast<std::size_t>(end_.record - 1); }
  /// Of a last record that was not complete, cut off when the journal was opened; mostly 0.
  std::uint64_t dropped_bytes() const { return dropped_; }

  /// Every record in its order, read from the file and checked again; memory is that of the largest one.
  void replay(const std::function<void(std::span<const std::byte>)>& visit) const {
    const Place stop = end_;
    const Place reached = walk(stop.offset, [&](std::uint64_t record, std::span<const std::byte> content) {
      if (record > 0) visit(content);
    });
    require(reached.digest == stop.digest, ErrorId::journal, path_.string(), ": the journal was changed while it was open");
  }

  /// On the disk when it returns. Throws ErrorId::file_write when the disk is full, with the journal as it was; if even that
  /// cannot be restored, every further append throws too, until the journal is opened anew.
  void append(std::span<const std::byte> record) {
    require(!broken_, ErrorId::file_write, path_.string(), ": an append failed and left its traces: open the journal anew");
    const detail::RecordFrame frame(end_.digest, record.size());
    const Digest digest = frame.digest(record);
    const int file = file_.get();
    if (!detail::write_all(file, frame.head()) || !detail::write_all(file, record) ||
        !detail::write_all(file, digest) || !detail::sync(file)) {
      const int error_number = errno;
      broken_ = !detail::cut(file, end_.offset) || !detail::sync(file);
      throw Error(ErrorId::file_write,
                  concat(path_.string(), ": cannot append record ", end_.record, ": ", detail::reason(error_number),
                         broken_ ? "; nor could the file be cut back to where it was: open the journal anew" : ""));
    }
    end_ = {end_.offset + frame_bytes + record.size(), end_.record + 1, digest};
  }

 private:
  /// Between two records: where the next one begins, its number, the digest of the one before.
  struct Place {
    std::uint64_t offset = first_line.size();
    std::uint64_t record = 0;
    Digest digest{};
  };

  static constexpr std::string_view magic = "lorasb journal ";
  static constexpr std::string_view first_line = "lorasb journal 1\n";
  static constexpr std::uint64_t head_bytes = 16;
  static constexpr std::uint64_t frame_bytes = head_bytes + sizeof(Digest);

  void create(const std::map<std::string, std::string>& config) const {
    const std::vector<std::byte> content = detail::config_bytes(config);
    const detail::RecordFrame frame(Digest{}, content.size());
    AtomicFile file(path_);
    file.write(first_line);
    file.write(frame.head());
    file.write(content);
    file.write(frame.digest(content));
    (void)file.commit_new();  // false: somebody else made it first, and theirs is opened
  }

  void lock() const {
    if (detail::uninterrupted([&] { return ::flock(file_.get(), LOCK_EX | LOCK_NB); }) == 0) return;
    check(errno == EWOULDBLOCK, ErrorId::file_open, "cannot lock the journal");
    throw Error(ErrorId::journal,
                path_.string() + ": the journal is open already, here or in another process, and only one may append to it");
  }

  void require_version(std::uint64_t size) const {
    std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(size, 64)), '\0');
    read(0, std::as_writable_bytes(std::span(start)));
    const std::size_t line_end = start.find('\n');
    require(start.starts_with(magic) && line_end != std::string::npos, ErrorId::journal, path_.string(), ": is not a journal");
    require(start.starts_with(first_line), ErrorId::journal, path_.string(), ": is a journal of version ",
            in_quotes(start.substr(magic.size(), line_end - magic.size())), ", expected version 1");
  }

  /// visit(number, content) of all records that end before `size`; the place after the last one.
  Place walk(std::uint64_t size, const std::function<void(std::uint64_t, std::span<const std::byte>)>& visit) const {
    Place place;
    std::vector<std::byte> rest;  // of the record, after its head: content and digest
    while (size - place.offset >= head_bytes) {
      std::array<std::byte, head_bytes> head;
      read(place.offset, head);
      const std::uint64_t length = from_little_endian(std::span(head).first<8>());
      const detail::RecordFrame frame(place.digest, length);
      if (frame.head() != head) fail_damaged(place, "its length is not the one that was written");
      if (size - place.offset < frame_bytes || length > size - place.offset - frame_bytes) break;
      rest.resize(static_cast<std::size_t>(length) + sizeof(Digest));
      read(place.offset + head.size(), rest);
      const std::span<const std::byte> content = std::span(rest).first(static_cast<std::size_t>(length));
      const Digest digest = frame.digest(content);
      if (!std::equal(digest.begin(), digest.end(), rest.end() - digest.size()))
        fail_damaged(place, "its bytes are not those that were written");
      visit(place.record, content);
      place = {place.offset + frame_bytes + length, place.record + 1, digest};
    }
    return place;
  }

  void read(std::uint64_t offset, std::span<std::byte> bytes) const {
    check(detail::read_all(file_.get(), offset, bytes), ErrorId::file_open, "cannot read the journal");
  }
  void check(bool good, ErrorId id, std::string_view what) const {
    if (good) [[likely]]
      return;
    const int error_number = errno;
    throw Error(id, concat(path_.string(), ": ", what, ": ", detail::reason(error_number)));
  }
  [[noreturn]] void fail_damaged(const Place& place, std::string_view why) const {
    const std::string otherwise =
        concat(", or cut the file to ", place.offset, " bytes to give up this record and all after it");
    throw Error(ErrorId::journal, concat(path_.string(), ": record ", place.record, " at byte ", place.offset, " is damaged: ",
                                         why, "; restore the file from a copy", place.record > 0 ? otherwise : ""));
  }

  std::filesystem::path path_;
  detail::Descriptor file_;
  Place end_;
  std::uint64_t dropped_ = 0;
  bool broken_ = false;
};

}  // namespace lorasb::io
