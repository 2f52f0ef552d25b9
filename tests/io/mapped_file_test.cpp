#include "lorasb/io/mapped_file.hpp"

#include <sys/stat.h>

#include "io/files.hpp"
#include "support.hpp"

using lorasb::ErrorId;
using lorasb::io::MappedFile;
namespace test = lorasb::test;

TEST_CASE("a mapped file shows the bytes of the file") {
  const test::TemporaryFolder folder;
  const std::string text("a\0b\n\xff", 5);
  test::write_all(folder / "file", text);
  const MappedFile file(folder / "file");
  CHECK(file.text() == text);
  CHECK(file.bytes().size() == 5);
  CHECK(file.bytes()[4] == std::byte{0xff});
  CHECK(file.path() == folder / "file");
}

TEST_CASE("an empty file is mapped to no bytes") {
  const test::TemporaryFolder folder;
  test::write_all(folder / "empty", "");
  const MappedFile file(folder / "empty");
  CHECK(file.bytes().empty());
  CHECK(file.text().empty());
}

TEST_CASE("a mapping moves without moving its bytes") {
  const test::TemporaryFolder folder;
  test::write_all(folder / "one", "first");
  test::write_all(folder / "two", "second");
  MappedFile one(folder / "one");
  const std::string_view text = one.text();
  MappedFile moved(std::move(one));
  CHECK(moved.text().data() == text.data());
  MappedFile two(folder / "two");
  two = std::move(moved);
  CHECK(two.text() == "first");
  CHECK(text == "first");
}

TEST_CASE("a file stays readable after another one took its name") {
  const test::TemporaryFolder folder;
  test::write_all(folder / "file", "old");
  const MappedFile file(folder / "file");
  test::write_all(folder / "other", "new");
  std::filesystem::rename(folder / "other", folder / "file");
  CHECK(file.text() == "old");
}

TEST_CASE("what cannot be mapped is refused with its path and the reason") {
  const test::TemporaryFolder folder;
  CHECK_ERROR(MappedFile(folder / "none"), ErrorId::file_open, "none: No such file or directory");
  CHECK_ERROR(MappedFile(folder.path()), ErrorId::file_open, "not a regular file");
  CHECK_ERROR(MappedFile(""), ErrorId::file_open, "No such file");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_ERROR(MappedFile(folder / "pipe"), ErrorId::file_open, "pipe: it is not a regular file");
}
