#include "lorasb/io/journal.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "io/files.hpp"
#include "support.hpp"

using lorasb::Digest;
using lorasb::Error;
using lorasb::ErrorId;
using lorasb::Random;
using lorasb::io::Journal;
namespace test = lorasb::test;

namespace {

/// What the program has synced, by inode, with the size at that time; and how many syncs from now on are to fail.
std::map<ino_t, std::uint64_t> synced_sizes;
int failing_syncs = 0;

}  // namespace

/// Stands before the system's in this program, since no test can pull the plug.
extern "C" int fsync(int file) {
  if (failing_syncs > 0) {
    --failing_syncs;
    errno = EIO;
    return -1;
  }
  struct stat status = {};
  if (::fstat(file, &status) != 0) return -1;
  synced_sizes[status.st_ino] = static_cast<std::uint64_t>(status.st_size);
  return static_cast<int>(::syscall(SYS_fsync, file));
}

namespace {

const std::map<std::string, std::string> config{{"clients", "100"}, {"seed", "7"}};
constexpr std::size_t first_line = 17, head = 16, digest = 32;  // bytes of the file, as docs/formats.md has them

void append(Journal& journal, std::string_view record) { journal.append(test::bytes_of(record)); }
std::vector<std::string> records_of(const Journal& journal) {
  std::vector<std::string> records;
  journal.replay(
      [&](std::span<const std::byte> r) { records.emplace_back(reinterpret_cast<const char*>(r.data()), r.size()); });
  return records;
}
std::vector<std::string> records_at(const std::filesystem::path& path) { return records_of(Journal(path, config)); }
void write_journal(const std::filesystem::path& path, const std::vector<std::string>& records) {
  Journal journal(path, config);
  for (const std::string& record : records) append(journal, record);
}

/// Where each record of the file begins, the configuration first, and the size of the file.
std::vector<std::size_t> begins_of(std::string_view file) {
  std::vector<std::size_t> begins{first_line};
  while (begins.back() < file.size()) {
    std::uint64_t length = 0;
    std::memcpy(&length, file.data() + begins.back(), 8);
    begins.push_back(begins.back() + head + length + digest);
  }
  REQUIRE(begins.back() == file.size());
  return begins;
}

/// A new file: some file systems write a file that is emptied and filled again to the disk at once, which takes its time.
void put_file(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::remove(path);
  test::write_all(path, text);
}

struct Refused {
  ErrorId id{};
  std::string message;
};
/// What opening throws, which must leave the file as it is; nothing when it opens.
std::optional<Refused> refusal(const std::filesystem::path& path) {
  const std::string before = test::read_all(path);
  std::optional<Refused> refused;
  try {
    const Journal journal(path, config);
  } catch (const Error& error) {
    refused = {error.id(), error.what()};
    if (test::read_all(path) != before) refused->message += " (and the file was changed)";
  }
  return refused;
}
/// "record 2 at byte 113": the place that the message about a damaged file must name.
std::string place(std::size_t record, std::size_t byte) { return lorasb::concat("record ", record, " at byte ", byte, " is"); }

/// Random bytes; the same number, the same record.
std::string nth_record(std::uint64_t n) {
  Random random(17, n);
  const std::uint64_t lengths[] = {0, 1, 40, 5'000, 100'000, 1'000'000};
  std::string record(random.below(1 + lengths[random.below(6)]), '\0');
  for (std::size_t i = 0; i < record.size(); i += 1 + i / 64) record[i] = static_cast<char>(random.below(256));
  return record;
}

/// Runs `work` in a child process and gives its id. What `work` returns is the exit status.
template <class Work>
pid_t in_child(const Work& work) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int status = 99;
  try {
    status = work();
  } catch (...) {
  }
  ::_exit(status);
}
/// As ::waitpid gives it.
int status_of(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

/// While it lives, the process has no more rights than any user.
class PlainUser {
 public:
  PlainUser() {
    if (root_) REQUIRE(::seteuid(65534) == 0);
  }
  PlainUser(const PlainUser&) = delete;
  PlainUser& operator=(const PlainUser&) = delete;
  ~PlainUser() {
    if (root_ && ::seteuid(0) != 0) std::abort();
  }

 private:
  bool root_ = ::geteuid() == 0;
};

}  // namespace

TEST_CASE("Row 21: a journal opened again has every record, bit for bit and in order, and takes more") {
  const test::TemporaryFolder folder;
  std::vector<std::string> expected;
  for (int run = 0; run < 3; ++run) {
    Journal journal(folder / "journal", config);
    CHECK(journal.size() == expected.size());
    CHECK(journal.dropped_bytes() == 0);
    CHECK(records_of(journal) == expected);
    for (const std::string& record : {std::string("one"), std::string(), std::string("\0\n\xff", 3),
                                      std::string(2'000'000, 'x'), nth_record(static_cast<std::uint64_t>(run))}) {
      append(journal, record);
      expected.push_back(record);
    }
    CHECK(journal.size() == expected.size());
    CHECK(records_of(journal) == expected);  // also of the run itself
  }
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"journal"});
}

TEST_CASE("a journal without records is a journal, and so is one without configuration or with any bytes in it") {
  const test::TemporaryFolder folder;
  const std::map<std::string, std::string> bytes{
      {"", ""}, {"empty", ""}, {std::string("\0\xff\xfe", 3), "Grüße \"\n"}, {"large", std::string(1'000'000, '\x80')}};
  int n = 0;
  for (const auto& each : {std::map<std::string, std::string>(), bytes}) {
    const std::filesystem::path path = folder / std::to_string(++n);
    CHECK(Journal(path, each).size() == 0);
    CHECK(Journal(path, each).size() == 0);
    CHECK_ERROR(Journal(path, config), ErrorId::journal, "is of another run");
  }
}

TEST_CASE("the bytes of a journal are those of docs/formats.md") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"", "abc"});
  const auto number = [](std::size_t n) { return std::string{static_cast<char>(n), 0, 0, 0, 0, 0, 0, 0}; };
  const auto sha = [](const std::string& text) {
    lorasb::Sha256 sum;
    sum.update(test::bytes_of(text));
    const Digest value = sum.digest();
    return std::string(reinterpret_cast<const char*>(value.data()), value.size());
  };
  std::string expected = "lorasb journal 1\n";
  std::string before(32, '\0');
  for (const std::string& content :
       {number(7) + "clients" + number(3) + "100" + number(4) + "seed" + number(1) + "7", std::string(), std::string("abc")}) {
    expected += number(content.size()) + sha(before + number(content.size())).substr(0, 8) + content;
    before = sha(before + number(content.size()) + content);
    expected += before;
  }
  CHECK(test::read_all(folder / "journal") == expected);
}

TEST_CASE("Row 22: every beginning of a journal opens with the records that are whole, and goes on from there") {
  const test::TemporaryFolder folder;
  const std::vector<std::string> records{"first", "", "the third one"};
  write_journal(folder / "journal", records);
  const std::string whole = test::read_all(folder / "journal");
  const std::vector<std::size_t> begins = begins_of(whole);
  REQUIRE(begins.size() == 5);
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    INFO(size << " of " << whole.size() << " bytes");
    put_file(folder / "journal", std::string_view(whole).substr(0, size));
    if (size < begins[1]) {  // never so by an append: the first line and the configuration come with the file's name
      const std::optional<Refused> refused = refusal(folder / "journal");
      REQUIRE(refused);
      CHECK(refused->id == ErrorId::journal);
      CHECK(refused->message.find(size < first_line ? "is not a journal" : place(0, first_line)) != std::string::npos);
      continue;
    }
    std::vector<std::string> expected;
    std::size_t kept = begins[1];
    for (std::size_t r = 0; r < 3 && begins[r + 2] <= size; ++r) {
      expected.push_back(records[r]);
      kept = begins[r + 2];
    }
    {
      Journal journal(folder / "journal", config);
      CHECK(journal.size() == expected.size());
      CHECK(journal.dropped_bytes() == size - kept);
      CHECK(records_of(journal) == expected);
      CHECK(test::read_all(folder / "journal") == whole.substr(0, kept));
      append(journal, "more");
      expected.push_back("more");
      CHECK(records_of(journal) == expected);
    }
    Journal again(folder / "journal", config);
    CHECK(again.dropped_bytes() == 0);
    CHECK(records_of(again) == expected);
  }
}

TEST_CASE("Row 22: a journal with any bit flipped is refused with the place, and left as it is") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first", "", "the third one"});
  const std::string whole = test::read_all(folder / "journal");
  const std::vector<std::size_t> begins = begins_of(whole);
  std::string wrong;
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    put_file(folder / "journal", flipped);
    const std::optional<Refused> refused = refusal(folder / "journal");
    std::string expected = "journal: is ";  // not a journal, or one of another version
    for (std::size_t r = 0; r < 4; ++r)
      if (bit / 8 >= begins[r]) expected = place(r, begins[r]);
    if (!refused || refused->id != ErrorId::journal || refused->message.find(expected) == std::string::npos ||
        refused->message.find("was changed") != std::string::npos)
      wrong += lorasb::concat("bit ", bit, ": ", refused ? refused->message : "opened", "\n");
  }
  INFO(wrong.substr(0, 1000));
  CHECK(wrong.empty());
  CHECK(whole.size() == 17 + 4 * 48 + 47 + 5 + 0 + 13);
}

TEST_CASE("Row 22: a flipped bit in a length is damage also where the record is the last and incomplete") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first", std::string(1000, 'x')});
  const std::string whole = test::read_all(folder / "journal");
  const std::size_t begin = begins_of(whole)[2];
  for (std::size_t bit = 0; bit < 8 * head; ++bit) {
    std::string cut = whole.substr(0, begin + head + 500);
    cut[begin + bit / 8] = static_cast<char>(cut[begin + bit / 8] ^ (1 << (bit % 8)));
    put_file(folder / "journal", cut);
    const std::optional<Refused> refused = refusal(folder / "journal");
    REQUIRE(refused);
    CHECK(refused->message.find(place(2, begin)) != std::string::npos);
  }
}

TEST_CASE("Row 22: the message about a damaged record says what to do, and doing it helps") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first", "last"});
  std::string damaged = test::read_all(folder / "journal");
  const std::size_t begin = begins_of(damaged)[2];
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  put_file(folder / "journal", damaged);
  CHECK_ERROR(records_at(folder / "journal"), ErrorId::journal,
              lorasb::concat((folder / "journal").string(), ": record 2 at byte ", begin,
                             " is damaged: its bytes are not those that were written; restore the file from a copy, or cut "
                             "the file to ",
                             begin, " bytes to give up this record and all after it"));
  std::filesystem::resize_file(folder / "journal", begin);
  CHECK(records_at(folder / "journal") == std::vector<std::string>{"first"});
}

TEST_CASE("Row 22: bytes after the last record are refused, unless they are fewer than any record has") {
  const test::TemporaryFolder folder;
  const std::vector<std::string> records{"first", "second"};
  write_journal(folder / "journal", records);
  const std::string whole = test::read_all(folder / "journal");
  const std::string zeros(100, '\0'), text(100, '7'), itself = whole.substr(first_line),
                                                      again = whole.substr(begins_of(whole)[2]);
  for (const std::string& garbage : {zeros, text, itself, again})
    for (std::size_t size = 1; size <= std::min(garbage.size(), zeros.size()); ++size) {
      INFO(size << " bytes");
      put_file(folder / "journal", whole + garbage.substr(0, size));
      const std::optional<Refused> refused = refusal(folder / "journal");
      CHECK(refused.has_value() == (size >= head));
      if (refused) CHECK(refused->message.find(place(3, whole.size())) != std::string::npos);
      if (!refused) CHECK(records_at(folder / "journal") == records);
    }
}

TEST_CASE("Row 22: swapped, repeated and removed records are refused where the first one is out of its place") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"AAAA", "BBBB", "CCCC", "CCCC"});  // equal lengths, and even equal contents
  const std::string whole = test::read_all(folder / "journal");
  const std::vector<std::size_t> begins = begins_of(whole);
  const auto check = [&](const std::vector<std::size_t>& order, std::size_t first_wrong) {
    std::string file = whole.substr(0, first_line);
    for (const std::size_t r : order) file += whole.substr(begins[r], begins[r + 1] - begins[r]);
    put_file(folder / "journal", file);
    const std::optional<Refused> refused = refusal(folder / "journal");
    REQUIRE(refused);
    INFO(refused->message);
    CHECK(refused->id == ErrorId::journal);
    CHECK(refused->message.find(place(first_wrong, begins[first_wrong])) != std::string::npos);
  };
  check({0, 2, 1, 3, 4}, 1);
  check({0, 1, 2, 4, 3}, 3);
  check({0, 1, 1, 2, 3, 4}, 2);
  check({0, 1, 2, 3, 4, 4}, 5);
  check({0, 1, 2, 3, 4, 0}, 5);
  check({0, 2, 3, 4}, 1);
  check({0, 1, 2, 4}, 3);
  check({1, 2, 3, 4}, 0);
}

TEST_CASE("Row 22: records of one journal are refused in another") {
  const test::TemporaryFolder folder;
  write_journal(folder / "one", {"AAAA", "BBBB"});
  write_journal(folder / "other", {"XXXX", "BBBB"});
  const std::string one = test::read_all(folder / "one"), other = test::read_all(folder / "other");
  const std::size_t begin = begins_of(one)[2];
  put_file(folder / "one", one.substr(0, begin) + other.substr(begin));
  CHECK_ERROR(records_at(folder / "one"), ErrorId::journal, place(2, begin));
}

TEST_CASE("Row 22: a file that is changed while the journal is open is found out by replay") {
  const test::TemporaryFolder folder;
  Journal journal(folder / "journal", config);
  append(journal, "first");
  append(journal, "second");
  const std::string whole = test::read_all(folder / "journal");
  std::filesystem::resize_file(folder / "journal", whole.size() - 1);
  CHECK_THROWS_AS(records_of(journal), Error);
  std::string changed = whole;
  changed[begins_of(whole)[1] + head] = 'F';
  test::write_all(folder / "journal", changed);
  CHECK_ERROR(records_of(journal), ErrorId::journal, place(1, begins_of(whole)[1]));
  for (const std::vector<std::string>& others : {std::vector<std::string>{"First", "second"}, {std::string(1000, 'x')}}) {
    write_journal(folder / "other", others);  // good in itself
    test::write_all(folder / "journal", test::read_all(folder / "other"));
    CHECK_ERROR(records_of(journal), ErrorId::journal, "journal: the journal was changed while it was open");
    std::filesystem::remove(folder / "other");
  }
}

TEST_CASE("Row 23: a journal of another configuration is refused with the difference named, and left as it is") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first"});
  std::filesystem::resize_file(folder / "journal", std::filesystem::file_size(folder / "journal") - 1);
  const std::string before = test::read_all(folder / "journal");  // with an incomplete record, which is not cut off either
  const std::string path = (folder / "journal").string();
  CHECK_ERROR(Journal(path, {{"clients", "50"}, {"seed", "7"}}), ErrorId::journal,
              path + ": the journal is of another run: \"clients\" was \"100\" and is now \"50\"");
  CHECK_ERROR(Journal(path, {{"clients", "100"}}), ErrorId::journal, "\"seed\" was \"7\" and is now absent");
  CHECK_ERROR(Journal(path, {{"clients", "100"}, {"noise", "1"}, {"seed", "7"}}), ErrorId::journal,
              "\"noise\" was absent and is now \"1\"");
  CHECK(test::read_all(folder / "journal") == before);
  CHECK(Journal(path, config).dropped_bytes() == 52);
}

TEST_CASE("a configuration that lies about its lengths is refused, without memory for what it says") {
  const test::TemporaryFolder folder;
  const auto number = [](std::uint64_t n) {
    const auto bytes = lorasb::little_endian(n);
    return std::string(reinterpret_cast<const char*>(bytes.data()), 8);
  };
  const auto refused = [&](const std::string& content) {
    const lorasb::io::detail::RecordFrame frame(Digest{}, content.size());
    const Digest sum = frame.digest(test::bytes_of(content));
    put_file(folder / "journal", "lorasb journal 1\n" + std::string(reinterpret_cast<const char*>(frame.head().data()), head) +
                                     content + std::string(reinterpret_cast<const char*>(sum.data()), digest));
    CHECK_ERROR(Journal(folder / "journal", config), ErrorId::journal, "the configuration in its record 0 cannot be read");
  };
  refused("x");
  refused(number(1));
  refused(number(1) + "a");
  refused(number(1) + "a" + number(1));
  refused(number(~std::uint64_t{0}) + "a" + number(1) + "b");
  refused(number(1) + "a" + number(~std::uint64_t{0} - 7) + "b");
  refused(number(1) + "a" + number(1) + "b" + number(1) + "a" + number(1) + "c");  // one name twice
  refused(number(1) + "a" + number(1) + "b" + "c");
}

TEST_CASE("Row 25: a journal of another version is refused by its version, and left as it is") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first"});
  const std::string rest = test::read_all(folder / "journal").substr(first_line);
  for (const std::string version : {"0", "2", "10", "1.1", ""}) {
    put_file(folder / "journal", "lorasb journal " + version + "\n" + rest);
    const std::optional<Refused> refused = refusal(folder / "journal");
    REQUIRE(refused);
    CHECK(refused->id == ErrorId::journal);
    CHECK(refused->message.ends_with("journal: is a journal of version \"" + version + "\", expected version 1"));
  }
}

TEST_CASE("a file that is no journal is refused and left as it is, and so is what is no file") {
  const test::TemporaryFolder folder;
  const std::string texts[] = {
      "", "\n", "lorasb", "lorasb journal ", "lorasb journal 1", "Lorasb journal 1\n", std::string(5000, 'x')};
  for (const std::string& text : texts) {
    put_file(folder / "file", text);
    const std::optional<Refused> refused = refusal(folder / "file");
    REQUIRE(refused);
    CHECK(refused->id == ErrorId::journal);
    CHECK(refused->message.ends_with("file: is not a journal"));
  }
  std::filesystem::create_directory(folder / "folder");
  CHECK_ERROR(Journal(folder / "folder", config), ErrorId::file_open, "folder: cannot open the journal: Is a directory");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_ERROR(Journal(folder / "pipe", config), ErrorId::journal, "pipe: is not a journal");
  CHECK_ERROR(Journal(folder / "none/journal", config), ErrorId::file_write, "cannot open its folder: No such file");
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"file", "folder", "pipe"});
}

TEST_CASE("a journal that is open is refused to another process and to this one, until it is closed") {
  const test::TemporaryFolder folder;
  {
    Journal journal(folder / "journal", config);
    append(journal, "first");
    CHECK_ERROR(Journal(folder / "journal", config), ErrorId::journal, "journal: the journal is open already");
    const pid_t child = in_child([&] {
      try {
        const Journal second(folder / "journal", config);
      } catch (const Error& error) {
        return error.id() == ErrorId::journal ? 1 : 2;
      }
      return 3;
    });
    CHECK(WEXITSTATUS(status_of(child)) == 1);
    Journal moved = std::move(journal);
    append(moved, "second");
    CHECK_ERROR(Journal(folder / "journal", config), ErrorId::journal, "open already");
  }
  CHECK(records_at(folder / "journal") == std::vector<std::string>{"first", "second"});
}

TEST_CASE("of several processes that make one journal at once, those that are told of success have their records in it") {
  for (int round = 0; round < 40; ++round) {
    const test::TemporaryFolder folder;
    int gate[2];
    REQUIRE(::pipe(gate) == 0);
    std::vector<pid_t> children;
    for (int c = 0; c < 4; ++c)
      children.push_back(in_child([&] {
        char byte;
        ::close(gate[1]);
        (void)!::read(gate[0], &byte, 1);  // until the parent opens the gate
        try {
          Journal journal(folder / "journal", config);
          append(journal, std::to_string(c));
        } catch (const Error& error) {
          return error.id() == ErrorId::journal ? 1 : 2;
        }
        return 0;
      }));
    ::close(gate[0]);
    ::close(gate[1]);
    std::multiset<std::string> expected;
    for (int c = 0; c < 4; ++c) {
      const int status = status_of(children[static_cast<std::size_t>(c)]);
      REQUIRE(WIFEXITED(status));
      REQUIRE(WEXITSTATUS(status) <= 1);
      if (WEXITSTATUS(status) == 0) expected.insert(std::to_string(c));
    }
    const std::vector<std::string> records = records_at(folder / "journal");
    CHECK(!expected.empty());
    CHECK(std::multiset<std::string>(records.begin(), records.end()) == expected);
    CHECK(test::names_in(folder.path()) == std::set<std::string>{"journal"});
  }
}

TEST_CASE("Row 22: a disk that fills up, at any byte of a record, leaves the journal as it was and ready for more") {
  const test::TemporaryFolder folder;
  std::vector<std::string> expected{"first"};
  write_journal(folder / "journal", expected);
  const std::string whole = test::read_all(folder / "journal");
  Journal journal(folder / "journal", config);
  const std::string record = "does not fit";
  for (std::size_t room = 0; room < head + record.size() + digest; ++room) {
    std::optional<Refused> refused;
    {
      const test::FileSizeLimit limit(whole.size() + room);
      try {
        append(journal, record);
      } catch (const Error& error) {
        refused = {error.id(), error.what()};
      }
    }
    REQUIRE(refused);
    CHECK(refused->id == ErrorId::file_write);
    CHECK(refused->message.ends_with("journal: cannot append record 2: File too large"));
    CHECK(journal.size() == 1);
    CHECK(test::read_all(folder / "journal") == whole);
    CHECK(records_of(journal) == expected);
  }
  append(journal, record);
  expected.push_back(record);
  CHECK(records_of(journal) == expected);
  CHECK(Journal(std::move(journal)).size() == 2);  // and closed
  CHECK(records_at(folder / "journal") == expected);
}

TEST_CASE("Row 21: what append returned for has been synced, and so has what an opened journal shows") {
  const test::TemporaryFolder folder;
  const auto inode = [](const std::filesystem::path& path) {
    struct stat status = {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return status.st_ino;
  };
  const auto synced = [&] {
    const auto found = synced_sizes.find(inode(folder / "journal"));
    return found != synced_sizes.end() && found->second == std::filesystem::file_size(folder / "journal");
  };
  synced_sizes.clear();
  {
    Journal journal(folder / "journal", config);
    CHECK(synced());
    CHECK(synced_sizes.contains(inode(folder.path())));
    for (const std::size_t size : {0, 10, 100'000}) {
      append(journal, std::string(size, 'x'));
      CHECK(synced());
    }
  }
  for (const std::uint64_t cut : {0, 1}) {
    std::filesystem::resize_file(folder / "journal", std::filesystem::file_size(folder / "journal") - cut);
    synced_sizes.clear();
    const Journal journal(folder / "journal", config);
    CHECK(synced());
    CHECK(synced_sizes.contains(inode(folder.path())));
  }
}

TEST_CASE(
    "Row 22: a disk that fails in the syncing leaves the journal as it was, and when it fails again, refusing to append") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first"});
  const std::string whole = test::read_all(folder / "journal");
  failing_syncs = 1;
  CHECK_ERROR(Journal(folder / "journal", config), ErrorId::file_write,
              "journal: cannot sync the journal and its folder: Input");
  {
    Journal journal(folder / "journal", config);
    failing_syncs = 1;
    CHECK_ERROR(append(journal, "second"), ErrorId::file_write, "journal: cannot append record 2: Input/output error");
    CHECK(test::read_all(folder / "journal") == whole);
    append(journal, "second");
    CHECK(records_of(journal) == std::vector<std::string>{"first", "second"});
    failing_syncs = 2;
    CHECK_ERROR(append(journal, "third"), ErrorId::file_write, "nor could the file be cut back");
    CHECK_ERROR(append(journal, "third"), ErrorId::file_write, "open the journal anew");
    CHECK(records_of(journal) == std::vector<std::string>{"first", "second"});
  }
  CHECK(failing_syncs == 0);
  CHECK(records_at(folder / "journal") == std::vector<std::string>{"first", "second"});
}

TEST_CASE("a disk that is full from the start leaves no journal and nothing beside it") {
  const test::TemporaryFolder folder;
  ErrorId id{};
  {
    const test::FileSizeLimit limit(50);
    try {
      const Journal journal(folder / "journal", config);
    } catch (const Error& error) {
      id = error.id();
    }
  }
  CHECK(id == ErrorId::file_write);
  CHECK(test::names_in(folder.path()).empty());
}

TEST_CASE("a journal that could not be cut back refuses to append, and is in order when it is opened anew") {
  const test::TemporaryFolder folder;
  write_journal(folder / "on disk", {"first"});
  const std::string whole = test::read_all(folder / "on disk");
  const int memory = ::memfd_create("journal", MFD_ALLOW_SEALING | MFD_CLOEXEC);  // a file that can be sealed against cutting
  REQUIRE(memory >= 0);
  REQUIRE(::write(memory, whole.data(), whole.size()) == static_cast<ssize_t>(whole.size()));
  const std::string name = lorasb::concat("/proc/self/fd/", memory);
  std::filesystem::create_symlink(name, folder / "journal");
  std::string message;
  {
    Journal journal(folder / "journal", config);
    REQUIRE(::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    {
      const test::FileSizeLimit limit(whole.size() + 20);
      try {
        append(journal, "does not fit");
      } catch (const Error& error) {
        message = error.what();
      }
    }
    CHECK(
        message.ends_with("cannot append record 2: File too large; nor could the file be cut back to where it was: open the "
                          "journal anew"));
    CHECK(std::filesystem::file_size(folder / "journal") == whole.size() + 20);
    CHECK_ERROR(append(journal, "x"), ErrorId::file_write, "open the journal anew");
    CHECK(std::filesystem::file_size(folder / "journal") == whole.size() + 20);
    CHECK(journal.size() == 1);
    CHECK(records_of(journal) == std::vector<std::string>{"first"});
  }
  CHECK_ERROR(Journal(folder / "journal", config), ErrorId::file_write,
              "cannot cut off the last record: Operation not permitted");
  put_file(folder / "on disk", test::read_all(folder / "journal"));  // the same bytes where nothing is sealed
  Journal anew(folder / "on disk", config);
  CHECK(anew.dropped_bytes() == 20);
  append(anew, "second");
  CHECK(records_of(anew) == std::vector<std::string>{"first", "second"});
  ::close(memory);
}

TEST_CASE("a folder that may not be written takes no new journal, and a file that may not be written is left as it is") {
  const test::TemporaryFolder folder;
  write_journal(folder / "journal", {"first"});
  write_journal(folder / "open to all", {"first"});
  const std::string whole = test::read_all(folder / "journal");
  using std::filesystem::perms;
  std::filesystem::permissions(folder / "journal", perms(0444));
  std::filesystem::permissions(folder / "open to all", perms(0666));
  std::filesystem::permissions(folder.path(), perms(0555));
  {
    const PlainUser user;
    CHECK_ERROR(Journal(folder / "new", config), ErrorId::file_write,
                "new: cannot create a temporary file beside it: Permission");
    CHECK_ERROR(Journal(folder / "journal", config), ErrorId::file_open, "journal: cannot open the journal: Permission denied");
    write_journal(folder / "open to all", {"second"});
    CHECK(records_at(folder / "open to all") == std::vector<std::string>{"first", "second"});
  }
  std::filesystem::permissions(folder.path(), perms(0755));
  CHECK(test::read_all(folder / "journal") == whole);
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"journal", "open to all"});
}

TEST_CASE("an exception of the visitor passes through replay, and a record appended by it is not visited") {
  const test::TemporaryFolder folder;
  Journal journal(folder / "journal", config);
  append(journal, "1");
  append(journal, "2");
  CHECK_THROWS_AS(journal.replay([](std::span<const std::byte>) { throw 7; }), int);
  int visited = 0;
  journal.replay([&](std::span<const std::byte>) {
    ++visited;
    append(journal, "3");
  });
  CHECK(visited == 2);
  CHECK(records_of(journal) == std::vector<std::string>{"1", "2", "3", "3"});
}

TEST_CASE("Row 21: a process that ends within an append, at whatever byte, loses this record only") {
  const test::TemporaryFolder folder;
  const std::vector<std::string> records{"first", "second"};
  write_journal(folder / "journal", records);
  const std::string whole = test::read_all(folder / "journal");
  const std::string record = "never whole";
  for (std::size_t room = 0; room < head + record.size() + digest; ++room) {
    INFO(room << " bytes of the record");
    const pid_t child = in_child([&] {
      Journal journal(folder / "journal", config);
      const rlimit no_core = {0, 0}, limit = {whole.size() + room, whole.size() + room};
      ::setrlimit(RLIMIT_CORE, &no_core);
      ::setrlimit(RLIMIT_FSIZE, &limit);
      std::signal(SIGXFSZ, SIG_DFL);  // ends the process when it writes past the limit
      append(journal, record);
      return 0;
    });
    const int status = status_of(child);
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGXFSZ);
    CHECK(std::filesystem::file_size(folder / "journal") == whole.size() + room);
    const Journal journal(folder / "journal", config);
    CHECK(journal.dropped_bytes() == room);
    CHECK(records_of(journal) == records);
    CHECK(test::read_all(folder / "journal") == whole);
  }
}

TEST_CASE("Row 21: after kill -9 at any moment every record is there whose append had returned, and at most one more") {
  const test::TemporaryFolder folder;
  Random random(21);
  std::uint64_t known = 0;  // records of all runs so far
  int incomplete = 0, unreported = 0;
  for (int run = 0; run < 100; ++run) {
    INFO("run " << run);
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    const pid_t child = in_child([&] {
      ::close(pipe[0]);  // so that it ends by itself when nobody reads its reports any more
      Journal journal(folder / "journal", config);
      for (std::uint64_t n = journal.size();; ++n) {
        append(journal, nth_record(n));
        if (::write(pipe[1], "x", 1) != 1) return 1;
      }
    });
    ::close(pipe[1]);
    std::uint64_t reported = 0;
    const auto next_report = [&] {
      char byte;
      const bool got = ::read(pipe[0], &byte, 1) == 1;
      reported += got;
      return got;
    };
    for (std::uint64_t wait_for = random.below(4); reported < wait_for && next_report();) continue;
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(4'000)));
    ::kill(child, SIGKILL);
    const int status = status_of(child);
    REQUIRE(WIFSIGNALED(status));
    while (next_report()) continue;
    ::close(pipe[0]);

    if (!std::filesystem::exists(folder / "journal")) {  // killed before it had made the file
      CHECK(known + reported == 0);
      continue;
    }
    Journal journal(folder / "journal", config);
    incomplete += journal.dropped_bytes() > 0;
    unreported += journal.size() > known + reported;
    CHECK(journal.size() >= known + reported);
    CHECK(journal.size() <= known + reported + 1);
    std::uint64_t n = 0, wrong = 0;
    journal.replay([&](std::span<const std::byte> record) {
      const std::string expected = nth_record(n++);
      wrong += !std::ranges::equal(record, test::bytes_of(expected));
    });
    CHECK(n == journal.size());
    CHECK(wrong == 0);
    known = journal.size();
    if (std::filesystem::file_size(folder / "journal") > 2'000'000) {  // reading it takes longer each time
      std::filesystem::remove(folder / "journal");
      known = 0;
    }
  }
  SUCCEED(incomplete << " kills left an incomplete record, " << unreported << " one that was whole and not reported yet");
}
