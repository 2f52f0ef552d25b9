// Tensors of the base model that a folder brings with it: trained in full beside an adapter, or all of them.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/classify/base_model.hpp"
#include "lorasb/formats/peft_folder.hpp"
#include "lorasb/formats/peft_patterns.hpp"
#include "lorasb/io/tensor_info.hpp"

namespace lorasb::classify {

/// Puts `tensors` in the place of the base model's, which PEFT saves for save_embedding_layers and modules_to_save. A name is
/// that of a tensor of the base, or its last parts ("embeddings.word_embeddings.weight"), where they fit one alone. `where` is
/// the folder, for messages. Throws ErrorId::adapter_folder for a tensor that the base does not have, one of another shape, and
/// where the base lacks the dense layer of its head and `tensors` do not bring it.
inline void replace_base_tensors(BaseModel& base, std::vector<formats::NamedTensor<float>> tensors, const std::string& where) {
  const auto check = [&](bool good, const auto&... parts) { require(good, ErrorId::adapter_folder, where, " ", parts...); };
  std::set<std::string> replaced;
  for (formats::NamedTensor<float>& given : tensors) {
    const ParameterLayout::Tensor* found = base.layout.find(given.name);
    if (found == nullptr)
      for (const ParameterLayout::Tensor& t : base.layout.tensors()) {
        if (!formats::names_module(given.name, t.name)) continue;
        check(found == nullptr, "holds ", in_quotes(given.name), ", which can be ",
              in_quotes(found != nullptr ? found->name : ""), " and ", in_quotes(t.name), " of ", base.name);
        found = &t;
      }
    check(found != nullptr, "holds the tensor ", in_quotes(given.name), ", which ", base.name,
          " does not have: without it the model would be another one");
    check(replaced.insert(found->name).second, "holds ", in_quotes(found->name), " twice");
    const bool is_vector = found->rows == 1 && given.shape.size() == 1;
    const std::vector<Index> shape = is_vector ? std::vector<Index>{found->cols} : std::vector<Index>{found->rows, found->cols};
    check(given.shape == shape, "holds ", in_quotes(given.name), " as ", io::shape_text(given.shape), ", but in ", base.name,
          " it is ", io::shape_text(shape));
    const auto kept = std::make_shared<const std::vector<float>>(std::move(given.values));
    base.weights.keep(kept);
    base.weights.replace(found->name, FrozenWeight<float>(ConstWeightView<float>(kept->data(), found->rows, found->cols)));
    for (Module<float>& m : base.modules)
      if (found->role == Role::weight && m.name == found->module) m.W0 = base.weights.at(found->name);
  }
  if (!base.lacks_pooler) return;
  const std::string& dense = base.modules.back().name;  // Pooling::pooler's is the last
  for (const char* suffix : {".weight", ".bias"})
    check(replaced.contains(dense + suffix), "has no ", dense, suffix, ", and neither has ", base.name,
          ": the head cannot be computed; PEFT saves the layer when modules_to_save names it");
}

}  // namespace lorasb::classify
