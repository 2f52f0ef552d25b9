#include "lorasb/models/encoder/open.hpp"

#include "io/files.hpp"
#include "lorasb/io/safetensors_writer.hpp"
#include "lorasb/models/encoder/model.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/text/open_tokenizer.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

namespace {

const std::filesystem::path golden_folder = std::filesystem::path(LORASB_TEST_DIR) / "golden";

/// A golden folder that is changed before it is opened.
struct Copy {
  TemporaryFolder parent;
  std::filesystem::path folder = parent / "model";
  explicit Copy(const char* name) { std::filesystem::copy(golden_folder / name, folder); }
  void set(const char* key, nlohmann::json value) const {
    nlohmann::json config = io::read_json(folder / "config.json");
    config[key] = std::move(value);
    write_all(folder / "config.json", config.dump());
  }
};

/// The largest difference of hidden states, relative to their largest entry, and that of the logits where there are any.
void check_golden(const char* name, Pooling pooling, const char* head) {
  INFO(name);
  const OpenedEncoder opened = open_encoder(golden_folder / name, {.pooling = pooling});
  Layers<float> layers;
  for (const Module<float>& m : opened.modules()) layers.push_back(std::make_unique<nn::Linear<float>>(m.W0));
  const Encoder<float> encoder(opened.config, opened.weights, layers, {});
  const nlohmann::json texts = io::read_json(golden_folder / "encoders.json")[name]["texts"];
  nn::PackedBatch batch;  // all texts at once: packing must not mix them
  std::vector<float> expected;
  for (const nlohmann::json& text : texts) {
    batch.add(text["ids"].get<std::vector<std::int32_t>>(), text["types"].get<std::vector<std::int32_t>>());
    for (const float x : text["hidden"].get<std::vector<float>>()) expected.push_back(x);
  }
  Matrix<float> Y(8, batch.sequences());
  EncoderCache<float> cache;
  encoder.forward(batch, Y, cache);
  const ConstMatrixView<float> hidden = encoder.hidden_states(cache);
  const ConstMatrixView<float> states(expected.data(), 8, hidden.cols());
  CHECK((hidden - states).cwiseAbs().maxCoeff() < 1e-5f * states.cwiseAbs().maxCoeff());
  if (head == nullptr) return;
  const io::SafetensorsFile file(golden_folder / name / "model.safetensors");
  const Weight<float> W = file.read_weight<float>(std::string(head) + ".weight");
  const Vector<float> b = file.read_vector<float>(std::string(head) + ".bias");
  for (Index i = 0; i < Y.cols(); ++i) {
    const std::vector<float> logits = texts[std::size_t(i)]["logits"];
    const Vector<float> found = W * Y.col(i) + b;
    CHECK((found - as_vector(std::span(logits))).cwiseAbs().maxCoeff() < 1e-5f * found.cwiseAbs().maxCoeff());
  }
}

}  // namespace

TEST_CASE("Hidden states and logits are those of transformers") {
  check_golden("tiny_bert", Pooling::pooler, "classifier");
  check_golden("tiny_bert_sharded", Pooling::mean, nullptr);
  check_golden("tiny_roberta", Pooling::pooler, "classifier.out_proj");
  check_golden("tiny_roberta_prelayernorm", Pooling::pooler, "classifier.out_proj");
  check_golden("tiny_distilbert", Pooling::pooler, "classifier");
}

TEST_CASE("A folder of XLM-RoBERTa as transformers writes it opens, reads texts, and gives the hidden states and logits of transformers") {
  const text::OpenedTokenizer opened = text::open_tokenizer(golden_folder / "tiny_xlm_roberta");
  CHECK(opened.max_tokens == 38);
  CHECK(opened.tokenizer->size() == 232);
  const nlohmann::json golden = io::read_json(golden_folder / "encoders.json");
  for (const nlohmann::json& row : golden.at("tiny_xlm_roberta").at("texts")) {
    INFO(row["text"].dump());
    const text::Encoding found = opened.tokenizer->encode(row["text"].get<std::string>(), opened.max_tokens);
    CHECK(found.ids == row["ids"].get<std::vector<std::int32_t>>());
    CHECK(found.types == row["types"].get<std::vector<std::int32_t>>());
  }
  check_golden("tiny_xlm_roberta", Pooling::pooler, "classifier.out_proj");  // of these ids
}

TEST_CASE("XLM-RoBERTa is read as RoBERTa") {
  const Copy copy("tiny_roberta");
  copy.set("model_type", "xlm-roberta");
  const OpenedEncoder opened = open_encoder(copy.folder, {.pooling = Pooling::pooler});
  CHECK(opened.config.family == EncoderFamily::roberta);
  CHECK(opened.config.max_tokens() == 10);
  CHECK(opened.modules().back().name == "classifier.dense");
}

TEST_CASE("Linear modules in bfloat16 are near those in float") {
  const OpenedEncoder wide = open_encoder(golden_folder / "tiny_bert");
  const OpenedEncoder narrow = open_encoder(golden_folder / "tiny_bert", {.modules = Dtype::bf16});
  for (const Module<float>& m : narrow.modules()) {
    CHECK(m.W0.dtype() == Dtype::bf16);
    CHECK(relative_error(m.W0.widened(), wide.weights.at(m.name + ".weight").widened()) < 0.005);  // 8 bits
  }
}

TEST_CASE("Linear modules that are stored in bfloat16 are float where that is asked for, with the same numbers") {
  const Copy copy("tiny_bert");
  std::vector<std::vector<Bfloat16>> narrow;
  std::vector<io::TensorBytes> tensors;
  const io::SafetensorsFile file(copy.folder / "model.safetensors");
  for (const io::TensorInfo& t : file.tensors()) {
    std::vector<float> wide(static_cast<std::size_t>(t.elements()));
    file.read<float>(t.name, wide);
    narrow.emplace_back(wide.size());
    to_bfloat16(wide.data(), narrow.back().data(), t.elements());
    tensors.push_back({t.name, Dtype::bf16, t.shape, std::as_bytes(std::span(narrow.back()))});
  }
  io::write_safetensors(copy.folder / "model.safetensors", tensors);
  const OpenedEncoder stored = open_encoder(copy.folder, {.modules = Dtype::bf16});
  const OpenedEncoder wide = open_encoder(copy.folder);
  for (const Module<float>& m : wide.modules()) {
    CHECK(m.W0.dtype() == Dtype::f32);  // a product with bfloat16 may round its inputs
    const FrozenWeight<float>& same = stored.weights.at(m.name + ".weight");
    CHECK(same.dtype() == Dtype::bf16);
    CHECK(m.W0.widened() == same.widened());
  }
}

TEST_CASE("A configuration that is not supported is refused by key and value") {
  const Copy copy("tiny_bert");
  const auto check = [&](const char* key, nlohmann::json value, const std::string& message) {
    const nlohmann::json before = io::read_json(copy.folder / "config.json");
    copy.set(key, std::move(value));
    CHECK_ERROR(open_encoder(copy.folder), ErrorId::model, message);
    write_all(copy.folder / "config.json", before.dump());
  };
  check("model_type", "t5", "\"model_type\" is \"t5\", expected bert, roberta, xlm-roberta, roberta-prelayernorm or distilbert");
  check("model_type", nullptr, "\"model_type\" is missing");
  check("position_embedding_type", "relative_key", "\"position_embedding_type\" is \"relative_key\"");
  check("is_decoder", true, "\"is_decoder\" is true, expected false");
  check("add_cross_attention", true, "\"add_cross_attention\" is true");
  check("hidden_act", "silu", "\"hidden_act\" is \"silu\"");
  check("hidden_act", 3, "\"hidden_act\" is 3, expected a string");
  check("quantization_config", {{"bits", 4}}, "\"quantization_config\" is {\"bits\":4}");
  check("hidden_size", "8", "\"hidden_size\" is \"8\", expected an integer");
  check("hidden_size", 8.5, "\"hidden_size\" is 8.5");
  check("hidden_size", -8, "hidden is -8");
  check("hidden_size", 1e300, "\"hidden_size\"");
  check("hidden_size", 18446744073709551615u, "\"hidden_size\" is 18446744073709551615, expected an integer");
  check("num_attention_heads", 3, "heads is 3, expected a divisor");
  check("num_hidden_layers", 4000000000, "layers is 4000000000");
  check("vocab_size", 0, "vocabulary is 0");
  check("layer_norm_eps", "x", "\"layer_norm_eps\" is \"x\", expected a number");
  check("initializer_range", -1, "initializer_range is -1");
  check("type_vocab_size", 0, "\"type_vocab_size\" is 0");
  write_all(copy.folder / "config.json", "[]");
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::model, "expected an object");
  write_all(copy.folder / "config.json", "{");
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::json, "config.json");
  CHECK_ERROR(open_encoder(copy.folder / "none"), ErrorId::file_open, "config.json");
}

TEST_CASE("Tensors that are missing, unexpected or of another shape are named") {
  const Copy copy("tiny_bert");
  copy.set("num_hidden_layers", 3);
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::tensor_missing, "no tensor \"bert.encoder.layer.2.attention.self.query.weight\"");
  copy.set("num_hidden_layers", 1);
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::model, "\"bert.encoder.layer.1.");
  copy.set("num_hidden_layers", 2);
  copy.set("vocab_size", 14);
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::tensor_mismatch,
              "tensor \"bert.embeddings.word_embeddings.weight\" is 13 x 8 F32, expected 14 x 8");
  copy.set("vocab_size", 13);
  CHECK_NOTHROW(open_encoder(copy.folder));
  const std::string bytes = read_all(copy.folder / "model.safetensors");
  for (const std::size_t length : {std::size_t{0}, std::size_t{7}, std::size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    write_all(copy.folder / "model.safetensors", bytes.substr(0, length));
    CHECK_ERROR(open_encoder(copy.folder), ErrorId::safetensors, "model.safetensors");
  }
  std::filesystem::rename(copy.folder / "model.safetensors", copy.folder / "pytorch_model.bin");
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::model, "save_pretrained");
  std::filesystem::remove(copy.folder / "pytorch_model.bin");
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::file_open, "no model.safetensors");
  CHECK_ERROR(open_encoder(golden_folder / "tiny_bert_sharded", {.pooling = Pooling::pooler}), ErrorId::tensor_missing,
              "bert.pooler.dense.weight");
}

TEST_CASE("A dense layer over the first token that a folder does not have is zeros where that is allowed, and it says so") {
  const OpenEncoderOptions may_lack{.pooling = Pooling::pooler, .pooler_may_lack = true};
  const OpenedEncoder without = open_encoder(golden_folder / "tiny_bert_sharded", may_lack);
  CHECK_FALSE(without.has_pooler);
  CHECK(without.modules().back().name == "bert.pooler.dense");
  CHECK(without.modules().back().W0.widened().isZero());
  CHECK(without.weights.flat("bert.pooler.dense.bias").size() == 8);
  const OpenedEncoder with = open_encoder(golden_folder / "tiny_bert", may_lack);
  CHECK(with.has_pooler);
  CHECK_FALSE(with.modules().back().W0.widened().isZero());
  CHECK(open_encoder(golden_folder / "tiny_bert_sharded", {.pooler_may_lack = true}).has_pooler);  // nothing asks for it
}

TEST_CASE("An index of several files names files of its own folder, and each tensor is in one of them") {
  const Copy copy("tiny_bert_sharded");
  const auto index = copy.folder / "model.safetensors.index.json";
  const std::string before = read_all(index);
  for (const char* name : {"../x", "/etc/passwd", "..", "a/b", ""}) {
    nlohmann::json json = nlohmann::json::parse(before);
    json["weight_map"]["embeddings.LayerNorm.bias"] = name;
    write_all(index, json.dump());
    CHECK_ERROR(open_encoder(copy.folder), ErrorId::model, "expected a name in the same folder");
  }
  write_all(index, "{}");
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::model, "weight_map");
  write_all(index, before);
  std::filesystem::copy(copy.folder / "model-00001-of-00002.safetensors", copy.folder / "again.safetensors");
  nlohmann::json json = nlohmann::json::parse(before);
  json["weight_map"]["more"] = "again.safetensors";
  write_all(index, json.dump());
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::duplicate_name, "comes twice");
  std::filesystem::remove(copy.folder / "model-00002-of-00002.safetensors");
  write_all(index, before);
  CHECK_ERROR(open_encoder(copy.folder), ErrorId::file_open, "model-00002-of-00002");
}
