// What the fuzzers of all readers share: inputs of several files, and the contract of a reader that is fuzzed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lorasb::fuzz {

class Mutator;

/// An input: the files that a reader reads, in the order of Reader::files. A file can be missing.
struct Input {
  struct File {
    bool there = true;
    std::string text = {};  // bytes
  };
  std::vector<File> files;

  std::string& operator[](std::size_t i) { return files[i].text; }
  const std::string& operator[](std::size_t i) const { return files[i].text; }
};

/// One reader of the library, with inputs that it takes and mutations that keep them whole.
struct Reader {
  std::string_view name;
  std::vector<std::string> files;  // their names below the folder; the last one may be no file but a text to be used
  std::vector<Input> (*seeds)();
  /// Changes one thing.
  void (*mutate)(Input& input, Mutator& mutator);
  /// Whether the input is past the first check: its JSON is JSON, its lengths and checksums are right. Every accepted one is.
  bool (*past_first_check)(const Input& input);
  /// Reads the files, which lie in the folder, and uses what it read. May throw lorasb::Error and nothing else.
  void (*read)(const Input& input, const std::filesystem::path& folder);
  bool changes_files = false;  // reading does
};

/// A reader adds itself when the program starts.
struct Registered {
  explicit Registered(Reader reader);
};

/// What an accepted input must hold to: ends the program when it does not, and libFuzzer then keeps the input.
void must(bool good, std::string_view what);
/// Writing what was read must not be refused.
template <class Action>
void must_not_throw(std::string_view what, const Action& action) {
  try {
    action();
  } catch (const std::exception& error) {
    must(false, std::string(what) + ": " + error.what());
  }
}

/// Whether what was accepted is to be written and read again, which costs more than reading: for every input of libFuzzer, for
/// some of mutate_readers.
bool writes_again();

/// A folder in memory beside the input's, which stays.
std::filesystem::path folder_beside(const char* name);
/// One that is empty in every run, for what is written again.
std::filesystem::path second_folder();
std::string read_file(const std::filesystem::path& path);

}  // namespace lorasb::fuzz
