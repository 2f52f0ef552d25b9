// The parts that a transformer block is made of: a linear layer with its bias, and a layer norm, with their gradients.
#pragma once

#include <span>
#include <string>

#include "lorasb/core/frozen_model.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/models/gradient_map.hpp"
#include "lorasb/nn/bias.hpp"
#include "lorasb/nn/layer_norm.hpp"

namespace lorasb::models {

/// The cache of a linear layer and the pass that wrote it.
template <Real S>
struct LORASB_OWNS_MEMORY LinearPass {
  LinearCache<S> cache;
  ForwardPass<S> pass;
};

/// Y = layer(X) + b. Views a layer and a bias of others.
template <Real S>
struct LinearPart {
  const LinearLayer<S>* layer = nullptr;
  std::span<const S> bias;
  Range gradient, bias_gradient;
  bool below_wanted = false;  // whether anything that X depends on is trained

  LinearPart() = default;
  LinearPart(const std::string& module, const LinearLayer<S>& linear, const FrozenModel<S>& weights, const GradientMap& map)
      : layer(&linear),
        bias(weights.flat(module + ".bias")),
        gradient(map.of_layer(module, linear)),
        bias_gradient(map.of(module, Role::bias, linear.out_features())) {}

  bool trains() const { return layer != nullptr && (layer->wants_gradient() || bias_gradient.count > 0); }

  void forward(ConstMatrixView<S> X, MatrixView<S> Y, LinearPass<S>& kept) const {
    kept.pass = layer->forward(X, Y, kept.cache);
    nn::add_bias<S>(Y, bias);
  }
  /// Adds the gradients, and overwrites dX when anything below is trained.
  void backward(ConstMatrixView<S> dY, LinearPass<S>& kept, const ModelGradient<S>& to, std::span<const Index> offsets,
                MatrixView<S> dX) const {
    if (const std::span<S> db = to.of(bias_gradient); !db.empty()) nn::add_bias_backward_parameters<S>(dY, db);
    layer->backward(kept.pass, dY, kept.cache, to.of(gradient, offsets), InputGradient<S>(dX).only_if(below_wanted));
  }
};

/// Y = scale ∘ (X - mean) / deviation + bias, column by column.
template <Real S>
struct NormPart {
  std::span<const S> scale, bias;
  double epsilon = 0;
  Range scale_gradient, bias_gradient;

  NormPart() = default;
  NormPart(const std::string& module, double small, const FrozenModel<S>& weights, const GradientMap& map)
      : scale(weights.flat(module + ".weight")),
        bias(weights.flat(module + ".bias")),
        epsilon(small),
        scale_gradient(map.of(module, Role::norm_scale, std::ssize(scale))),
        bias_gradient(map.of(module, Role::norm_bias, std::ssize(bias))) {
    require((scale_gradient.count > 0) == (bias_gradient.count > 0), ErrorId::shape, "NormPart: of the norm ",
            in_quotes(module), " scale and bias are trained together, or neither");
  }

  bool trains() const { return scale_gradient.count > 0; }

  void forward(ConstMatrixView<S> X, MatrixView<S> Y, nn::LayerNormCache<S>& kept) const {
    nn::layer_norm<S>(X, scale, bias, epsilon, Y, kept);
  }
  /// Adds the gradients, and overwrites dX, which may be dY, unless it is not wanted.
  void backward(ConstMatrixView<S> dY, ConstMatrixView<S> X, const nn::LayerNormCache<S>& kept, const ModelGradient<S>& to,
                const InputGradient<S>& dX) const {
    if (trains()) nn::layer_norm_backward_parameters<S>(dY, X, kept, to.of(scale_gradient), to.of(bias_gradient));
    if (dX.wanted()) nn::layer_norm_backward_input<S>(dY, X, scale, kept, dX.view());
  }
};

}  // namespace lorasb::models
