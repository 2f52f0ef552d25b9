#include "lorasb/io/safetensors_writer.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lorasb/io/safetensors.hpp"
#include "support.hpp"

using lorasb::Error;
using lorasb::ErrorId;
using lorasb::Index;
using lorasb::Weight;
using lorasb::Dtype;
using lorasb::io::plan_safetensors;
using lorasb::io::SafetensorsFile;
using lorasb::io::tensor_bytes;
using lorasb::io::TensorBytes;
using lorasb::io::write_safetensors;
namespace test = lorasb::test;

TEST_CASE("a file is byte for byte what the numpy script writes, whatever the order of the tensors") {
  Weight<double> numbers(3, 4);
  for (Index i = 0; i < 12; ++i) numbers.data()[i] = static_cast<double>(i) / 8 - 0.5;
  const Weight<float> weight = numbers.cast<float>();
  const Weight<float> empty(0, 4);
  const double pi = 3.141592653589793;
  const std::int64_t longs[] = {-1, std::int64_t{1} << 40};
  const std::uint8_t bytes[] = {0, 127, 255};
  std::vector<TensorBytes> tensors{
      tensor_bytes("bytes", std::span<const std::uint8_t>(bytes)),
      tensor_bytes("weight", weight),
      tensor_bytes("empty", empty),
      tensor_bytes("Grüße", std::span<const float>(weight.data(), 4)),
      {"long", Dtype::i64, {1, 2}, std::as_bytes(std::span(longs))},
      {"b.double", Dtype::f64, {}, std::as_bytes(std::span(&pi, 1))},
      tensor_bytes("a.double", numbers),
  };
  const test::TemporaryFolder folder;
  write_safetensors(folder / "out", tensors, {{"format", "pt"}, {"note", "line\nbreak"}});
  const std::string golden = test::read_all(std::filesystem::path(LORASB_TEST_DIR) / "golden" / "ordered.safetensors");
  CHECK(test::read_all(folder / "out") == golden);

  std::reverse(tensors.begin(), tensors.end());
  write_safetensors(folder / "out", tensors, {{"format", "pt"}, {"note", "line\nbreak"}});
  CHECK(test::read_all(folder / "out") == golden);
}

TEST_CASE("headers are those of the reference implementation's own tests") {
  const std::vector<float> numbers{0, 1, 2, 3, 4, 5};
  const std::span<const std::byte> bytes = std::as_bytes(std::span(numbers));
  CHECK(plan_safetensors({{"attn.0", Dtype::f32, {1, 2, 3}, bytes}}).header ==
        test::safetensors_text(R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})"));
  CHECK(plan_safetensors({{"attn0", Dtype::f32, {1, 1, 2, 3}, bytes}}).header ==
        test::safetensors_text(R"({"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}}       )"));
  CHECK(plan_safetensors({}).header == test::safetensors_text("{}      "));
  CHECK(plan_safetensors({}, {{"framework", "pt"}}).header ==
        test::safetensors_text(R"({"__metadata__":{"framework":"pt"}}     )"));
}

TEMPLATE_TEST_CASE("what is written is read with the same bits", "", float, double) {
  const test::TemporaryFolder folder;
  Weight<TestType> W = test::random_matrix<Weight<TestType>>(7, 5, 1);
  W(0, 0) = TestType(-0.0);
  W(0, 1) = std::numeric_limits<TestType>::denorm_min();
  W(0, 2) = std::numeric_limits<TestType>::infinity();
  W(0, 3) = std::numeric_limits<TestType>::quiet_NaN();
  const Weight<TestType> scalar_sized(1, 1);
  write_safetensors(folder / "out", {tensor_bytes("W", W), tensor_bytes("w", scalar_sized)});
  const SafetensorsFile file(folder / "out");
  const Weight<TestType> back = file.read_weight<TestType>("W");
  CHECK(std::memcmp(back.data(), W.data(), sizeof(TestType) * 35) == 0);
  CHECK(file.view_weight<TestType>("W").rows() == 7);  // aligned
  CHECK(file.metadata().empty());
}

TEST_CASE("odd sizes before wide types stay aligned, as wide types come first") {
  const test::TemporaryFolder folder;
  const Weight<float> odd = test::random_matrix<Weight<float>>(1, 3, 1);
  const Weight<double> wide = test::random_matrix<Weight<double>>(1, 3, 2);
  write_safetensors(folder / "out", {tensor_bytes("a", odd), tensor_bytes("b", wide), tensor_bytes("name of any length", odd)});
  const SafetensorsFile file(folder / "out");
  CHECK(file.view_weight<double>("b") == wide);
  CHECK(file.view_weight<float>("a") == odd);
}

TEST_CASE("tensors that cannot be written are refused by name") {
  const std::vector<float> numbers(6);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(numbers));
  const Index huge = Index{1} << 40;
  CHECK_ERROR(plan_safetensors({{"x", Dtype::f32, {2, 2}, bytes}}), ErrorId::value,
              "\"x\" (F32, 2 x 2) has 24 bytes, expected 16");
  CHECK_ERROR(plan_safetensors({{"x", Dtype::f32, {-2, -3}, bytes}}), ErrorId::value, "shape -2 x -3 cannot be");
  CHECK_ERROR(plan_safetensors({{"x", Dtype::f32, {huge, huge}, bytes}}), ErrorId::value, "cannot be");
  CHECK_ERROR(plan_safetensors({{"x", Dtype::f32, {6}, bytes}, {"x", Dtype::f32, {6}, bytes}}), ErrorId::duplicate_name,
              "\"x\"");
  CHECK_ERROR(plan_safetensors({{"__metadata__", Dtype::f32, {6}, bytes}}), ErrorId::duplicate_name, "__metadata__");
  CHECK_ERROR(plan_safetensors({{"\xff", Dtype::f32, {6}, bytes}}), ErrorId::value, "not UTF-8");
  CHECK_ERROR(plan_safetensors({}, {{"key", "\xc3("}}), ErrorId::value, "not UTF-8");
  CHECK_ERROR(plan_safetensors({{"x", Dtype::f32, std::vector<Index>(65, 1), bytes}}), ErrorId::value, "65 dimensions");
}

TEST_CASE("a tensor file on a full disk leaves the old one readable and nothing beside it") {
  const test::TemporaryFolder folder;
  const Weight<double> old = test::random_matrix<Weight<double>>(4, 4, 1);
  const Weight<double> large = test::random_matrix<Weight<double>>(200, 200, 2);
  write_safetensors(folder / "out", {tensor_bytes("W", old)});
  ErrorId id{};
  for (const std::size_t limit_bytes : {0, 10, 200, 319'999}) {
    const test::FileSizeLimit limit(limit_bytes);
    try {
      write_safetensors(folder / "out", {tensor_bytes("W", large)});
      id = {};
    } catch (const Error& error) {
      id = error.id();
    }
    if (id != ErrorId::file_write) break;
  }
  CHECK(id == ErrorId::file_write);
  CHECK(SafetensorsFile(folder / "out").read_weight<double>("W") == old);
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"out"});
}
