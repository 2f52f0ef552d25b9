// The session of a fuzzer: its reader, the folder in memory, what an input goes through, and the counts.
#include "fuzz/session.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "lorasb/core/error.hpp"

namespace lorasb::fuzz {
namespace {

std::vector<Reader>& readers() {
  static std::vector<Reader> all;
  return all;
}

/// Writes the files that are not in the folder as they are. They stay open: making a file anew takes four times as long.
void lay_out(const Input& input) {
  Session& s = session();
  static const std::vector<std::string> paths = [&] {
    std::vector<std::string> all;
    for (const std::string& name : s.reader->files) all.push_back((s.folder / "input" / name).string());
    return all;
  }();
  for (std::size_t i = 0; i < input.files.size(); ++i) {
    const bool known = i < s.last.files.size() && !s.reader->changes_files;
    if (known && s.last.files[i].there == input.files[i].there && s.last[i] == input[i]) continue;
    int& file = s.descriptors[i];
    const std::string& path = paths[i];
    if (!input.files[i].there) {
      if (file < 0) continue;
      ::unlink(path.c_str());
      ::close(std::exchange(file, -1));
      continue;
    }
    if (file < 0) file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    must(file >= 0 && ::pwrite(file, input[i].data(), input[i].size(), 0) == ssize_t(input[i].size()), "cannot write an input's file");
    const bool may_be_longer = !known || s.last[i].size() > input[i].size();
    must(!may_be_longer || ::ftruncate(file, off_t(input[i].size())) == 0,
         "cannot write an input's file");
  }
  s.last = input;
}

void finish() {
  const Session& s = session();
  if (s.reader == nullptr || ::getpid() != s.process) return;
  std::error_code ignored;
  std::filesystem::remove_all(s.folder, ignored);
  const double share = s.inputs == 0 ? 0 : 100.0 * double(s.past_first_check) / double(s.inputs);
  rusage used = {};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) { return double(time.tv_sec) + 1e-6 * double(time.tv_usec); };
  std::fprintf(stderr, "fuzz %s: %llu inputs, %llu past the first check (%.1f %%), %llu accepted, %.2f s\n",
               std::string(s.reader->name).c_str(), static_cast<unsigned long long>(s.inputs),
               static_cast<unsigned long long>(s.past_first_check), share, static_cast<unsigned long long>(s.accepted),
               seconds(used.ru_utime) + seconds(used.ru_stime));
  if (s.inputs >= 1000 && share < 50) {
    std::fprintf(stderr,
                 "fuzz: fewer than half of the inputs came past the first check: the mutations do not fit this reader\n");
    ::_exit(3);
  }
}

}  // namespace

Session& session() {
  static Session the_one;
  return the_one;
}

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

void set_up(std::string_view wanted) {
  Session& s = session();
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
  s.descriptors.assign(s.reader->files.size(), -1);
  s.seeds = s.reader->seeds();
  for (const Input& seed : s.seeds) {  // a seed that is refused tests nothing
    lay_out(seed);
    must(s.reader->past_first_check(seed), "a seed is not past the first check");
    must_not_throw("a seed is refused", [&] { s.reader->read(seed, s.folder / "input"); });
  }
  std::atexit(finish);
}

Outcome run_one(const Input& input, bool writes_again) {
  Session& s = session();
  lay_out(input);
  ++s.inputs;
  s.writes_again = writes_again;
  bool accepted = false;
  try {
    s.reader->read(input, s.folder / "input");
    accepted = true;
  } catch (const lorasb::Error&) {
  }
  const bool past = accepted || s.reader->past_first_check(input);
  s.past_first_check += past;
  s.accepted += accepted;
  return {past, accepted};
}

Registered::Registered(Reader reader) { readers().push_back(std::move(reader)); }

void must(bool good, std::string_view what) {
  if (good) return;
  std::fprintf(stderr, "fuzz: %.*s\n", int(what.size()), what.data());
  std::abort();
}
bool writes_again() { return session().writes_again; }
std::filesystem::path folder_beside(const char* name) {
  const std::filesystem::path folder = session().folder / name;
  std::filesystem::create_directory(folder);
  return folder;
}
std::filesystem::path second_folder() {
  std::filesystem::remove_all(session().folder / "again");
  return folder_beside("again");
}
std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace lorasb::fuzz
