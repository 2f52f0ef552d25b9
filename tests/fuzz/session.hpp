// The session of a fuzzer: its reader, the folder in memory, what an input goes through, and the counts.
#pragma once

#include <sys/types.h>

#include "fuzz/fuzz.hpp"

namespace lorasb::fuzz {

struct Session {
  const Reader* reader = nullptr;
  std::filesystem::path folder;
  std::vector<Input> seeds;
  Input last;  // what lies in the folder
  std::vector<int> descriptors;  // of its files; -1: missing
  bool writes_again = true;
  std::uint64_t inputs = 0, past_first_check = 0, accepted = 0;
  pid_t process = 0;  // libFuzzer forks for some options
};
Session& session();

/// An input as bytes: for each file its length (4 bytes; all ones: missing) and its bytes.
std::string encode(const Input& input);
Input decode(std::string_view bytes, std::size_t files);

/// Finds the reader, makes its folder and reads its seeds; ends the program where they are refused. When the program ends, the
/// folder is removed and the counts are printed; status 3 where fewer than half of at least 1,000 inputs came past the first
/// check.
void set_up(std::string_view reader);
/// Reads an input and counts it.
struct Outcome {
  bool past_first_check, accepted;
};
Outcome run_one(const Input& input, bool writes_again = true);

}  // namespace lorasb::fuzz
