// What private training has spent, on disk, always ahead of its steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lorasb/io/atomic_file.hpp"
#include "lorasb/io/checkpoint.hpp"
#include "lorasb/privacy/ledger.hpp"

namespace lorasb::train {

/// A file beside a checkpoint or a journal, written before every step, or round, touches data. A run that is killed has lost the
/// steps since its last checkpoint, but not what they cost: a run that goes on takes its values from the checkpoint and what is
/// spent from here. A step that was written and never taken is charged, too.
///
///     const LedgerFile file(folder / "ledger.txt");
///     file.write_ahead(ledger);                    // every charge is on disk before data is touched
///     ... a checkpoint: save_ledger(checkpoint, ledger);
///     ... after a crash, first of all: restore_ledger(ledger, &checkpoint, file);
///
/// Seeded noise is not private and draws the same bits again: there the checkpoint's own ledger says it all, and a file that was
/// constructed without a path writes and reads nothing.
class LedgerFile {
 public:
  LedgerFile() = default;
  explicit LedgerFile(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  bool is_written() const { return !path_.empty(); }

  /// From now on each charge of the ledger is saved before Ledger::charge returns. The ledger keeps a copy of this.
  void write_ahead(privacy::Ledger& ledger) const {
    if (is_written()) ledger.on_charge([file = *this](const std::string& text) { file.save(text); });
  }
  /// Throws ErrorId::file_write: then no data may be touched.
  void save(const std::string& text) const {
    if (is_written()) io::write_file(path_, text + "\n");
  }
  /// What was saved; nothing where there is no file.
  std::optional<std::string> read() const {
    std::ifstream in(path_);
    if (!in.good()) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

 private:
  std::filesystem::path path_;
};

/// Puts the ledger into a checkpoint, as "ledger".
template <Real S>
void save_ledger(io::Checkpoint<S>& checkpoint, const privacy::Ledger& ledger) {
  checkpoint.state["ledger"] = ledger.text();
}

/// Restores what was spent before, by the checkpoint (null: there is none yet) and by the file beside it. `where` starts the
/// messages. Throws ErrorId::checkpoint where it is not known: the checkpoint has no ledger, its file is missing, or one of both
/// is of another run.
template <Real S>
void restore_ledger(privacy::Ledger& ledger, const io::Checkpoint<S>* checkpoint, const LedgerFile& file,
                    std::string_view where = "restore_ledger") {
  if (checkpoint != nullptr) {
    const auto text = checkpoint->state.find("ledger");
    require(text != checkpoint->state.end(), ErrorId::checkpoint, where,
            ": the checkpoint has no ledger: what was spent before is unknown");
    ledger.restore(text->second);
  }
  if (!file.is_written()) return;
  const std::uint64_t of_checkpoint = ledger.steps();
  const std::optional<std::string> text = file.read();
  require(text || checkpoint == nullptr, ErrorId::checkpoint, where, ": there is no \"", file.path().string(),
          "\" beside the checkpoint: what was spent after it is unknown");
  if (!text) return;
  ledger.restore(*text);
  require(ledger.steps() >= of_checkpoint, ErrorId::checkpoint, where, ": \"", file.path().string(), "\" has ", ledger.steps(),
          " steps, fewer than the ", of_checkpoint, " of the checkpoint: it is of another run");
}

}  // namespace lorasb::train
