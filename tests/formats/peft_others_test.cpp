// Adapter folders of others: each test is named after a situation that users reported of other readers or of this one.
#include <cmath>

#include "io/files.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::formats;
using lorasb::test::random_matrix;

namespace {

/// A folder as PEFT writes it: plain LoRA of rank 2 on two modules of 6 x 5, and whatever else a test puts in.
struct Folder {
  test::TemporaryFolder folder;
  nlohmann::ordered_json config{{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"target_modules", {"query", "value"}}};
  std::map<std::string, std::pair<std::vector<Index>, std::vector<float>>> tensors;
  std::map<std::string, std::pair<Dtype, std::vector<std::byte>>> raw = {};

  Folder() {
    for (const char* name : {"query", "value"}) put(std::string("bert.layer.0.") + name, 6, 5, 2);
  }
  static std::vector<float> values(Index count, std::uint64_t seed) {
    const Vector<float> x = random_matrix<Matrix<float>>(count, 1, seed);
    return {x.begin(), x.end()};
  }
  void put(const std::string& module, Index out, Index in, Index rank) {
    tensors[module + ".lora_A.weight"] = {{rank, in}, values(rank * in, 1)};
    tensors[module + ".lora_B.weight"] = {{out, rank}, values(out * rank, 2)};
  }
  void full(const std::string& name, std::vector<Index> shape) {
    Index count = 1;
    for (const Index n : shape) count *= n;
    tensors[name] = {std::move(shape), values(count, 3)};
  }
  template <class Change>
  void rename_all(const Change& change) {
    std::map<std::string, std::pair<std::vector<Index>, std::vector<float>>> renamed;
    for (auto& [name, tensor] : tensors) renamed[change(name)] = tensor;
    tensors = renamed;
  }
  AdapterFolder<float> read(const PeftReadOptions& options = {.plain_lora = true}, bool whole_names = false) const {
    std::vector<io::TensorBytes> list;
    for (const auto& [name, tensor] : tensors)
      list.push_back({(whole_names ? "" : "base_model.model.") + name, Dtype::f32, tensor.first, std::as_bytes(std::span(tensor.second))});
    for (const auto& [name, tensor] : raw)
      list.push_back({"base_model.model." + name, tensor.first, {Index(tensor.second.size()) / Index(block_of(tensor.first).block_bytes)}, tensor.second});
    io::write_safetensors(folder / "adapter_model.safetensors", list, {{"format", "pt"}});
    test::write_all(folder / "adapter_config.json", config.dump());
    return read_adapter_folder<float>(folder.path(), options);
  }
  static DtypeRow block_of(Dtype dtype) { return dtype_table[static_cast<std::size_t>(dtype)]; }
  void refused(const std::string& part) const { CHECK_ERROR(read(), ErrorId::adapter_folder, part); }
};

Weight<double> update(const LowRankAdapter<float>& a) {
  return double(a.scale) * a.B.cast<double>() * a.R.cast<double>() * a.A.cast<double>();
}

}  // namespace

TEST_CASE("a text classifier of PEFT lists both names of a head, the file has one") {
  for (const char* head : {"classifier", "score"}) {
    Folder f;
    f.config["task_type"] = "SEQ_CLS";
    f.config["modules_to_save"] = {"classifier", "score", "classifier"};
    f.full(std::string(head) + ".weight", {3, 6});
    const AdapterFolder<float> read = f.read();
    CHECK(read.adapters.size() == 2);
    REQUIRE(read.full_tensors.size() == 1);
    CHECK(read.full_tensors[0].name == std::string(head) + ".weight");
    CHECK(read.report.unmatched_saves.size() >= 1);
  }
}

TEST_CASE("a head that no modules_to_save lists is read all the same") {
  Folder f;
  f.full("classifier.dense.weight", {3, 6});
  CHECK(f.read().full_tensors.at(0).name == "classifier.dense.weight");
}

TEST_CASE("targets for several architectures: one that matches nothing is in the report") {
  Folder f;
  f.config["target_modules"] = {"q_proj", "query", "value"};
  const AdapterFolder<float> read = f.read();
  CHECK(read.adapters.size() == 2);
  CHECK(read.report.unmatched_targets == std::vector<std::string>{"q_proj"});
  CHECK(read.report.text().find("target without tensors: q_proj") != std::string::npos);
  f.config["target_modules"] = {"q_proj", "uery"};  // PEFT adapts nothing then
  f.refused("no module of adapter_model.safetensors is among the target_modules");
}

TEST_CASE("a start that changed the base weights is refused by its name, the others are plain") {
  for (const char* start : {"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"}) {
    Folder f;
    f.config["init_lora_weights"] = start;
    f.refused(concat(start, "\", which changes the base weights"));
  }
  Folder unknown;
  unknown.config["init_lora_weights"] = "something_new";
  unknown.refused("something_new\", which is not known");
  for (const nlohmann::json& start : {nlohmann::json("eva"), nlohmann::json("gaussian"), nlohmann::json("orthogonal"), nlohmann::json("mica"), nlohmann::json(true),
                                      nlohmann::json(false), nlohmann::json()}) {
    Folder f;
    f.config["init_lora_weights"] = start;
    CHECK(f.read().adapters.size() == 2);
  }
}

TEST_CASE("a key that is not known is refused by name, unless it is null, false or empty") {
  for (const auto& [key, value] : std::map<std::string, nlohmann::json>{{"use_dora", true}, {"bias", "lora_only"}, {"bias", "all"},
                                                                        {"lora_bias", true}, {"use_qalora", true}, {"use_bdlora", {{"nblocks", 4}}},
                                                                        {"layer_replication", {{0, 4}}}, {"trainable_token_indices", {1, 2}},
                                                                        {"target_parameters", {"x"}}, {"megatron_config", {{"a", 1}}},
                                                                        {"alora_invocation_tokens", {5}}, {"kasa_config", {{"a", 1}}},
                                                                        {"arrow_config", {{"a", 1}}}, {"velora_config", {{"a", 1}}},
                                                                        {"monteclora_config", {{"a", 1}}}, {"ensure_weight_tying", true},
                                                                        {"use_next_thing", true}, {"next_number", 0.5}}) {
    Folder f;
    f.config[key] = value;
    f.refused(key);
    f.config[key] = nullptr;
    CHECK(f.read().adapters.size() == 2);
  }
  Folder f;  // what PEFT 0.21 writes beside what is read, at its defaults
  for (const auto& [key, value] : std::map<std::string, nlohmann::json>{
           {"alora_invocation_tokens", nullptr}, {"arrow_config", nullptr}, {"auto_mapping", nullptr}, {"bias", "none"}, {"corda_config", nullptr},
           {"ensure_weight_tying", false}, {"eva_config", nullptr}, {"exclude_modules", nullptr}, {"inference_mode", true}, {"kasa_config", nullptr},
           {"layer_replication", nullptr}, {"layers_pattern", nullptr}, {"layers_to_transform", nullptr}, {"loftq_config", nlohmann::json::object()},
           {"lora_bias", false}, {"lora_dropout", 0.1}, {"lora_ga_config", nullptr}, {"megatron_config", nullptr},
           {"megatron_core", "megatron.core"}, {"monteclora_config", nullptr}, {"peft_version", "0.21.2"}, {"qalora_group_size", 16},
           {"revision", nullptr}, {"target_parameters", nullptr}, {"task_type", "SEQ_CLS"}, {"trainable_token_indices", nullptr},
           {"use_bdlora", nullptr}, {"use_dora", false}, {"use_qalora", false}, {"use_rslora", false}, {"velora_config", nullptr}})
    f.config[key] = value;
  CHECK(f.read().adapters.size() == 2);
}

TEST_CASE("keys that select modules are obeyed") {
  Folder f;
  for (const char* layer : {"1", "2"})
    for (const char* name : {"query", "value"}) f.put("bert.layer." + std::string(layer) + "." + name, 6, 5, 2);
  const auto modules = [&] {
    std::vector<std::string> names;
    for (const auto& [name, adapter] : f.read().adapters) names.push_back(name);
    std::ranges::sort(names);
    return names;
  };
  CHECK(modules().size() == 6);
  f.config["layers_to_transform"] = 1;
  CHECK(modules() == std::vector<std::string>{"bert.layer.1.query", "bert.layer.1.value"});
  CHECK(f.read().report.left_out.size() == 4);
  for (const nlohmann::json& no_integer : {nlohmann::json(1e300), nlohmann::json(0.5), nlohmann::json{0, 1e300}, nlohmann::json{{"a", 1}}}) {
    f.config["layers_to_transform"] = no_integer;  // undefined behaviour before the fuzzer found its like
    CHECK_ERROR(f.read(), ErrorId::json, "\"layers_to_transform\" is no integer");
  }
  f.config["layers_to_transform"] = {0, 2};
  CHECK(modules().size() == 4);
  f.config["layers_pattern"] = "layer";
  CHECK(modules().size() == 4);
  f.config["layers_pattern"] = {"h", "block"};
  f.refused("every module is excluded");
  f.config.erase("layers_pattern");
  f.config.erase("layers_to_transform");
  f.config["exclude_modules"] = {"0.query", "value"};
  CHECK(modules() == std::vector<std::string>{"bert.layer.1.query", "bert.layer.2.query"});
  f.config["exclude_modules"] = ".*layer\\.[12].*";
  CHECK(modules() == std::vector<std::string>{"bert.layer.0.query", "bert.layer.0.value"});
  f.config["exclude_modules"] = "(?!x).*";
  f.refused("cannot be evaluated");
}

TEST_CASE("targets as an expression, all-linear, or null") {
  for (const nlohmann::json& targets : {nlohmann::json(".*layer.*(query|value)"), nlohmann::json("all-linear"), nlohmann::json(), nlohmann::json("(?!no).*")}) {
    Folder f;
    f.config["target_modules"] = targets;
    CHECK(f.read().adapters.size() == 2);
    CHECK(f.read().report.untargeted.empty());
  }
  Folder f;
  f.config["target_modules"] = ".*query";
  CHECK(f.read().report.untargeted == std::vector<std::string>{"bert.layer.0.value"});
}

TEST_CASE("ranks and scales by expressions") {
  Folder f;
  f.put("bert.layer.11.query", 6, 5, 3);
  f.config["rank_pattern"] = {{"layer\\.1[0-9]\\.(query|key)", 3}, {"nothing", 7}};
  f.config["alpha_pattern"] = {{".*\\.value", 1}};
  const AdapterFolder<float> read = f.read();
  CHECK(read.adapters.at("bert.layer.11.query").rank() == 3);
  CHECK(read.adapters.at("bert.layer.11.query").scale == 4.f / 3);
  CHECK(read.adapters.at("bert.layer.0.value").scale == 0.5f);
  CHECK(read.report.unmatched_patterns == std::vector<std::string>{"rank_pattern: nothing"});
}

TEST_CASE("weights that are stored in x out are said to be") {
  Folder f;
  CHECK_FALSE(f.read().fan_in_fan_out);
  f.config["fan_in_fan_out"] = true;
  CHECK(f.read().fan_in_fan_out);
}

TEST_CASE("saved embeddings, heads and base weights are full tensors under their names in the model") {
  Folder f;
  f.full("lm_head.base_layer.weight", {8, 6});
  f.full("model.embed_tokens.weight", {8, 6});
  f.full("score.modules_to_save.default.weight", {2, 6});
  f.full("score.original_module.weight", {2, 6});
  f.raw["bert.embeddings.position_ids"] = {Dtype::i64, std::vector<std::byte>(32)};
  const AdapterFolder<float> read = f.read();
  std::vector<std::string> names;
  for (const NamedTensor<float>& t : read.full_tensors) names.push_back(t.name);
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"lm_head.weight", "model.embed_tokens.weight", "score.weight"});
  REQUIRE(read.report.left_out.size() == 2);
  CHECK(read.report.text().find("I64 is not trained") != std::string::npos);
  CHECK(read.report.text().find("a copy of the base weights") != std::string::npos);
}

TEST_CASE("tensors that change the result are refused with what they are, and left out when the caller says so") {
  for (const auto& [name, words] : std::map<std::string, std::string>{{"bert.layer.0.query.lora_B.bias", "a bias of a factor"},
                                                                      {"bert.embeddings.lora_embedding_A", "a factor of an embedding"},
                                                                      {"bert.layer.0.query.lora_magnitude_vector", "a magnitude of DoRA"},
                                                                      {"bert.word.trainable_tokens_delta", "trained rows of an embedding"}}) {
    Folder f;
    f.full(name, {2, 3});
    f.refused(words);
    for (const std::string& ignored : {"base_model.model." + name, name, name.substr(name.rfind('.') + 1) == "bias" ? "lora_B.bias" : name.substr(name.rfind('.') + 1)}) {
      const AdapterFolder<float> read = f.read({.plain_lora = true, .ignore = {ignored}});
      CHECK(read.adapters.size() == 2);
      CHECK(read.report.left_out.size() == 1);
    }
  }
}

TEST_CASE("a rank above min(out, in), as on the router of a mixture, is read as the same update") {
  for (const auto& [out, in] : {std::pair<Index, Index>{3, 9}, {9, 3}, {4, 4}}) {
    Folder f;
    f.tensors.clear();
    f.config = {{"peft_type", "LORA"}, {"r", 7}, {"lora_alpha", 14}, {"target_modules", {"gate"}}};
    f.put("gate", out, in, 7);
    const AdapterFolder<float> read = f.read();
    const ConstWeightView<float> A(f.tensors["gate.lora_A.weight"].second.data(), 7, in), B(f.tensors["gate.lora_B.weight"].second.data(), out, 7);
    const Weight<double> expected = 2 * B.cast<double>() * A.cast<double>();
    CHECK((update(read.adapters.at("gate")) - expected).norm() < 1e-6 * expected.norm());
    CHECK(read.adapters.at("gate").rank() == std::min(out, in));
    CHECK(read.report.modules.at(0).norm == Approx(expected.norm()));
  }
}

TEST_CASE("names that carry the adapter's name or the names of wrappers") {
  const AdapterFolder<float> plain = Folder().read();
  const auto check_same = [&](const auto& change) {
    Folder f;
    f.rename_all([&](const std::string& name) { return change("base_model.model." + name); });
    const AdapterFolder<float> read = f.read({.plain_lora = true}, true);
    REQUIRE(read.adapters.size() == 2);
    for (const auto& [name, adapter] : plain.adapters) CHECK(read.adapters.at(name).B == adapter.B);
  };
  check_same([](std::string name) { return name.insert(name.rfind(".weight"), ".default"); });
  check_same([](std::string name) { return name.insert(name.rfind(".weight"), ".my_adapter"); });
  check_same([](const std::string& name) { return "_orig_mod." + name; });
  check_same([](std::string name) { return name.insert(name.find("bert."), "_orig_mod."); });
  check_same([](std::string name) { return name.insert(name.find("layer."), "_fsdp_wrapped_module."); });
  check_same([](const std::string& name) { return "module." + name; });
  Folder two;
  two.put("bert.layer.1.query", 6, 5, 2);
  two.rename_all([](std::string name) { return name.insert(name.rfind(".weight"), name.find("layer.1") == std::string::npos ? ".one" : ".two"); });
  two.refused("there are several in one file");
}

TEST_CASE("a folder with adapter_model.bin alone says how to convert it") {
  const test::TemporaryFolder folder;
  test::write_all(folder / "adapter_config.json", Folder().config.dump());
  test::write_all(folder / "adapter_model.bin", "PK");
  CHECK_ERROR(read_adapter_folder<float>(folder.path(), {.plain_lora = true}), ErrorId::adapter_folder, "safe_serialization=True");
}

TEST_CASE("an adapter without effect is seen in the report") {
  Folder f;
  for (auto& [name, tensor] : f.tensors)
    if (name.ends_with("lora_B.weight")) std::ranges::fill(tensor.second, 0.f);
  const AdapterFolder<float> read = f.read();
  CHECK_FALSE(read.report.has_effect());
  CHECK(read.report.text().find("no effect") != std::string::npos);
  CHECK(Folder().read().report.has_effect());
  const auto plain = Folder().read();
  for (const PeftReadReport::Adapted& m : plain.report.modules) CHECK(m.norm == Approx(update(plain.adapters.at(m.module)).norm()));
}

TEST_CASE("36,000 modules with ranks of their own are written and read in logarithmic time a module") {
  const auto set_of = [](int count) {
    AdapterSet<float> set;
    for (int i = 0; i < count; ++i)
      set.add("model.layers." + std::to_string(i / 300) + ".experts." + std::to_string(i % 300) + ".up",
              {.B = Weight<float>::Ones(4, 1 + i % 2), .R = Weight<float>::Ones(1 + i % 2, 1 + i % 2), .A = Weight<float>::Ones(1 + i % 2, 4)});
    return set;
  };
  const test::TemporaryFolder folder;
  const AdapterSet<float> set = set_of(36096);
  write_native<float>(folder / "native", set);
  const AdapterFolder<float> native = read_adapter_folder<float>(folder / "native");
  CHECK(native.adapters.size() == set.size());
  CHECK(native.adapters.at("model.layers.119.experts.299.up").rank() == 2);
}
