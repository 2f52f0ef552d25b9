#include "lorasb/io/tfjs.hpp"

#include "support.hpp"
#include "io/files.hpp"

using namespace lorasb;
using namespace lorasb::io;
using lorasb::test::TemporaryFolder;

namespace {
std::string bytes_of(const std::vector<float>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), 4 * numbers.size()};
}

std::string manifest(std::string_view weights, std::string_view paths = R"(["one", "two"])") {
  return concat(R"({"weightsManifest": [{"paths": )", paths, R"(, "weights": [)", weights, "]}]}");
}

constexpr std::string_view two_tensors =
    R"({"name": "a", "shape": [2, 3], "dtype": "float32"}, {"name": "b", "shape": [], "dtype": "int32"})";
}  // namespace

TEST_CASE("Tensors are read in order, also across the files' borders") {
  const TemporaryFolder folder;
  const std::string bytes = bytes_of({1, 2, 3, 4, 5, 6, 7});
  for (const std::size_t cut : {0, 1, 4, 10, 24, 28}) {
    folder.write("one", bytes.substr(0, cut));
    folder.write("two", bytes.substr(cut));
    std::vector<float> all;
    std::string names;
    read_tfjs(folder.write("model.json", manifest(two_tensors)), [&](const TfjsTensor& tensor, std::span<const float> numbers) {
      names += concat(tensor.name, " ", tensor.type, " ", tensor.rows, " x ", tensor.cols, "; ");
      all.insert(all.end(), numbers.begin(), numbers.end());
    });
    CHECK(names == "a float32 2 x 3; b int32 1 x 1; ");
    CHECK(all == std::vector<float>{1, 2, 3, 4, 5, 6, 7});
  }
}

TEST_CASE("Model files that are not what they should be are refused by name") {
  const TemporaryFolder folder;
  folder.write("one", bytes_of({1, 2, 3}));
  folder.write("two", bytes_of({4, 5, 6, 7}));
  const auto check = [&](std::string_view json, const std::string& message) {
    CHECK_ERROR(read_tfjs(folder.write("model.json", json), [](const TfjsTensor&, std::span<const float>) {}), ErrorId::model,
                message);
  };
  check("", "model.json");
  check("{}", "weightsManifest");
  check(R"({"weightsManifest": []})", "model.json");
  check(manifest(R"({"name": "a", "dtype": "float32"})"), "shape");
  check(manifest(R"({"name": "a", "shape": "x", "dtype": "float32"})"), "\"a\" has the shape \"x\"");
  check(manifest(R"({"name": "a", "shape": [1e300], "dtype": "float32"})"), "\"a\" has the shape [1e+300]");  // found by the fuzzer
  check(manifest(R"({"name": "a", "shape": [1.5], "dtype": "float32"})"), "\"a\" has the shape [1.5]");
  check(manifest(R"({"name": "a", "shape": [-1], "dtype": "float32"})"), "\"a\" has the shape [-1]");
  check(manifest(R"({"name": "a", "shape": [4294967296, 4294967296], "dtype": "float32"})"), "\"a\" has the shape");
  check(manifest(R"({"name": "a", "shape": [0, 1073741824, 1073741824], "dtype": "float32"})"), "hold 28 bytes");
  check(manifest(R"({"name": "a", "shape": [7], "dtype": "float16"})"), "\"a\" is float16");
  check(manifest(R"({"name": "a", "shape": [7], "dtype": "float32", "quantization": {}})"), "\"a\" is float32, quantised");
  check(manifest(R"({"name": "a", "shape": [6], "dtype": "float32"})"), "hold 28 bytes, but \"model.json\" lists 24");
  check(manifest(R"({"name": "a", "shape": [1000000000], "dtype": "float32"})"), "lists 4000000000");
  check(manifest(two_tensors, R"(["one"])"), "hold 12 bytes");
  check(manifest(two_tensors, R"(["one", "three"])"), "three");
}
