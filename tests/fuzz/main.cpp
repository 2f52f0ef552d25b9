// The fuzzer of all readers: libFuzzer's hooks, the folder in memory and the counts.
//
//     fuzz_readers --reader=safetensors [libFuzzer's options] [folder that keeps inputs]
//
// Without a folder it starts from the reader's own seeds. At the end it says how many inputs there were, how many of them came
// past the first check and how many were accepted; after 1,000 inputs, fewer than half of them past the first check are an
// error (status 3).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "lorasb/core/error.hpp"

namespace lorasb::fuzz {
namespace {

std::vector<Reader>& readers() {
  static std::vector<Reader> all;
  return all;
}

struct Session {
  const Reader* reader = nullptr;
  std::filesystem::path folder;
  std::vector<Input> seeds;
  Input last;  // what lies in the folder
  std::uint64_t inputs = 0, past_first_check = 0, accepted = 0;
  pid_t process = 0;  // libFuzzer forks for some options
};
Session& session() {
  static Session the_one;
  return the_one;
}

// An input as bytes: for each file its length (4 bytes; all ones: missing) and its bytes.
std::string encode(const Input& input) {
  std::string bytes;
  for (const Input::File& file : input.files) {
    const auto length = file.there ? static_cast<std::uint32_t>(file.text.size()) : ~std::uint32_t{0};
    bytes.append(reinterpret_cast<const char*>(&length), 4);
    if (file.there) bytes += file.text;
  }
  return bytes;
}
Input decode(std::string_view bytes, std::size_t files) {
  Input input;
  for (std::size_t i = 0; i < files; ++i) {
    std::uint32_t length = 0;
    if (bytes.size() >= 4) std::memcpy(&length, bytes.data(), 4);
    bytes.remove_prefix(std::min<std::size_t>(4, bytes.size()));
    const bool there = length != ~std::uint32_t{0};
    const std::size_t size = there ? std::min<std::size_t>(length, bytes.size()) : 0;
    input.files.push_back({there, std::string(bytes.substr(0, size))});
    bytes.remove_prefix(size);
  }
  return input;
}

/// Writes the files that are not in the folder as they are.
void lay_out(const Input& input) {
  Session& s = session();
  for (std::size_t i = 0; i < input.files.size(); ++i) {
    if (i < s.last.files.size() && s.last.files[i].there == input.files[i].there && s.last[i] == input[i]) continue;
    const std::filesystem::path path = s.folder / "input" / s.reader->files[i];
    if (!input.files[i].there) {
      ::unlink(path.c_str());
      continue;
    }
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    must(file >= 0 && ::write(file, input[i].data(), input[i].size()) == ssize_t(input[i].size()),
         "cannot write an input's file");
    ::close(file);
  }
  s.last = input;
}

void finish() {
  const Session& s = session();
  if (s.reader == nullptr || ::getpid() != s.process) return;
  std::error_code ignored;
  std::filesystem::remove_all(s.folder, ignored);
  const double share = s.inputs == 0 ? 0 : 100.0 * double(s.past_first_check) / double(s.inputs);
  std::fprintf(stderr, "fuzz %s: %llu inputs, %llu past the first check (%.1f %%), %llu accepted\n",
               std::string(s.reader->name).c_str(), static_cast<unsigned long long>(s.inputs),
               static_cast<unsigned long long>(s.past_first_check), share, static_cast<unsigned long long>(s.accepted));
  if (s.inputs >= 1000 && share < 50) {
    std::fprintf(stderr,
                 "fuzz: fewer than half of the inputs came past the first check: the mutations do not fit this reader\n");
    ::_exit(3);
  }
}

}  // namespace

Registered::Registered(Reader reader) { readers().push_back(std::move(reader)); }

void must(bool good, std::string_view what) {
  if (good) return;
  std::fprintf(stderr, "fuzz: %.*s\n", int(what.size()), what.data());
  std::abort();
}
std::filesystem::path second_folder() {
  const std::filesystem::path folder = session().folder / "again";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  return folder;
}
std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace lorasb::fuzz

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
  for (const Reader& reader : readers())
    if (reader.name == wanted) s.reader = &reader;
  if (s.reader == nullptr) {
    std::fprintf(stderr, "fuzz: expected --reader= with one of");
    for (const Reader& reader : readers()) std::fprintf(stderr, " %s", std::string(reader.name).c_str());
    std::fprintf(stderr, "\n");
    std::exit(2);
  }
  std::string name = "/dev/shm/lorasb-fuzz-XXXXXX";
  must(::mkdtemp(name.data()) != nullptr, "cannot make a folder in /dev/shm");
  s.folder = name;
  s.process = ::getpid();
  for (const std::string& file : s.reader->files)
    std::filesystem::create_directories((s.folder / "input" / file).parent_path());
  s.seeds = s.reader->seeds();
  const std::filesystem::path corpus = s.folder / "seeds";
  std::filesystem::create_directory(corpus);
  for (std::size_t i = 0; i < s.seeds.size(); ++i)
    std::ofstream(corpus / std::to_string(i), std::ios::binary) << encode(s.seeds[i]);
  for (const Input& seed : s.seeds) {  // a seed that is refused tests nothing
    lay_out(seed);
    must(s.reader->past_first_check(seed), "a seed is not past the first check");
    must_not_throw("a seed is refused", [&] { s.reader->read(seed, s.folder / "input"); });
  }
  if (!one_input) words.push_back(corpus.string());
  for (std::string& word : words) pointers.push_back(word.data());
  *argc = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  *argv = pointers.data();
  std::atexit(finish);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Session& s = session();
  const Input input = decode({reinterpret_cast<const char*>(data), size}, s.reader->files.size());
  lay_out(input);
  ++s.inputs;
  s.past_first_check += s.reader->past_first_check(input);
  try {
    s.reader->read(input, s.folder / "input");
    ++s.accepted;
  } catch (const lorasb::Error&) {
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned int seed) {
  const Session& s = session();
  Mutator mutator(seed);
  const Input before = decode({reinterpret_cast<const char*>(data), size}, s.reader->files.size());
  for (int attempt = 0; attempt < 4; ++attempt) {
    Input input = mutator.one_in(5) ? mutator.one_of(s.seeds) : before;
    for (std::uint64_t changes = mutator.one_in(2) ? 1 : 1 + mutator.below(3); changes > 0; --changes)
      s.reader->mutate(input, mutator);
    const std::string bytes = encode(input);
    if (bytes.size() > max_size) continue;
    std::memcpy(data, bytes.data(), bytes.size());
    return bytes.size();
  }
  return size;
}
