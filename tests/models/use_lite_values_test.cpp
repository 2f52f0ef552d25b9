// The pretrained encoder, from the files of its package, against what the package itself computes.
#include <fstream>
#include <nlohmann/json.hpp>

#include "lorasb/models/sentence_encoder/model.hpp"
#include "lorasb/models/sentence_encoder/weights.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/text/use_tokenizer.hpp"
#include "model_files.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("the encoder gives the embeddings that its package gives", "[model]") {
  if (!model_files_present()) return;
  const models::UseLite model = models::read_use_lite(model_folder());
  Index numbers = 0;
  for (const auto& [name, weight] : model.weights) numbers += weight.size();
  CHECK(numbers == 6975744);
  Layers<float> layers;
  for (const Module<float>& module : model.modules())
    layers.push_back(std::make_unique<nn::Linear<float>>(module.W0));
  const models::SentenceEncoder<float> encoder(model.config, model.weights, model.inverse_timescales, layers, ParameterLayout());
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(LORASB_TEST_DIR "/golden/embeddings.json"));

  nn::PackedBatch batch;  // all texts at once: packing must not mix them
  for (const nlohmann::json& text : golden["texts"]) {
    std::vector<std::int32_t> ids = text["ids"];
    ids.resize(std::min<std::size_t>(ids.size(), 128));
    batch.add(ids);
  }
  Matrix<float> Y(512, batch.sequences());
  models::SentenceEncoderCache<float> cache;
  encoder.forward(batch, Y, cache);
  for (Index i = 0; i < Y.cols(); ++i) {
    const std::vector<float> expected = golden["texts"][std::size_t(i)]["embedding"];
    const float difference = (Y.col(i) - as_vector(std::span(expected))).cwiseAbs().maxCoeff();
    INFO("text " << i);
    CHECK(difference < 1e-6f);  // entries near 0.05 after some 5,000 float sums in another order
  }
}
