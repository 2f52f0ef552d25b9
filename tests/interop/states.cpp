// The C++ side of check_states.py: what an encoder makes of token ids.
//   interop_states MODEL mean|cls|pooler TEXTS.json OUT.safetensors
//                                      TEXTS.json is a list of {"ids", "types"}; OUT has "hidden" (tokens of all texts x hidden) and
//                                      "pooled" (texts x hidden)
#include <cstdio>
#include <memory>
#include <string>

#include "lorasb/io/json.hpp"
#include "lorasb/io/safetensors_writer.hpp"
#include "lorasb/models/encoder/model.hpp"
#include "lorasb/models/encoder/open.hpp"
#include "lorasb/nn/linear.hpp"

using namespace lorasb;

int main(int argc, char** argv) {
  if (argc != 5) return std::fprintf(stderr, "usage: interop_states MODEL mean|cls|pooler TEXTS.json OUT.safetensors\n"), 2;
  try {
    const std::string pool = argv[2];
    const models::Pooling pooling = pool == "mean"  ? models::Pooling::mean
                                    : pool == "cls" ? models::Pooling::first_token
                                                    : models::Pooling::pooler;
    const models::OpenedEncoder opened = models::open_encoder(argv[1], {.pooling = pooling});
    Layers<float> layers;
    for (const Module<float>& m : opened.modules()) layers.push_back(std::make_unique<nn::Linear<float>>(m.W0));
    const models::Encoder<float> encoder(opened.config, opened.weights, layers, {});
    nn::PackedBatch batch;  // all texts at once: packing must not mix them
    for (const nlohmann::json& text : io::read_json(argv[3]))
      batch.add(text["ids"].get<std::vector<std::int32_t>>(), text["types"].get<std::vector<std::int32_t>>());
    Matrix<float> Y(opened.config.hidden, batch.sequences());
    models::EncoderCache<float> cache;
    encoder.forward(batch, Y, cache);
    const Weight<float> hidden = encoder.hidden_states(cache).transpose(), pooled = Y.transpose();
    io::write_safetensors(argv[4], {io::tensor_bytes("hidden", hidden), io::tensor_bytes("pooled", pooled)}, {});
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
