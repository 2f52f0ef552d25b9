// Opens an encoder of the BERT family from a Hugging Face folder, mapped and not copied.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/frozen_model.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/io/safetensors.hpp"
#include "lorasb/models/encoder/read_config.hpp"

namespace lorasb::models {

struct OpenEncoderOptions {
  Pooling pooling = Pooling::mean;
  bool pooler_may_lack =
      false;  // a dense layer of Pooling::pooler that the folder does not have is 0; OpenedEncoder::has_pooler says so
  Dtype modules = Dtype::f32;  // of the linear modules' weights. F32: as they are stored, but BF16 ones are widened, a copy, since
                               // products with BF16 may round their inputs; BF16: others are rounded to the nearest, a copy
};

/// An encoder's configuration and weights, by the names of encoder_layout(config).
struct OpenedEncoder {
  EncoderConfig config;
  FrozenModel<float> weights;
  bool has_pooler = true;  // false: Pooling::pooler was asked for, and neither its weight nor its bias is in the folder

  /// The linear modules, with their frozen weights.
  std::vector<Module<float>> modules() const {
    std::vector<Module<float>> all;
    for (const ModuleShape& shape : encoder_modules(config)) all.push_back({shape.name, weights.at(shape.name + ".weight")});
    return all;
  }
};

namespace detail {

/// model.safetensors, or the files that model.safetensors.index.json lists.
inline std::vector<std::filesystem::path> encoder_files(const std::filesystem::path& folder) {
  const auto is_there = [&](const char* name) { return io::is_there(folder / name); };
  if (is_there("model.safetensors")) return {folder / "model.safetensors"};
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (!io::is_there(index)) {
    const bool pickled = is_there("pytorch_model.bin") || is_there("pytorch_model.bin.index.json");
    throw Error(pickled ? ErrorId::model : ErrorId::file_open,
                concat(folder.string(), pickled ? ": pytorch_model.bin is not read, as it can run code; write model.safetensors with "
                                                  "transformers: AutoModel.from_pretrained(folder).save_pretrained(folder)"
                                                : ": there is no model.safetensors and no model.safetensors.index.json"));
  }
  const nlohmann::json json = io::read_json(index);
  require(json.is_object() && json.contains("weight_map") && json.at("weight_map").is_object(), ErrorId::model, index.string(),
          ": expected an object with \"weight_map\"");
  std::set<std::filesystem::path> files;
  for (const auto& [tensor, file] : json.at("weight_map").items()) {
    require(file.is_string(), ErrorId::model, index.string(), ": the file of ", in_quotes(tensor), " is not a name");
    const std::filesystem::path name = file.get<std::string>();
    require(!name.empty() && name == name.filename() && name != "." && name != "..", ErrorId::model, index.string(), ": the file of ", in_quotes(tensor),
            " is ", in_quotes(name.string()), ", expected a name in the same folder");
    files.insert(folder / name);
  }
  return {files.begin(), files.end()};
}

/// The name that a tensor of a file has here: with the family's prefix, and weight and bias for the old gamma and beta.
inline std::string encoder_tensor_name(std::string name, const EncoderNames& names) {
  const std::string_view layers = names.layers.substr(0, names.layers.find('.') + 1);  // "encoder."
  for (const std::string_view part : {std::string_view("embeddings."), layers, std::string_view("pooler."), std::string_view("LayerNorm.")})
    if (name.starts_with(part)) {
      name = names.whole(name);
      break;
    }
  if (name.ends_with(".gamma")) name.replace(name.size() - 5, 5, "weight");
  if (name.ends_with(".beta")) name.replace(name.size() - 4, 4, "bias");
  return name;
}

/// A tensor that is not in the layout and is no error: heads, and what the family has beside its blocks.
inline bool may_be_left(const std::string& name, const EncoderNames& names) {
  return !name.starts_with(names.whole("")) || name.starts_with(names.whole("pooler.")) || name.ends_with(".position_ids");
}

}  // namespace detail

/// Reads config.json and model.safetensors (or several files with model.safetensors.index.json). Tensors of F32, F16 or BF16 are found
/// with the family's prefix ("bert.") or without it; those of heads are left. The files stay mapped as long as the model or a copy of
/// it lives. Throws ErrorId::file_open, json, safetensors; ErrorId::model for a configuration that is not supported, for
/// pytorch_model.bin alone and for a tensor that the model does not have; ErrorId::tensor_missing and tensor_mismatch by name.
inline OpenedEncoder open_encoder(const std::filesystem::path& folder, OpenEncoderOptions options = {}) {
  require(options.modules == Dtype::f32 || options.modules == Dtype::bf16, ErrorId::value, "open_encoder: the modules are ",
          name_of(options.modules), ", expected F32 or BF16");
  OpenedEncoder model;
  const std::filesystem::path config_file = folder / "config.json";
  model.config = parse_encoder_config(io::read_json(config_file), config_file.string());
  model.config.pooling = options.pooling;
  const EncoderNames names = encoder_names(model.config.family);
  const ParameterLayout layout = encoder_layout(model.config);

  struct Found {
    std::shared_ptr<const io::SafetensorsFile> file;
    const io::TensorInfo* tensor;
  };
  std::map<std::string, Found> found;
  for (const std::filesystem::path& path : detail::encoder_files(folder)) {
    const auto file = std::make_shared<const io::SafetensorsFile>(path);
    model.weights.keep(file);
    for (const io::TensorInfo& tensor : file->tensors()) {
      std::string name = detail::encoder_tensor_name(tensor.name, names);
      require(layout.find(name) != nullptr || detail::may_be_left(name, names), ErrorId::model, path.string(), ": tensor ",
              in_quotes(tensor.name), " is no part of the model that config.json describes");
      const bool is_new = found.emplace(std::move(name), Found{file, &tensor}).second;
      require(is_new, ErrorId::duplicate_name, path.string(), ": tensor ", in_quotes(tensor.name), " comes twice in ", folder.string());
    }
  }

  const bool may_lack = options.pooler_may_lack && options.pooling == Pooling::pooler;
  model.has_pooler = !may_lack || std::ranges::any_of(layout.tensors(), [&](const ParameterLayout::Tensor& t) {
    return t.module == names.pooler && found.contains(t.name);
  });
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    if (!model.has_pooler && t.module == names.pooler) {
      const auto zeros = std::make_shared<const Weight<float>>(Weight<float>::Zero(t.rows, t.cols));
      model.weights.add(t.name, FrozenWeight<float>(*zeros));
      model.weights.keep(zeros);
      continue;
    }
    const auto at = found.find(t.name);
    require(at != found.end(), ErrorId::tensor_missing, folder.string(), ": there is no tensor ", in_quotes(t.name));
    const auto& [file, tensor] = at->second;
    const std::vector<Index> shape = is_vector(t.role) ? std::vector<Index>{t.cols} : std::vector<Index>{t.rows, t.cols};
    require(tensor->shape == shape && decodes_exactly<float>(tensor->dtype), ErrorId::tensor_mismatch, file->path().string(),
            ": tensor ", in_quotes(tensor->name), " is ", io::shape_text(tensor->shape), " ", name_of(tensor->dtype), ", expected ",
            io::shape_text(shape), " F32, F16 or BF16");
    const FrozenWeight<float> stored(file->bytes(tensor->name).data(), tensor->dtype, t.rows, t.cols);
    const bool is_module = t.role == Role::weight;
    if ((is_vector(t.role) && !stored.is_wide()) ||  // layers read biases and norms as they are
        (is_module && options.modules == Dtype::f32 && tensor->dtype == Dtype::bf16)) {
      const auto copy = std::make_shared<const Weight<float>>(stored.widened());
      model.weights.add(t.name, FrozenWeight<float>(*copy));
      model.weights.keep(copy);
    } else if (is_module && options.modules == Dtype::bf16 && tensor->dtype != Dtype::bf16) {
      const auto copy = std::make_shared<std::vector<Bfloat16>>(static_cast<std::size_t>(stored.size()));
      to_bfloat16(stored.widened().data(), copy->data(), stored.size());
      model.weights.add(t.name, FrozenWeight<float>(copy->data(), t.rows, t.cols));
      model.weights.keep(copy);
    } else {
      model.weights.add(t.name, stored);
    }
  }
  return model;
}

}  // namespace lorasb::models
