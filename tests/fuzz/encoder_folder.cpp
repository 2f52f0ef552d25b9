// Fuzzes the readers of base models: Hugging Face folders, and graph models of tfjs.
#include "lorasb/models/encoder/open.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "fuzz/tiny_bert.hpp"
#include "lorasb/io/tfjs.hpp"
#include "lorasb/models/encoder/model.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/text/open_tokenizer.hpp"

namespace lorasb::fuzz {
namespace {

const std::string roberta_config =
    R"({"model_type": "roberta", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
   "intermediate_size": 3,
 "max_position_embeddings": 8, "type_vocab_size": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": 1})";
const std::string distilbert_config =
    R"({"model_type": "distilbert", "vocab_size": 9, "dim": 4, "n_layers": 1, "n_heads": 2, "hidden_dim": 3,
 "max_position_embeddings": 6, "activation": "relu"})";

std::vector<Input> encoder_seeds() {
  const Input::File none{false, ""};
  std::vector<Input> seeds;
  for (const std::string& config : {bert_config, roberta_config, distilbert_config})
    seeds.push_back({{{true, config},
                      {true, encoder_tensors(config).to_bytes()},
                      none,
                      none,
                      {true, encoder_vocabulary},
                      {true, "hello world!"}}});
  TensorFile first = encoder_tensors(bert_config), second = first;  // two files with an index
  first.tensors.erase(first.tensors.begin() + 3, first.tensors.end());
  second.tensors.erase(second.tensors.begin(), second.tensors.begin() + 3);
  seeds.push_back({{{true, bert_config},
                    none,
                    {true, R"({"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})"},
                    {true, first.to_bytes()},
                    {true, encoder_vocabulary},
                    {true, "hello world!"},
                    {true, second.to_bytes()}}});
  for (Input& seed : seeds) seed.files.resize(7, none);
  return seeds;
}

bool encoder_past_first_check(const Input& input) {
  const auto good = [&](std::size_t i, bool (*is)(std::string_view)) { return !input.files[i].there || is(input[i]); };
  return input.files[0].there && is_json(input[0]) && good(1, is_safetensors) &&
         (input.files[1].there || (good(2, is_json) && good(3, is_safetensors) && good(6, is_safetensors)));
}

void mutate_encoder(Input& input, Mutator& m) {
  static const std::vector<Input> seeds = encoder_seeds();
  static const std::vector<std::string> words{"[CLS]", "[SEP]", "##a", "hello", "more\nwords\n"};
  const Input& whole = m.one_of(seeds);
  if (m.one_in(60)) input.files[m.below(7)].there ^= true;
  switch (m.below(6)) {
    case 0:
    case 1:
      m.json(input[0], whole[0]);
      break;
    case 2:
      m.lines(input[4], words);
      break;
    case 3:
      m.one_in(2) ? m.text(input[5]) : m.json(input[2], seeds[3][2]);
      break;
    default: {
      const std::size_t file = input.files[1].there ? 1 : m.one_in(2) ? 3 : 6;
      m.safetensors(input[file], file == 1 ? whole.files[1].there ? whole[1] : seeds[0][1] : seeds[3][file]);
    }
  }
}

/// The whole way of a program: the encoder, its tokenizer, and the vector of a text.
void read_encoder(const Input& input, const std::filesystem::path& folder) {
  const models::OpenedEncoder opened = models::open_encoder(folder);
  const text::OpenedTokenizer tokenizer = text::open_tokenizer(folder);
  require(tokenizer.tokenizer->size() <= std::size_t(opened.config.vocabulary), ErrorId::vocabulary,
          "more ids than the model has");
  const std::size_t most = std::min(tokenizer.max_tokens, std::size_t(opened.config.max_tokens()));
  const text::Encoding text = tokenizer.tokenizer->encode(input[5], most);
  Layers<float> layers;
  for (const Module<float>& module : opened.modules()) layers.push_back(std::make_unique<nn::Linear<float>>(module.W0));
  const models::Encoder<float> encoder(opened.config, opened.weights, layers, ParameterLayout());
  nn::PackedBatch batch;
  batch.add(text.ids, opened.config.token_types > 1 ? text.types : std::vector<std::int32_t>{});
  Matrix<float> Y(encoder.features(), 1);
  const auto cache = encoder.make_cache();
  encoder.forward(batch, Y, *cache);
}

const Registered encoder_reader({.name = "encoder_folder",
                                 .files = {"config.json", "model.safetensors", "model.safetensors.index.json",
                                           "model-1.safetensors", "vocab.txt", "text", "model-2.safetensors"},
                                 .seeds = encoder_seeds,
                                 .mutate = mutate_encoder,
                                 .past_first_check = encoder_past_first_check,
                                 .read = read_encoder});

const std::string tfjs_json = R"({"format": "graph-model", "weightsManifest": [{"paths": ["shard1", "shard2"], "weights": [
  {"name": "w", "dtype": "float32", "shape": [1, 1, 2, 3]}, {"name": "b", "dtype": "float32", "shape": [3]}, {"name": "i",
   "dtype": "int32", "shape": []}]}]})";

void read_tfjs(const Input& input, const std::filesystem::path& folder) {
  std::size_t bytes = 0;
  io::read_tfjs(folder / "model.json", [&](const io::TfjsTensor& tensor, std::span<const float> numbers) {
    must(Index(numbers.size()) == tensor.rows * tensor.cols, "a tensor has other numbers than its shape");
    bytes += numbers.size_bytes();
  });
  (void)input;
}

const Registered tfjs_reader(
    {.name = "tfjs",
     .files = {"model.json", "shard1", "shard2"},
     .seeds =
         [] {
           return std::vector<Input>{{{{true, tfjs_json}, {true, std::string(30, 'x')}, {true, std::string(10, 'y')}}}};
         },
     .mutate =
         [](Input& input, Mutator& m) {
           if (m.one_in(60)) input.files[m.below(3)].there ^= true;
           if (m.one_in(6))
             input[1 + m.below(2)].resize(m.below(60), 'z');
           else
             m.json(input[0], tfjs_json);
         },
     .past_first_check = [](const Input& input) { return input.files[0].there && is_json(input[0]); },
     .read = read_tfjs});

}  // namespace
}  // namespace lorasb::fuzz
