#include "lorasb/io/atomic_file.hpp"

#include <sys/stat.h>

#include <memory>
#include <vector>

#include "io/files.hpp"
#include "support.hpp"

using lorasb::Error;
using lorasb::ErrorId;
using lorasb::io::AtomicFile;
using lorasb::io::write_file;
namespace test = lorasb::test;

TEST_CASE("a committed file holds what was written, and nothing stays beside it") {
  const test::TemporaryFolder folder;
  AtomicFile file(folder / "out");
  file.write(std::string_view("one "));
  const std::vector<std::byte> more{std::byte{'t'}, std::byte{'w'}, std::byte{'o'}};
  file.write(more);
  file.write(std::string_view());
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
  file.commit();
  CHECK(test::read_all(folder / "out") == "one two");
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out"});
}

TEST_CASE("a file that is not committed leaves no trace, and the old one as it was") {
  const test::TemporaryFolder folder;
  test::write_all(folder / "out", "old");
  {
    AtomicFile file(folder / "out");
    file.write(std::string_view("new"));
    CHECK(test::names_in(folder.path()).size() == 2);
  }
  CHECK(test::read_all(folder / "out") == "old");
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out"});
}

TEST_CASE("a name without a folder is in the current one") {
  const test::TemporaryFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_file("out", "here");
  std::filesystem::current_path(before);
  CHECK(test::read_all(folder / "out") == "here");
}

TEST_CASE("a new file has the permissions that any new file has") {
  const test::TemporaryFolder folder;
  write_file(folder / "ours", "x");
  test::write_all(folder / "theirs", "x");
  CHECK(std::filesystem::status(folder / "ours").permissions() == std::filesystem::status(folder / "theirs").permissions());
}

TEST_CASE("two writers of one name do not meet: the last one to commit wins, whole") {
  const test::TemporaryFolder folder;
  AtomicFile first(folder / "out");
  AtomicFile second(folder / "out");
  first.write(std::string_view("first"));
  second.write(std::string_view("second"));
  second.commit();
  first.commit();
  CHECK(test::read_all(folder / "out") == "first");
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out"});
}

TEST_CASE("of two writers that must not replace anything the first one to commit has the name, and the other one is told") {
  const test::TemporaryFolder folder;
  {
    AtomicFile first(folder / "out");
    AtomicFile second(folder / "out");
    first.write(std::string_view("first"));
    second.write(std::string_view("second"));
    CHECK(second.commit_new());
    CHECK_FALSE(first.commit_new());
    CHECK(test::read_all(folder / "out") == "second");
  }
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out"});
  std::filesystem::create_directory(folder / "taken");
  CHECK_FALSE(AtomicFile(folder / "taken").commit_new());
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out", "taken"});
}

TEST_CASE("a disk that fills up is an error, with the old file untouched and nothing left behind") {
  const test::TemporaryFolder folder;
  test::write_all(folder / "out", "old");
  const std::string large(1 << 20, 'x');
  std::string message;
  ErrorId id{};
  {
    const test::FileSizeLimit limit(100'000);
    try {
      write_file(folder / "out", large);
    } catch (const Error& error) {
      message = error.what();
      id = error.id();
    }
  }
  CHECK(id == ErrorId::file_write);
  CHECK(message.find((folder / "out").string() + ": cannot write: File too large") != std::string::npos);
  CHECK(test::read_all(folder / "out") == "old");
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out"});
}

TEST_CASE("a missing folder, and a name that is a folder, are errors that leave nothing behind") {
  const test::TemporaryFolder folder;
  CHECK_ERROR(AtomicFile(folder / "none/out"), ErrorId::file_write, "none/out: cannot open its folder: No such file");
  test::write_all(folder / "plain", "x");
  CHECK_ERROR(AtomicFile(folder / "plain/out"), ErrorId::file_write, "Not a directory");
  std::filesystem::create_directory(folder / "taken");
  CHECK_ERROR(write_file(folder / "taken", "x"), ErrorId::file_write, "taken: cannot rename to it");
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"plain", "taken"});
}
