#include "lorasb/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lorasb/io/safetensors_writer.hpp"
#include "support.hpp"

using lorasb::Bfloat16;
using lorasb::ConstWeightView;
using lorasb::ErrorId;
using lorasb::FrozenWeight;
using lorasb::Index;
using lorasb::Vector;
using lorasb::Weight;
using lorasb::Dtype;
using lorasb::io::SafetensorsFile;
namespace io = lorasb::io;
namespace test = lorasb::test;

using lorasb::Bfloat16, lorasb::Dtype, lorasb::dtype_of, lorasb::FrozenWeight;

namespace {

const std::filesystem::path golden = std::filesystem::path(LORASB_TEST_DIR) / "golden";

/// arange(12).reshape(3, 4) / 8 - 0.5, as in golden/safetensors_numpy.py.
template <lorasb::Real S>
Weight<S> golden_numbers() {
  Weight<S> m(3, 4);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<S>(i) / 8 - S(0.5);
  return m;
}

/// The value of an IEEE half, by its definition.
double half_value(unsigned bits) {
  const int exponent = static_cast<int>((bits >> 10) & 31);
  const double fraction = bits & 1023;
  double value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 31) value = fraction == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
  return bits & 0x8000 ? -value : value;
}

/// All 65536 values of a 16-bit type, in order of their bits.
std::string all_of(std::string_view dtype) {
  std::string data(2 * 65536, '\0');
  for (unsigned bits = 0; bits < 65536; ++bits) {
    data[2 * bits] = static_cast<char>(bits & 255);
    data[2 * bits + 1] = static_cast<char>(bits >> 8);
  }
  return test::safetensors_text(
      "{\"all\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":[65536],\"data_offsets\":[0,131072]}}", data);
}

}  // namespace

TEST_CASE("a file written by numpy reads with its names, types, shapes and metadata") {
  const SafetensorsFile file(golden / "ordered.safetensors");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "line\nbreak"}});
  REQUIRE(file.tensors().size() == 7);
  CHECK(file.tensors().front().name == "a.double");
  CHECK(file.at("Grüße").shape == std::vector<Index>{4});
  CHECK(file.at("empty").shape == std::vector<Index>{0, 4});
  CHECK(file.at("empty").elements() == 0);
  CHECK(file.at("b.double").shape.empty());
  CHECK(file.at("b.double").elements() == 1);
  CHECK(file.at("weight").dtype == Dtype::f32);
  CHECK(file.contains("weight"));
  CHECK_FALSE(file.contains("weigh"));
  CHECK(file.view<std::int64_t>("long")[1] == std::int64_t{1} << 40);
  CHECK(file.view<double>("b.double")[0] == 3.141592653589793);
  CHECK(file.view<std::uint8_t>("bytes")[2] == 255);
  CHECK(file.bytes("bytes").size() == 3);
}

TEMPLATE_TEST_CASE("numbers of every floating type convert to float and double, at any address", "", float, double) {
  const Weight<TestType> expected = golden_numbers<TestType>();
  const SafetensorsFile file(golden / "unpadded.safetensors");
  REQUIRE(file.at("f32").begin % 4 == 3);
  for (const char* name : {"f16", "bf16", "f32", "f64"}) {
    INFO(name);
    CHECK(file.read_weight<TestType>(name) == expected);
    Weight<TestType> buffer(3, 4);
    file.read<TestType>(name, lorasb::flat(buffer));
    CHECK(buffer == expected);
  }
  const Vector<TestType> first_row = SafetensorsFile(golden / "ordered.safetensors").read_vector<TestType>("Grüße");
  CHECK(first_row == expected.row(0).transpose());
  CHECK(SafetensorsFile(golden / "ordered.safetensors").read_weight<TestType>("empty").rows() == 0);
}

TEST_CASE("a view of a tensor is the memory of the file, and moves with it") {
  SafetensorsFile file(golden / "ordered.safetensors");
  const ConstWeightView<float> W = file.view_weight<float>("weight");
  CHECK(W == golden_numbers<float>());
  CHECK(reinterpret_cast<const std::byte*>(W.data()) == file.bytes("weight").data());
  const SafetensorsFile moved = std::move(file);
  CHECK(moved.view_weight<float>("weight").data() == W.data());
  CHECK(W(2, 3) == 0.875F);
}

TEST_CASE("a view never converts or copies: another type, odd addresses and other shapes are refused") {
  const SafetensorsFile file(golden / "unpadded.safetensors");
  CHECK_ERROR(file.view<float>("f64"), ErrorId::tensor_mismatch, "tensor \"f64\" is F64, expected F32");
  CHECK_ERROR(file.view<double>("f32"), ErrorId::tensor_mismatch, "is F32, expected F64");
  CHECK_ERROR(file.view<float>("f16"), ErrorId::tensor_mismatch, "is F16, expected F32");
  CHECK_ERROR(file.view<float>("f32"), ErrorId::tensor_mismatch, "expected a multiple of 4");
  CHECK_ERROR(file.view<float>("none"), ErrorId::tensor_missing, "no tensor \"none\" among 5");
  CHECK_ERROR(file.view_weight<float>("three"), ErrorId::tensor_mismatch, "is 3, expected 2 dimensions");
  CHECK_ERROR(file.read_weight<float>("three"), ErrorId::tensor_mismatch, "is 3, expected 2 dimensions");
  CHECK_ERROR(file.read_vector<float>("f32"), ErrorId::tensor_mismatch, "is 3 x 4, expected 1 dimension");
  CHECK_ERROR(file.read_vector<float>("three"), ErrorId::tensor_mismatch, "is U8, expected F64, F32, F16 or BF16");
  std::vector<float> small(11);
  CHECK_ERROR(file.read<float>("f32", small), ErrorId::tensor_mismatch, "(3 x 4) has 12 numbers, expected 11");
  CHECK_ERROR(SafetensorsFile(golden / "none"), ErrorId::file_open, "none");
}

TEMPLATE_TEST_CASE("every half and every bfloat16 reads as the number that it is", "", float, double) {
  const test::TemporaryFolder folder;
  test::write_all(folder / "f16", all_of("F16"));
  test::write_all(folder / "bf16", all_of("BF16"));
  const Vector<TestType> half = SafetensorsFile(folder / "f16").read_vector<TestType>("all");
  const Vector<TestType> brain = SafetensorsFile(folder / "bf16").read_vector<TestType>("all");
  int wrong = 0;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const double expected = half_value(bits);
    const auto x = static_cast<double>(half[bits]);
    if (std::isnan(expected) ? !std::isnan(x) : x != expected || std::signbit(x) != std::signbit(expected)) ++wrong;
    const auto float_expected = std::bit_cast<float>(std::uint32_t(bits << 16));
    const auto y = static_cast<float>(brain[bits]);
    if (std::isnan(float_expected) ? !std::isnan(y) : std::bit_cast<std::uint32_t>(y) != bits << 16) ++wrong;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("a frozen weight stays in the file, wide or narrow", "", float, double) {
  using S = TestType;
  const test::TemporaryFolder folder;
  const Weight<S> wide = test::random_matrix<Weight<S>>(3, 4, 1);
  const Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> narrow = wide.template cast<Bfloat16>();
  const auto bytes = [](const auto& m) { return std::as_bytes(std::span(m.data(), static_cast<std::size_t>(m.size()))); };
  io::write_safetensors(folder / "model", {{"wide", dtype_of<S>, {3, 4}, bytes(wide)},
                                           {"narrow", Dtype::bf16, {3, 4}, bytes(narrow)},
                                           {"flat", Dtype::bf16, {12}, bytes(narrow)},
                                           {"half", Dtype::f16, {3, 4}, bytes(narrow)},
                                           {"whole", Dtype::i32, {3, 2}, bytes(narrow)}});
  const SafetensorsFile file(folder / "model");
  const FrozenWeight<S> W = file.view_frozen<S>("wide"), N = file.view_frozen<S>("narrow");
  CHECK(W.dtype() == dtype_of<S>);
  CHECK(W.widened() == wide);
  CHECK(N.dtype() == Dtype::bf16);
  CHECK(N.widened() == narrow.template cast<S>());
  CHECK(N.bytes() == file.bytes("narrow").data());
  CHECK_ERROR(file.view_frozen<S>("flat"), ErrorId::tensor_mismatch, "expected 2 dimensions");
  CHECK(file.view_frozen<S>("half").dtype() == Dtype::f16);
  CHECK_ERROR(file.view_frozen<S>("whole"), ErrorId::tensor_mismatch, "is I32");
}

TEST_CASE("tensors of narrow types keep their bytes, and their numbers are refused by the type's name") {
  const lorasb::test::TemporaryFolder folder;
  for (const char* type : {"F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"}) {
    INFO(type);
    const Dtype dtype = *lorasb::dtype_named(type);
    const std::string data("\x01\x80\xff\x7f\x00\x10\x20\x30\x40", lorasb::bytes_of(dtype, 4));
    const std::string header = lorasb::concat(R"({"w":{"dtype":")", type, R"(","shape":[2,2],"data_offsets":[0,)", data.size(),
                                              R"(]},"f":{"dtype":"F32","shape":[1],"data_offsets":[)", data.size(), ",", data.size() + 4, "]}}");
    const SafetensorsFile file(folder.write("file", lorasb::test::safetensors_text(header, data + std::string("\0\0\x80\x3f", 4))));
    CHECK(file.at("w").elements() == 4);
    CHECK(std::ranges::equal(file.bytes("w"), lorasb::test::bytes_of(data)));
    CHECK(file.read_vector<double>("f")(0) == 1);  // a neighbour is read
    for (const auto& read : {std::function<void()>([&] { (void)file.read_weight<float>("w"); }), std::function<void()>([&] { (void)file.read_weight<double>("w"); }),
                             std::function<void()>([&] { (void)file.view<float>("w"); }), std::function<void()>([&] { (void)file.view_frozen<float>("w"); })})
      CHECK_ERROR((read(), 0), ErrorId::tensor_mismatch, lorasb::concat("tensor \"w\" is ", type, ", expected"));
    const std::string again = (folder / "again").string();  // and written again they are the same file
    lorasb::io::write_safetensors(again, std::vector<lorasb::io::TensorBytes>{{"w", dtype, {2, 2}, file.bytes("w")}});
    CHECK(std::ranges::equal(SafetensorsFile(again).bytes("w"), lorasb::test::bytes_of(data)));
  }
}
