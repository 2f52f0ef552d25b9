// MiniLM from its Hugging Face folder, against what transformers computes (golden/encoders.py).
#include "lorasb/io/json.hpp"
#include "lorasb/models/encoder/model.hpp"
#include "lorasb/models/encoder/open.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/text/open_tokenizer.hpp"
#include "models/model_files.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::models;
using namespace lorasb::test;

TEST_CASE("MiniLM's tokens, hidden states and vectors are those of transformers", "[model]") {
  if (!minilm_files_present()) return;
  const OpenedEncoder opened = open_encoder(minilm_folder());
  Layers<float> layers;
  for (const Module<float>& m : opened.modules()) layers.push_back(std::make_unique<nn::Linear<float>>(m.W0));
  const Encoder<float> encoder(opened.config, opened.weights, layers, {});
  const text::OpenedTokenizer tokenizer = text::open_tokenizer(minilm_folder());
  const nlohmann::json golden = io::read_json(LORASB_TEST_DIR "/golden/minilm.json");
  nn::PackedBatch batch;  // all texts at once: packing must not mix them
  for (const nlohmann::json& row : golden) {
    const text::Encoding found = tokenizer.tokenizer->encode(row["text"].get<std::string>(), 256);
    CHECK(found.ids == row["ids"].get<std::vector<std::int32_t>>());
    batch.add(found.ids, found.types);
  }
  Matrix<float> Y(384, batch.sequences());
  EncoderCache<float> cache;
  encoder.forward(batch, Y, cache);
  const ConstMatrixView<float> hidden = encoder.hidden_states(cache);
  for (std::size_t i = 0; i < golden.size(); ++i) {
    INFO(golden[i]["text"]);
    const std::vector<float> some = golden[i]["some"], pooled = golden[i]["pooled"];
    const Index first = batch.offsets()[i], stride = golden[i]["stride"];  // every stride-th token, every 16th feature
    float difference = 0;
    for (std::size_t k = 0; k < some.size(); ++k)
      difference = std::max(difference, std::abs(hidden(Index(k % 24) * 16, first + Index(k / 24) * stride) - some[k]));
    CHECK(difference < 1e-5f * golden[i]["largest"].get<float>());
    difference = 0;
    for (std::size_t k = 0; k < pooled.size(); ++k) difference = std::max(difference, std::abs(Y(Index(k) * 4, Index(i)) - pooled[k]));
    CHECK(difference < 1e-5f * Y.col(Index(i)).cwiseAbs().maxCoeff());
  }
}
