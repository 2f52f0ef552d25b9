#include "lorasb/io/write_json.hpp"

#include "io/files.hpp"
#include "lorasb/io/json.hpp"
#include "lorasb/io/make_folder.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("A JSON file is indented, ends in a newline and reads back; text that is not UTF-8 leaves the old file") {
  const TemporaryFolder folder;
  io::write_json(folder / "a.json", {{"b", {1, 2}}, {"a", "x"}});
  CHECK(read_all(folder / "a.json") == "{\n \"a\": \"x\",\n \"b\": [\n  1,\n  2\n ]\n}\n");
  CHECK_ERROR(io::write_json(folder / "a.json", {{"a", "\xFF"}}), ErrorId::value, "a.json");
  CHECK(io::read_json(folder / "a.json")["a"] == "x");
  CHECK_ERROR(io::write_json(folder / "none" / "a.json", {}), ErrorId::file_write, "none");
}

TEST_CASE("A folder for results is made with those above it, and a place that cannot be one is refused") {
  const TemporaryFolder folder;
  io::make_folder(folder / "a/b/c");
  io::make_folder(folder / "a/b/c");
  CHECK(std::filesystem::is_directory(folder / "a/b/c"));
  const std::filesystem::path file = folder.write("file", "x");
  CHECK_ERROR(io::make_folder(file, "--out"), ErrorId::file_write, "--out: \"" + file.string() + "\" is no folder that can be written to");
  CHECK_ERROR(io::make_folder(file / "below"), ErrorId::file_write, "is no folder");
}
