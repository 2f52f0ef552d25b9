// The frozen weights of a model in safetensors files, mapped and not copied.
#pragma once

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "lorasb/core/frozen_model.hpp"
#include "lorasb/io/safetensors.hpp"

namespace lorasb::io {

/// Adds every tensor of one or two dimensions whose numbers are S or narrower (F64, F32, F16, BF16): a vector as a weight of one
/// row. Others are left out. The file stays mapped for as long as the model or a copy of it lives. For a model in several files
/// call it once for each. Throws what SafetensorsFile throws, and ErrorId::duplicate_name.
template <Real S>
void add_file(FrozenModel<S>& model, std::filesystem::path path) {
  const auto file = std::make_shared<const SafetensorsFile>(std::move(path));
  model.keep(file);
  for (const TensorInfo& t : file->tensors()) {
    if (t.shape.empty() || t.shape.size() > 2 || !decodes_exactly<S>(t.dtype)) continue;
    const Index rows = t.shape.size() == 2 ? t.shape[0] : 1;
    model.add(t.name, FrozenWeight<S>(file->bytes(t.name).data(), t.dtype, rows, t.shape.back()));
  }
}

/// The same as a new model.
///
///     FrozenModel<float> model = open_model<float>("model.safetensors");
///     FrozenWeight<float> W0 = model.at("encoder.query.weight");
template <Real S>
FrozenModel<S> open_model(std::filesystem::path path) {
  FrozenModel<S> model;
  add_file(model, std::move(path));
  return model;
}

}  // namespace lorasb::io
