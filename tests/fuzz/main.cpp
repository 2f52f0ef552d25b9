// libFuzzer's hooks.
//
//     fuzz_readers --reader=safetensors [libFuzzer's options] [folder that keeps inputs]
//
// Without a folder it starts from the reader's own seeds. At the end it says how many inputs there were, how many of them came
// past the first check and how many were accepted; after 1,000 inputs, fewer than half of them past the first check are an
// error (status 3).
#include <cstring>
#include <fstream>

#include "fuzz/mutator.hpp"
#include "fuzz/session.hpp"

using namespace lorasb::fuzz;

// Deep stacks for every allocation cost half of the time.
extern "C" const char* __asan_default_options() { return "malloc_context_size=3"; }

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  static std::vector<std::string> words;
  static std::vector<char*> pointers;
  Session& s = session();
  std::string wanted;
  bool one_input = false;  // a file that libFuzzer is to run once
  for (int i = 0; i < *argc; ++i) {
    const std::string word = (*argv)[i];
    if (word.starts_with("--reader=")) {
      wanted = word.substr(9);
      continue;
    }
    one_input = one_input || (i > 0 && std::filesystem::is_regular_file(word));
    words.push_back(word);
  }
  set_up(wanted);
  const std::filesystem::path corpus = s.folder / "seeds";
  std::filesystem::create_directory(corpus);
  for (std::size_t i = 0; i < s.seeds.size(); ++i)
    std::ofstream(corpus / std::to_string(i), std::ios::binary) << encode(s.seeds[i]);
  if (!one_input) words.push_back(corpus.string());
  for (std::string& word : words) pointers.push_back(word.data());
  *argc = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  *argv = pointers.data();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  run_one(decode({reinterpret_cast<const char*>(data), size}, session().reader->files.size()));
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned int seed) {
  const Session& s = session();
  Mutator mutator(seed);
  const Input before = decode({reinterpret_cast<const char*>(data), size}, s.reader->files.size());
  for (int attempt = 0; attempt < 4; ++attempt) {
    const bool is_whole = s.reader->past_first_check(before);  // one broken file hides all others
    Input input = mutator.one_in(is_whole ? 5 : 2) ? mutator.one_of(s.seeds) : before;
    for (std::uint64_t changes = mutator.one_in(2) ? 1 : 1 + mutator.below(3); changes > 0; --changes)
      s.reader->mutate(input, mutator);
    const std::string bytes = encode(input);
    if (bytes.size() > max_size) continue;
    std::memcpy(data, bytes.data(), bytes.size());
    return bytes.size();
  }
  return size;
}
