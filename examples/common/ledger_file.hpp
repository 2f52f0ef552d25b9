// What private training has spent, on disk, always ahead of its steps.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "lorasb/io/atomic_file.hpp"

namespace lorasb::examples {

/// A file beside a checkpoint or a journal, written before every step, or round, touches data. A run that is killed has lost the
/// steps since its last checkpoint, but not what they cost: a run that goes on takes its values from the checkpoint and what is
/// spent from here. A step that was written and never taken is charged, too. Seeded noise is not private and draws the same
/// bits again: there the checkpoint's own ledger says it all, and nothing is written here.
class LedgerFile {
 public:
  LedgerFile() = default;
  LedgerFile(std::filesystem::path path, bool written) : path_(std::move(path)), written_(written) {}

  const std::filesystem::path& path() const { return path_; }
  bool is_written() const { return written_; }

  /// Throws ErrorId::file_write: then no data may be touched.
  void save(const std::string& text) const {
    if (!written_) return;
    io::AtomicFile file(path_);
    file.write(text + "\n");
    file.commit();
  }
  /// What was saved; nothing where there is no file.
  std::optional<std::string> read() const {
    std::ifstream in(path_);
    if (!in.good()) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  /// Of another run.
  void remove() const { std::filesystem::remove(path_); }

 private:
  std::filesystem::path path_;
  bool written_ = false;
};

}  // namespace lorasb::examples
