// The linear modules of a model: names, shapes, frozen weights, and the layers that stand in their places.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/layer.hpp"

namespace lorasb {

/// The name and shape of a linear module.
struct ModuleShape {
  std::string name = {};
  Index out_features = 0;
  Index in_features = 0;
};

/// A linear module of a model: its name and its frozen weight, out x in.
template <Real S>
struct Module {
  std::string name = {};
  FrozenWeight<S> W0;
};

/// One layer for each module, in the order of the modules.
template <Real S>
using Layers = std::vector<std::unique_ptr<LinearLayer<S>>>;

}  // namespace lorasb
