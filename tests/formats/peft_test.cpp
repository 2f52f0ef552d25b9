#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "lorasb/io/json.hpp"
#include "lorasb/io/safetensors.hpp"
#include "lorasb/io/safetensors_writer.hpp"
#include "support.hpp"

using lorasb::AdapterSet;
using lorasb::Dtype;
using lorasb::dtype_of;
using lorasb::Error;
using lorasb::ErrorId;
using lorasb::Index;
using lorasb::LoraAdapter;
using lorasb::LowRankAdapter;
using lorasb::NamedSet;
using lorasb::Real;
using lorasb::Weight;
using lorasb::formats::AdapterFolder;
using lorasb::formats::NamedTensor;
using lorasb::formats::read_adapter_folder;
using lorasb::formats::write_folded;
using lorasb::formats::write_lora;
using lorasb::formats::write_native;
using lorasb::io::SafetensorsFile;
namespace io = lorasb::io;
namespace test = lorasb::test;

namespace {

const std::filesystem::path golden = std::filesystem::path(LORASB_TEST_DIR) / "golden";

template <Real S>
LowRankAdapter<S> random_adapter(Index out, Index in, Index rank, S scale, std::uint64_t seed) {
  return {.B = test::random_matrix<Weight<S>>(out, rank, seed, 0),
          .R = test::random_matrix<Weight<S>>(rank, rank, seed, 1),
          .A = test::random_matrix<Weight<S>>(rank, in, seed, 2),
          .scale = scale};
}

/// Two modules of one rank and scale; the first name comes after the second in the alphabet.
template <Real S>
AdapterSet<S> small_set() {
  AdapterSet<S> set;
  set.add("layers.1.query", random_adapter<S>(5, 7, 2, S(0.1), 1));
  set.add("layers.0.value", random_adapter<S>(6, 4, 2, S(0.1), 2));
  return set;
}
template <Real S>
std::vector<NamedTensor<S>> small_head() {
  return {{"classifier.weight", {2, 3}, {1, 2, 3, 4, 5, S(1) / 3}},
          {"classifier.bias", {2}, {S(-0.0), 8}},
          {"norm.scale", {}, {9}}};
}

template <Real S>
bool same_bits(const Weight<S>& a, const Weight<S>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(S)) == 0;
}
template <Real S>
bool same_bits(const AdapterSet<S>& a, const AdapterSet<S>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && same_bits<S>(x.second.B, y.second.B) && same_bits<S>(x.second.R, y.second.R) &&
           same_bits<S>(x.second.A, y.second.A) && x.second.scale == y.second.scale;
  });
}

/// s B R A, in double.
template <Real S>
Weight<double> update(const LowRankAdapter<S>& adapter) {
  return double(adapter.scale) * adapter.B.template cast<double>() * adapter.R.template cast<double>() *
         adapter.A.template cast<double>();
}

/// A set of one.
lorasb::NamedSet<lorasb::LoraAdapter<float>> named(const lorasb::LoraAdapter<float>& lora) {
  lorasb::NamedSet<lorasb::LoraAdapter<float>> set;
  set.add("module", lora);
  return set;
}

/// The two files of a folder, to be changed and written again.
struct RawFolder {
  struct Tensor {
    Dtype dtype;
    std::vector<Index> shape;
    std::string bytes;
  };
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
  nlohmann::ordered_json config;

  explicit RawFolder(const std::filesystem::path& folder)
      : config(io::read_json<nlohmann::ordered_json>(folder / "adapter_config.json")) {
    const SafetensorsFile file(folder / "adapter_model.safetensors");
    metadata = file.metadata();
    for (const io::TensorInfo& tensor : file.tensors()) {
      const std::span<const std::byte> bytes = file.bytes(tensor.name);
      tensors[tensor.name] = {tensor.dtype, tensor.shape, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
    }
  }
  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    std::vector<io::TensorBytes> list;
    for (const auto& [name, tensor] : tensors) list.push_back({name, tensor.dtype, tensor.shape, test::bytes_of(tensor.bytes)});
    io::write_safetensors(folder / "adapter_model.safetensors", list, metadata);
    test::write_all(folder / "adapter_config.json", config.dump());
  }
  Tensor& operator[](const std::string& name) { return tensors.at("base_model.model." + name); }
  void set(const std::string& name, std::vector<Index> shape, std::vector<float> numbers) {
    tensors["base_model.model." + name] = {
        Dtype::f32, std::move(shape), {reinterpret_cast<const char*>(numbers.data()), 4 * numbers.size()}};
  }
  void rename(const std::string& from, const std::string& to) {
    tensors["base_model.model." + to] = tensors.at("base_model.model." + from);
    tensors.erase("base_model.model." + from);
  }
  void erase(const std::string& name) { REQUIRE(tensors.erase("base_model.model." + name) == 1); }
};

/// A small native folder with a head, a change of it, and the error that reading it must give.
template <class Change>
void check_refused(const Change& change, ErrorId id, const std::string& part) {
  const test::TemporaryFolder folder;
  write_native<float>(folder / "adapter", small_set<float>(), small_head<float>());
  RawFolder raw(folder / "adapter");
  change(raw);
  raw.write(folder / "adapter");
  CHECK_ERROR(read_adapter_folder<float>(folder / "adapter"), id, part);
  CHECK_ERROR(read_adapter_folder<float>(folder / "adapter"), id, (folder / "adapter").string());
}

}  // namespace

TEMPLATE_TEST_CASE("a native folder gives back the same bits, in the same order, with its head", "", float, double) {
  const test::TemporaryFolder folder;
  AdapterSet<TestType> set = small_set<TestType>();
  set.at("layers.1.query").B(0, 0) = TestType(-0.0);
  set.at("layers.1.query").A(1, 2) = std::numeric_limits<TestType>::denorm_min();
  write_native<TestType>(folder / "run/adapter", set, small_head<TestType>(), "base/model");
  const AdapterFolder<TestType> back = read_adapter_folder<TestType>(folder / "run/adapter");
  CHECK(same_bits(back.adapters, set));
  CHECK(back.base_model == "base/model");
  REQUIRE(back.full_tensors.size() == 3);
  for (const NamedTensor<TestType>& tensor : small_head<TestType>())
    CHECK(std::find(back.full_tensors.begin(), back.full_tensors.end(), tensor) != back.full_tensors.end());
  CHECK(test::names_in(folder / "run/adapter") == std::set<std::string>{"adapter_config.json", "adapter_model.safetensors"});

  const SafetensorsFile file(folder / "run/adapter/adapter_model.safetensors");
  std::map<std::string, std::string> metadata{{"format", "pt"}, {"lorasb", "native"}};
  for (const auto& [module, adapter] : set) metadata["lorasb.scale." + module] = lorasb::concat(double(adapter.scale));
  CHECK(file.metadata() == metadata);
  CHECK(file.at("base_model.model.layers.0.value.lora_A.weight").shape == std::vector<Index>{2, 4});
  CHECK(file.at("base_model.model.layers.0.value.lora_B.weight").shape == std::vector<Index>{6, 2});
  CHECK(file.at("base_model.model.layers.0.value.default_lora_latent_mapping.weight").shape == std::vector<Index>{2, 2});
  CHECK(file.at("base_model.model.classifier.weight").shape == std::vector<Index>{2, 3});
  CHECK(file.at("base_model.model.layers.0.value.lora_A.weight").dtype == dtype_of<TestType>);
}

TEST_CASE("a folder can be written over an older one") {
  const test::TemporaryFolder folder;
  write_native<float>(folder.path(), small_set<float>(), small_head<float>());
  AdapterSet<float> other;
  other.add("other", random_adapter<float>(3, 3, 3, 2, 9));
  write_native<float>(folder.path(), other);
  CHECK(same_bits(read_adapter_folder<float>(folder.path()).adapters, other));
}

TEST_CASE("the configuration is PEFT's, with one key more for native folders and none for folded ones") {
  const test::TemporaryFolder folder;
  AdapterSet<float> set;
  set.add("layers.1.query", random_adapter<float>(5, 7, 2, 0.5F, 1));
  nlohmann::json expected{{"peft_type", "LORA"},
                          {"task_type", nullptr},
                          {"base_model_name_or_path", "base/model"},
                          {"inference_mode", true},
                          {"r", 2},
                          {"lora_alpha", 1},
                          {"lora_dropout", 0.0},
                          {"target_modules", {"layers.1.query"}},
                          {"modules_to_save", {"classifier", "norm"}},
                          {"rank_pattern", nlohmann::json::object()},
                          {"alpha_pattern", nlohmann::json::object()},
                          {"bias", "none"},
                          {"fan_in_fan_out", false},
                          {"init_lora_weights", true}};
  write_folded<float>(folder / "folded", set, small_head<float>(), "base/model");
  CHECK(io::read_json(folder / "folded/adapter_config.json") == expected);
  const SafetensorsFile folded(folder / "folded/adapter_model.safetensors");
  CHECK(folded.metadata().at("format") == "pt");
  CHECK_FALSE(folded.metadata().contains("lorasb"));  // or readers would look for R

  expected["modules_to_save"] = nullptr;
  expected["base_model_name_or_path"] = nullptr;
  expected["peft_type"] = "LORASB";  // PEFT refuses it; as "LORA" it would drop R in silence
  expected["lorasb"] = {{"format", "native"}, {"version", 1}, {"scale", {{"layers.1.query", 0.5}}}};
  write_native<float>(folder / "native", set);
  CHECK(io::read_json(folder / "native/adapter_config.json") == expected);
}

TEST_CASE("a native folder that says LORA, as folders of before did, is read all the same") {
  const test::TemporaryFolder folder;
  write_native<float>(folder.path(), small_set<float>(), small_head<float>());
  nlohmann::ordered_json config = io::read_json<nlohmann::ordered_json>(folder / "adapter_config.json");
  config["peft_type"] = "LORA";
  io::write_file(folder / "adapter_config.json", config.dump());
  CHECK(same_bits(read_adapter_folder<float>(folder.path()).adapters, small_set<float>()));
}

TEMPLATE_TEST_CASE("a folded folder gives readers of plain LoRA s B R A", "", float, double) {
  const test::TemporaryFolder folder;
  const AdapterSet<TestType> set = small_set<TestType>();
  write_folded<TestType>(folder.path(), set, small_head<TestType>());
  const nlohmann::json config = io::read_json(folder / "adapter_config.json");
  const double scaling = config.at("lora_alpha").get<double>() / config.at("r").get<double>();
  CHECK(scaling == static_cast<double>(TestType(0.1)));
  const SafetensorsFile file(folder / "adapter_model.safetensors");
  CHECK(file.tensors().size() == 7);
  for (const auto& [module, adapter] : set) {
    const Weight<TestType> B = file.read_weight<TestType>("base_model.model." + module + ".lora_B.weight");
    const Weight<TestType> A = file.read_weight<TestType>("base_model.model." + module + ".lora_A.weight");
    CHECK(same_bits<TestType>(A, adapter.A));
    const Weight<double> BR = adapter.B.template cast<double>() * adapter.R.template cast<double>();
    if constexpr (std::same_as<TestType, float>) CHECK(B == BR.cast<float>());  // summed in double, rounded once
    CHECK(test::relative_error(B, BR) < test::Tolerance<TestType>::exact);
    const Weight<double> added = scaling * B.template cast<double>() * A.template cast<double>();
    CHECK(test::relative_error(added, update(adapter)) <
          test::Tolerance<TestType>::exact);  // one rounding of each entry of B R
  }
  const AdapterFolder<TestType> plain = read_adapter_folder<TestType>(folder.path(), {.plain_lora = true});
  CHECK(plain.adapters.at("layers.1.query").R == Weight<TestType>::Identity(2, 2));
  CHECK(plain.adapters.at("layers.1.query").scale == TestType(0.1));
  CHECK(plain.full_tensors.size() == 3);
  CHECK_ERROR(read_adapter_folder<TestType>(folder.path()), ErrorId::adapter_folder, "plain LoRA, without R");
}

TEMPLATE_TEST_CASE("modules of other ranks and scales keep them, also when one name ends in another", "", float, double) {
  const test::TemporaryFolder folder;
  AdapterSet<TestType> set;
  std::uint64_t seed = 1;
  for (const char* name : {"query", "a.query", "b.query", "0.a.query", "a_query", "x.value"}) {
    set.add(name, random_adapter<TestType>(9, 8, Index(seed), TestType(0.3) * TestType(seed), seed));
    ++seed;
  }
  write_native<TestType>(folder / "native", set);
  CHECK(same_bits(read_adapter_folder<TestType>(folder / "native").adapters, set));

  write_folded<TestType>(folder / "folded", set);
  const AdapterFolder<TestType> folded = read_adapter_folder<TestType>(folder / "folded", {.plain_lora = true});
  for (const auto& [module, adapter] : set) {
    INFO(module);
    CHECK(folded.adapters.at(module).rank() == adapter.rank());
    CHECK(test::relative_error(update(folded.adapters.at(module)), update(adapter)) < test::Tolerance<TestType>::exact);
  }
}

TEST_CASE("alpha / r gives back every float scale, and a double scale to the last place") {
  lorasb::Random random(5);
  int exact = 0;
  const int trials = 20'000;
  for (int i = 0; i < trials; ++i) {
    const auto rank = static_cast<Index>(1 + random.below(300));
    const double scale = std::exp(8 * random.normal());
    const auto narrow = static_cast<float>(scale);
    REQUIRE(lorasb::formats::detail::alpha_for(narrow, rank) / static_cast<double>(rank) == static_cast<double>(narrow));
    const double quotient = lorasb::formats::detail::alpha_for(scale, rank) / static_cast<double>(rank);
    REQUIRE(std::abs(quotient - scale) <= std::numeric_limits<double>::epsilon() * scale);
    if (quotient == scale) ++exact;
  }
  CHECK(exact > trials / 2);
  CHECK(exact < trials);  // which is why native folders store s as well
}

TEST_CASE("a native folder gives back a double scale that alpha / r misses") {
  const Index rank = 3;
  double scale = 0.1;
  while (lorasb::formats::detail::alpha_for(scale, rank) / 3 == scale) scale = std::nextafter(scale, 1.0);
  AdapterSet<double> set;
  set.add("module", random_adapter<double>(4, 4, rank, scale, 1));
  const test::TemporaryFolder folder;
  write_native<double>(folder.path(), set);
  CHECK(read_adapter_folder<double>(folder.path()).adapters.at("module").scale == scale);
}

TEMPLATE_TEST_CASE("folders written by others add to each weight what numpy says", "", float, double) {
  const SafetensorsFile deltas(golden / "deltas.safetensors");
  int checked = 0;
  for (const char* name : {"stripped", "submodule", "plain"}) {
    const bool plain = std::string_view(name) == "plain";
    const AdapterFolder<TestType> folder = read_adapter_folder<TestType>(golden / name, {.plain_lora = plain});
    CHECK(folder.adapters.size() == 2);
    CHECK(folder.base_model == "some/model");
    CHECK(folder.full_tensors.size() == (std::string_view(name) == "submodule" ? 2 : 0));
    for (const auto& [module, adapter] : folder.adapters) {
      INFO(name << " " << module);
      const Weight<double> expected = deltas.read_weight<double>(std::string(name) + "/" + module);
      // stored numbers are exact in float; the scale is rounded once
      CHECK(test::relative_error(update(adapter), expected) < test::Tolerance<TestType>::exact);
      ++checked;
    }
  }
  CHECK(checked == 6);
  CHECK_ERROR(read_adapter_folder<TestType>(golden / "plain"), ErrorId::adapter_folder, "plain_lora = true");
}

TEST_CASE("plain LoRA adapters are written as they are") {
  const test::TemporaryFolder folder;
  const LoraAdapter<float> lora{
      .B = test::random_matrix<Weight<float>>(4, 2, 1), .A = test::random_matrix<Weight<float>>(2, 5, 2), .scale = 0.75F};
  write_lora<float>(folder.path(), named(lora));
  const LowRankAdapter<float> back = read_adapter_folder<float>(folder.path(), {.plain_lora = true}).adapters.at("module");
  CHECK(back.B == lora.B);
  CHECK(back.A == lora.A);
  CHECK(back.scale == 0.75F);
  LoraAdapter<float> bad = lora;
  bad.B = Weight<float>::Zero(4, 3);
  CHECK_ERROR(write_lora<float>(folder.path(), named(bad)), ErrorId::shape, "module: B is 4 x 3, expected 4 x 2");
  bad = lora;
  bad.A(0, 0) = NAN;
  CHECK_ERROR(write_lora<float>(folder.path(), named(bad)), ErrorId::not_finite, "module: A holds nan");
  bad = lora;
  bad.scale = 0;
  CHECK_ERROR(write_lora<float>(folder.path(), named(bad)), ErrorId::value, "module: scale is 0");
  CHECK_ERROR(([&] { NamedSet<LoraAdapter<float>> two = named(lora); two.add("module", lora); }()), ErrorId::duplicate_name, "module");
}

TEST_CASE("a tensor that is missing is refused with module and kind") {
  check_refused([](RawFolder& raw) { raw.erase("layers.0.value.lora_A.weight"); }, ErrorId::tensor_missing,
                "module \"layers.0.value\" has no lora_A");
  check_refused([](RawFolder& raw) { raw.erase("layers.0.value.lora_B.weight"); }, ErrorId::tensor_missing,
                "module \"layers.0.value\" has no lora_B");
  check_refused([](RawFolder& raw) { raw.erase("layers.0.value.default_lora_latent_mapping.weight"); }, ErrorId::adapter_folder,
                "module \"layers.0.value\" has no R");
  check_refused(
      [](RawFolder& raw) {
        raw.erase("layers.0.value.default_lora_latent_mapping.weight");
        raw.erase("layers.1.query.default_lora_latent_mapping.weight");
      },
      ErrorId::adapter_folder, "has no R");
  check_refused(
      [](RawFolder& raw) {
        raw.metadata.erase("lorasb");
        raw.config.erase("lorasb");
        raw.config["peft_type"] = "LORA";
        raw.erase("layers.0.value.default_lora_latent_mapping.weight");
      },
      ErrorId::adapter_folder, "module \"layers.0.value\" has no R");
  check_refused([](RawFolder& raw) { raw.tensors.clear(); }, ErrorId::adapter_folder, "has no adapter tensors");
}

TEST_CASE("R under either name is read, under both it is refused") {
  check_refused(
      [](RawFolder& raw) {
        raw.tensors["base_model.model.layers.0.value_lora_latent_mapping.weight"] =
            raw["layers.0.value.default_lora_latent_mapping.weight"];
      },
      ErrorId::adapter_folder, "module \"layers.0.value\" has its R under two names");
  const test::TemporaryFolder folder;
  write_native<float>(folder.path(), small_set<float>());
  RawFolder raw(folder.path());
  raw.rename("layers.0.value.default_lora_latent_mapping.weight", "layers.0.value_lora_latent_mapping.weight");
  raw.write(folder.path());
  CHECK(same_bits(read_adapter_folder<float>(folder.path()).adapters, small_set<float>()));
}

TEST_CASE("tensors of other shapes or types than the configuration says are refused with the sizes") {
  check_refused([](RawFolder& raw) { raw.config["r"] = 3; }, ErrorId::tensor_mismatch,
                "module \"layers.1.query\": lora_A is 2 x 7, expected 3 x 7 (rank 3 in adapter_config.json)");
  check_refused([](RawFolder& raw) { raw.config["rank_pattern"]["value"] = 3; }, ErrorId::tensor_mismatch,
                "module \"layers.0.value\": lora_A is 2 x 4, expected 3 x 4");
  check_refused(
      [](RawFolder& raw) {
        raw["layers.0.value.lora_B.weight"].shape = {4, 3};
      },
      ErrorId::tensor_mismatch, "module \"layers.0.value\": lora_B is 4 x 3, expected 4 x 2");
  check_refused(
      [](RawFolder& raw) {
        raw["layers.0.value.default_lora_latent_mapping.weight"].shape = {1, 4};
      },
      ErrorId::tensor_mismatch, "module \"layers.0.value\": R is 1 x 4, expected 2 x 2");
  check_refused([](RawFolder& raw) { raw["layers.0.value.lora_B.weight"].shape = {12}; }, ErrorId::tensor_mismatch,
                "layers.0.value.lora_B.weight\" is 12, expected 2 dimensions");
  check_refused([](RawFolder& raw) { raw["layers.0.value.lora_B.weight"].dtype = Dtype::i32; }, ErrorId::tensor_mismatch,
                "is I32, expected F64, F32, F16 or BF16");
  check_refused(
      [](RawFolder& raw) {
        raw.set("layers.0.value.lora_B.weight", {1, 2}, {1, 2});
      },
      ErrorId::adapter_folder, "module \"layers.0.value\": rank 2 is above min(out, in) of 1 x 4");
  const test::TemporaryFolder folder;
  write_native<double>(folder.path(), small_set<double>());
  CHECK_ERROR(read_adapter_folder<float>(folder.path()), ErrorId::tensor_mismatch, "is F64, expected F32, F16 or BF16");
  write_native<float>(folder.path(), small_set<float>());
  CHECK(read_adapter_folder<double>(folder.path()).adapters.at("layers.1.query").B ==
        small_set<float>().at("layers.1.query").B.cast<double>());
}

TEST_CASE("tensors without a module in the configuration are refused, and modules without tensors") {
  check_refused([](RawFolder& raw) { raw.config["target_modules"] = {"layers.1.query"}; }, ErrorId::adapter_folder,
                "module \"layers.0.value\" has tensors, but is not among the target_modules");
  check_refused([](RawFolder& raw) { raw.config["target_modules"].push_back("layers.2.query"); }, ErrorId::adapter_folder,
                "target module \"layers.2.query\" has no tensors");
  check_refused(
      [](RawFolder& raw) {
        raw.config["target_modules"] = {"query", "value"};
      },
      ErrorId::adapter_folder, "is not among the target_modules");
  check_refused([](RawFolder& raw) { raw.config["modules_to_save"] = {"norm"}; }, ErrorId::adapter_folder,
                "tensor \"classifier.bias\" is of no adapter");
  check_refused([](RawFolder& raw) { raw.config["modules_to_save"].push_back("pooler"); }, ErrorId::adapter_folder,
                "module to save \"pooler\" has no tensors");
  check_refused([](RawFolder& raw) { raw.set("layers.0.value.lora_magnitude_vector", {1}, {1}); }, ErrorId::adapter_folder,
                "lora_magnitude_vector\" is a magnitude of DoRA");
  check_refused([](RawFolder& raw) { raw.tensors["model.weight"] = raw["classifier.bias"]; }, ErrorId::adapter_folder,
                "tensor \"model.weight\" does not start with \"base_model.model.\"");
}

TEST_CASE("numbers that are not finite are refused in every tensor") {
  const float nan[] = {1, 2, 3, NAN};
  const float infinity[] = {1, 2, 3, INFINITY};
  const auto put = [](RawFolder& raw, const std::string& name, const float* numbers) {
    std::memcpy(raw[name].bytes.data(), numbers, 16);
  };
  check_refused([&](RawFolder& raw) { put(raw, "layers.0.value.lora_A.weight", nan); }, ErrorId::adapter_folder,
                "module \"layers.0.value\": lora_A holds NaN or infinity");
  check_refused([&](RawFolder& raw) { put(raw, "layers.0.value.lora_B.weight", infinity); }, ErrorId::adapter_folder,
                "lora_B holds");
  check_refused([&](RawFolder& raw) { put(raw, "layers.0.value.default_lora_latent_mapping.weight", nan); },
                ErrorId::adapter_folder, "R holds");
  check_refused([&](RawFolder& raw) { put(raw, "classifier.weight", nan); }, ErrorId::adapter_folder,
                "tensor \"classifier.weight\" holds NaN");
}

TEST_CASE("the two files must be of one kind and version") {
  check_refused([](RawFolder& raw) { raw.metadata.erase("lorasb"); }, ErrorId::adapter_folder,
                "adapter_config.json is of a native folder, but adapter_model.safetensors is not");
  check_refused(
      [](RawFolder& raw) {
        raw.config.erase("lorasb");
        raw.config["peft_type"] = "LORA";
      },
      ErrorId::adapter_folder, "adapter_model.safetensors is of a native folder, but adapter_config.json is not");
  check_refused([](RawFolder& raw) { raw.metadata["lorasb"] = "other"; }, ErrorId::adapter_folder,
                "unknown kind \"lorasb\": \"other\"");
  check_refused([](RawFolder& raw) { raw.config["lorasb"]["version"] = 2; }, ErrorId::adapter_folder,
                "version 2, expected \"native\"");
  check_refused([](RawFolder& raw) { raw.config["lorasb"]["format"] = "x"; }, ErrorId::adapter_folder, "format \"x\"");
  check_refused([](RawFolder& raw) { raw.config["lorasb"] = 1; }, ErrorId::json, "lorasb is number, expected an object");
  check_refused([](RawFolder& raw) { raw.config["lorasb"]["scale"].erase("layers.0.value"); }, ErrorId::adapter_folder,
                "lorasb.scale has no module \"layers.0.value\"");
  check_refused([](RawFolder& raw) { raw.config["lora_alpha"] = 16; }, ErrorId::adapter_folder, "but alpha / r is 8");
}

TEST_CASE("an old file beside a new one, as a crash between them leaves it, is refused where scales differ") {
  const test::TemporaryFolder folder;
  AdapterSet<float> set;
  set.add("q", random_adapter<float>(4, 3, 2, 2, 1));
  write_folded<float>(folder / "new", set);
  set.at("q").scale *= 2;
  write_folded<float>(folder / "old", set);
  std::filesystem::copy_file(folder / "old" / "adapter_config.json", folder / "new" / "adapter_config.json",
                             std::filesystem::copy_options::overwrite_existing);
  CHECK_ERROR(read_adapter_folder<float>(folder / "new", {.plain_lora = true}), ErrorId::adapter_folder,
              "the two files are of different saves");
  CHECK(read_adapter_folder<float>(folder / "old", {.plain_lora = true}).adapters.size() == 1);
}

TEST_CASE("a rank in the configuration that is no size of the tensors is refused before anything is allocated") {
  check_refused([](RawFolder& raw) { raw.config["r"] = 1000000; }, ErrorId::tensor_mismatch, "expected 1000000 x 7");
  const test::TemporaryFolder folder;
  AdapterSet<float> set;
  set.add("q", random_adapter<float>(4, 3, 2, 2, 1));
  write_folded<float>(folder.path(), set);
  RawFolder raw(folder.path());
  raw.config["r"] = 1000000;
  raw.write(folder.path());
  CHECK_ERROR(read_adapter_folder<float>(folder.path(), {.plain_lora = true}), ErrorId::tensor_mismatch, "lora_A is 2 x 3");
}

TEST_CASE("a configuration with fields that cannot be is refused by name") {
  const auto with = [](const char* key, const nlohmann::ordered_json& value) {
    return [key, value](RawFolder& raw) { raw.config[key] = value; };
  };
  check_refused(with("peft_type", "IA3"), ErrorId::adapter_folder, "peft_type is \"IA3\", expected \"LORA\"");
  check_refused([](RawFolder& raw) { raw.config.erase("lorasb"); }, ErrorId::adapter_folder, "there is no key \"lorasb\"");
  check_refused(with("use_dora", true), ErrorId::adapter_folder, "use_dora is true");
  check_refused(with("peft_type", 1), ErrorId::json, "\"peft_type\": ");
  check_refused(with("r", 0), ErrorId::json, "\"r\" is 0, expected an integer from 1");
  check_refused(with("r", -2), ErrorId::json, "\"r\" is -2");
  check_refused(with("r", 2.5), ErrorId::json, "\"r\" is 2.5");
  check_refused(with("r", 1e300), ErrorId::json, "\"r\" is 1e+300");
  check_refused(with("r", "2"), ErrorId::json, "\"r\": ");
  check_refused(with("r", nullptr), ErrorId::json, "\"r\" is missing");
  check_refused(with("lora_alpha", true), ErrorId::json, "\"lora_alpha\": ");
  check_refused(with("use_rslora", "yes"), ErrorId::json, "\"use_rslora\": ");
  check_refused(with("target_modules", 7), ErrorId::json, "\"target_modules\": ");
  check_refused(with("target_modules", {1, 2}), ErrorId::json, "\"target_modules\": ");
  check_refused(with("modules_to_save", "classifier"), ErrorId::json, "\"modules_to_save\": ");
  check_refused(with("rank_pattern", nlohmann::ordered_json::array()), ErrorId::json,
                "\"rank_pattern\" is array, expected an object");
  check_refused(with("rank_pattern", {{"query", 1.5}}), ErrorId::json, "\"query\" is 1.5");
  check_refused(with("alpha_pattern", {{"query", "x"}}), ErrorId::json, "\"query\": ");
  check_refused(with("rank_pattern", {{"(?!layers).*", 2}}), ErrorId::adapter_folder, "an expression that cannot be evaluated");
  check_refused(
      [](RawFolder& raw) {
        raw.config["lora_alpha"] = 0;
        raw.config["peft_type"] = "LORA";
        raw.config.erase("lorasb");
        raw.metadata.erase("lorasb");
      },
      ErrorId::adapter_folder, "the scale alpha / r is 0");
  check_refused([](RawFolder& raw) { raw.config = {1, 2}; }, ErrorId::json, "is array, expected an object");
}

TEST_CASE("files that are missing or broken keep their own errors") {
  const test::TemporaryFolder folder;
  CHECK_ERROR(read_adapter_folder<float>(folder / "none"), ErrorId::file_open, "none/adapter_config.json");
  write_native<float>(folder.path(), small_set<float>());
  const std::string config = test::read_all(folder / "adapter_config.json");
  test::write_all(folder / "adapter_config.json", config.substr(0, 40));
  CHECK_ERROR(read_adapter_folder<float>(folder.path()), ErrorId::json, "adapter_config.json");
  test::write_all(folder / "adapter_config.json", "{\"r\": 1, " + config.substr(1));
  CHECK_ERROR(read_adapter_folder<float>(folder.path()), ErrorId::json, "key \"r\" comes twice");
  test::write_all(folder / "adapter_config.json", config);
  test::write_all(folder / "adapter_model.safetensors", test::read_all(folder / "adapter_model.safetensors").substr(0, 900));
  CHECK_ERROR(read_adapter_folder<float>(folder.path()), ErrorId::safetensors, "adapter_model.safetensors");
  std::filesystem::remove(folder / "adapter_model.safetensors");
  CHECK_ERROR(read_adapter_folder<float>(folder.path()), ErrorId::file_open, "adapter_model.safetensors");
}

TEST_CASE("what cannot be written is refused before anything is there") {
  const test::TemporaryFolder folder;
  AdapterSet<float> set = small_set<float>();
  CHECK_ERROR(write_native<float>(folder / "x", AdapterSet<float>()), ErrorId::value, "no adapter to write");
  CHECK_ERROR(write_native<float>(folder / "x", set, {{"weight", {1}, {1}}}), ErrorId::value, "\"weight\" is of no module");
  CHECK_ERROR(write_native<float>(folder / "x", set, {{"head.weight", {2}, {1}}}), ErrorId::value, "has 4 bytes, expected 8");
  CHECK_ERROR(write_native<float>(folder / "x", set, {{"head.weight", {1}, {NAN}}}), ErrorId::not_finite, "head.weight");
  CHECK_ERROR(write_native<float>(folder / "x", set, {}, "\xff"), ErrorId::value, "not UTF-8");
  set.at("layers.0.value").R(0, 0) = NAN;
  CHECK_ERROR(write_native<float>(folder / "x", set), ErrorId::not_finite, "layers.0.value: R holds nan");
  CHECK_ERROR(write_folded<float>(folder / "x", set), ErrorId::not_finite, "R holds nan");
  AdapterSet<float> odd;
  odd.add("a+b", random_adapter<float>(3, 3, 1, 1, 1));
  odd.add("c", random_adapter<float>(3, 3, 2, 1, 1));
  CHECK_ERROR(write_native<float>(folder / "x", odd), ErrorId::value, "module \"a+b\" has a name that PEFT");
  CHECK_FALSE(std::filesystem::exists(folder / "x"));
  test::write_all(folder / "file", "");
  CHECK_ERROR(write_native<float>(folder / "file/x", small_set<float>()), ErrorId::file_write,
              "file/x: cannot create the folder");
}

namespace {

/// A set of random names, most of them plain, some with a part that readers give a meaning.
std::string random_name(lorasb::Random& random) {
  static const std::vector<std::string> plain{"a", "b", "layer", "0", "1", "10", "query", "a_b", "é", "q-k"};
  static const std::vector<std::string> odd{"lora_A",
                                            "lora_B",
                                            "default",
                                            "weight",
                                            "module",
                                            "_orig_mod",
                                            "_fsdp_wrapped_module",
                                            "base_layer",
                                            "modules_to_save",
                                            "original_module",
                                            "token_adapter",
                                            "lora_embedding_A",
                                            "default_lora_latent_mapping",
                                            "x_lora_latent_mapping",
                                            "base_model",
                                            "model",
                                            "",
                                            "a*b",
                                            "^a",
                                            "a$",
                                            "(b)",
                                            "a\\b",
                                            "[0]",
                                            "{x}",
                                            "\x7f",
                                            "a b",
                                            "\"",
                                            "*"};
  std::string name;
  for (std::size_t parts = 1 + random.below(4), i = 0; i < parts; ++i)
    name += (i == 0 ? "" : ".") + (random.below(8) == 0 ? odd[random.below(odd.size())] : plain[random.below(plain.size())]);
  return name;
}

}  // namespace

TEST_CASE(
    "nothing is written that the reader refuses: random names, ranks, scales and tensors come back or are refused before") {
  const test::TemporaryFolder folder;
  lorasb::Random random(7);
  const std::vector<float> scales{1, 0.1f, -2, 1e-30f, 3e38f, 1e-45f, 0, NAN};
  int written = 0, refused = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const int kind = trial % 3;  // native, folded, plain LoRA
    AdapterSet<float> set;
    NamedSet<LoraAdapter<float>> lora;
    const bool varied = random.below(2) == 0;
    for (std::size_t modules = 1 + random.below(4), m = 0; m < modules; ++m) {
      const std::string name = random_name(random);
      if (set.contains(name) || lora.contains(name)) continue;
      const Index out = 1 + Index(random.below(5)), in = 1 + Index(random.below(5));
      const float scale = random.below(20) == 0 ? scales[random.below(scales.size())] : varied ? scales[random.below(3)] : 0.1f;
      if (kind < 2)
        set.add(name, random_adapter<float>(out, in, 1 + Index(random.below(std::size_t(std::min(out, in)))), scale,
                                            random.below(1000)));
      else  // ranks of 0 and above min(out, in), too
        lora.add(name, [&] {
          const Index rank = random.below(20) == 0 ? 0 : 1 + Index(random.below(7));
          return LoraAdapter<float>{.B = test::random_matrix<Weight<float>>(out, rank, 3),
                                    .A = test::random_matrix<Weight<float>>(rank, in, 4),
                                    .scale = scale};
        }());
    }
    std::vector<NamedTensor<float>> tensors;
    for (std::size_t full = random.below(3), i = 0; i < full; ++i) {
      NamedTensor<float> t{.name = random_name(random) + (random.below(4) == 0 ? "" : ".weight"),
                           .shape = {Index(random.below(3)), 2},
                           .values = {}};
      if (random.below(3) == 0) t.shape = {};
      Index numbers = 1;
      for (const Index n : t.shape) numbers *= n;
      t.values.assign(std::size_t(numbers), random.below(40) == 0 ? NAN : 0.5f);
      tensors.push_back(std::move(t));
    }
    const std::filesystem::path out = folder / std::to_string(trial);
    INFO(trial);
    try {
      if (kind == 0) write_native<float>(out, set, tensors, "base");
      if (kind == 1) write_folded<float>(out, set, tensors, "base");
      if (kind == 2) write_lora<float>(out, lora, tensors, "base");
    } catch (const Error& error) {
      ++refused;
      INFO(error.what());
      CHECK(error.id() != ErrorId::file_write);
      CHECK_FALSE(std::filesystem::exists(out));
      continue;
    }
    ++written;
    const AdapterFolder<float> back = read_adapter_folder<float>(out, {.plain_lora = true});
    REQUIRE(back.adapters.size() == (kind == 2 ? lora.size() : set.size()));
    CHECK(back.base_model == "base");
    CHECK((back.full_tensors == tensors || tensors.size() > 1));  // the file has an order of its own
    CHECK(back.full_tensors.size() == tensors.size());
    for (const auto& [name, adapter] : back.adapters) {
      INFO(name);
      const Weight<double> expected =
          kind == 2
              ? Weight<double>(double(lora.at(name).scale) * lora.at(name).B.cast<double>() * lora.at(name).A.cast<double>())
              : update(set.at(name));
      CHECK(adapter.scale == (kind == 2 ? lora.at(name).scale : set.at(name).scale));
      CHECK((update(adapter) - expected).norm() <= 1e-5 * expected.norm());
    }
    std::filesystem::remove_all(out);
  }
  CHECK(written > 100);
  CHECK(refused > 50);
}

TEST_CASE("a full disk leaves the old folder readable and nothing beside its files") {
  const test::TemporaryFolder folder;
  write_native<float>(folder.path(), small_set<float>());
  AdapterSet<float> large;
  large.add("module", random_adapter<float>(500, 500, 50, 1, 1));
  std::vector<ErrorId> ids;
  for (const std::size_t bytes : {0, 1000, 150'000}) {
    const test::FileSizeLimit limit(bytes);
    try {
      write_native<float>(folder.path(), large);
    } catch (const Error& error) {
      ids.push_back(error.id());
    }
  }
  CHECK(ids == std::vector<ErrorId>(3, ErrorId::file_write));
  CHECK(same_bits(read_adapter_folder<float>(folder.path()).adapters, small_set<float>()));
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"adapter_config.json", "adapter_model.safetensors"});
}
