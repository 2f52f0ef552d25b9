// The linear modules of a model: names, shapes, frozen weights, and the layers that stand in their places.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lorasb/core/config.hpp"
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

/// The same of layers that others own, such as the adapted ones of one set among the frozen ones of another.
template <Real S>
using LayerViews = std::vector<const LinearLayer<S>*>;

template <Real S>
LayerViews<S> views_of(const Layers<S>& layers LORASB_LIFETIMEBOUND) {
  LayerViews<S> views;
  for (const std::unique_ptr<LinearLayer<S>>& layer : layers) views.push_back(layer.get());
  return views;
}

}  // namespace lorasb
