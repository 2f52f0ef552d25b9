// A transformer that turns texts into unit vectors: the Universal Sentence Encoder Lite.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "lorasb/core/module.hpp"
#include "lorasb/models/sentence_encoder/cache.hpp"
#include "lorasb/models/sentence_encoder/places.hpp"
#include "lorasb/nn/activation.hpp"
#include "lorasb/nn/attention.hpp"
#include "lorasb/nn/bias.hpp"
#include "lorasb/nn/embedding.hpp"
#include "lorasb/nn/feed_forward.hpp"
#include "lorasb/nn/l2_normalize.hpp"
#include "lorasb/nn/layer_norm.hpp"
#include "lorasb/nn/linear.hpp"
#include "lorasb/nn/packed_batch.hpp"
#include "lorasb/nn/pooling.hpp"

namespace lorasb::models {

/// For tokens w_p at positions p = 0, 1, ... of a text, with t the inverse timescales:
///     x    = 2 E[w] + [sin(p t); cos(p t)]                                       embedding x tokens
///     h    = W_out attention(W_qkv LN(x) + b_qkv) + b_out + r(x),    r(x) = W_res x + b_res in layer 0, x above
///     x'   = h + W_down relu(W_up LN(h) + b_up) + b_down                         hidden x tokens, in each layer
///     y    = v / ‖v‖,  v = tanh(W_p mean_tokens(x') + b_p)                       hidden x texts
/// Pre-norm, no final norm; attention scale 1 / √(width / heads). The weights W are linear layers of any kind, so that an
/// adapter, an observer or a trained copy can stand in each place; all else is read from `weights`.
///
/// The encoder is a description over memory of others: weights, layers and timescales must outlive it, threads share it.
template <Real S>
class SentenceEncoder {
 public:
  /// `weights` has the embedding, biases and norms of sentence_encoder_layout(config), perhaps more; `layers` one layer for
  /// each of sentence_encoder_modules(config). Throws ErrorId::unknown_name, shape, model.
  SentenceEncoder(SentenceEncoderConfig config, const Parameters<S>& weights, std::span<const S> inverse_timescales,
                  const Layers<S>& layers)
      : config_(checked(config, layers.size())),
        layers_(&layers),
        places_(config, layers),
        embedding_(weights["embedding.weight"]) {
    const std::vector<LinearShape> modules = sentence_encoder_modules(config_);
    require_shape(embedding_, config_.vocabulary, config_.embedding, "SentenceEncoder", "embedding.weight");
    for (std::size_t m = modules.size(); m-- > 0;) {
      require(layers[m]->out_features() == modules[m].out_features && layers[m]->in_features() == modules[m].in_features,
              ErrorId::shape, "SentenceEncoder: layer \"", modules[m].name, "\" is ", layers[m]->out_features(), " x ",
              layers[m]->in_features(), ", expected ", modules[m].out_features, " x ", modules[m].in_features);
      if (layers[m]->wants_gradient()) lowest_ = m;
    }
    for (const LinearShape& module : modules) biases_.push_back(weights.flat(module.name + ".bias"));
    for (Index i = 0; i < config_.layers; ++i)
      for (const char* norm : {".attention_norm", ".feed_forward_norm"}) {
        const std::string name = "layers." + std::to_string(i) + norm;
        norms_.push_back({weights.flat(name + ".weight"), weights.flat(name + ".bias")});
      }
    set_timing(inverse_timescales);
  }

  SentenceEncoder(SentenceEncoderConfig, const Parameters<S>&, std::span<const S>, const Layers<S>&&) = delete;
  SentenceEncoder(SentenceEncoderConfig, const Parameters<S>&&, std::span<const S>, const Layers<S>&) = delete;

  const SentenceEncoderConfig& config() const { return config_; }
  /// Numbers that all layers train together.
  Index trainable() const { return places_.trainable(); }

  /// Overwrites Y, hidden x texts, unit columns, and the cache. Every text must have 1 to max_tokens tokens: ErrorId::value.
  void forward(const nn::PackedBatch& batch, MatrixView<S> Y, SentenceEncoderCache<S>& cache) const {
    const std::span<const Index> offsets = batch.offsets();
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
      require(offsets[i + 1] - offsets[i] <= config_.max_tokens, ErrorId::value, "SentenceEncoder::forward: text ", i, " has ",
              offsets[i + 1] - offsets[i], " tokens, expected at most ", config_.max_tokens);
    require_shape(Y, config_.hidden, batch.sequences(), "SentenceEncoder::forward", "Y", "hidden x texts");
    cache.layers.resize(static_cast<std::size_t>(config_.layers));
    embed(batch, cache);
    for (Index i = 0; i < config_.layers; ++i) forward_layer(i, offsets, cache);
    const MatrixView<S> pooled = cache.pooled.reshape(config_.hidden, batch.sequences());
    const MatrixView<S> activated = cache.activated.reshape(config_.hidden, batch.sequences());
    nn::mean_pool<S>(output(cache, config_.layers - 1), offsets, pooled);
    forward_linear(projection(), pooled, activated, cache.projection);
    nn::tanh<S>(activated, activated);
    nn::l2_normalize<S>(activated, Y);
  }

  /// dY: hidden x texts. Adds to `module_gradients` the gradients of all layers, one after the other in their order,
  /// trainable() numbers; and, when it is not empty, to `other_gradients` those of the tensors that follow the modules' weights
  /// in sentence_encoder_layout(). Goes no further down than the lowest layer that wants a gradient, or to the embedding for
  /// other_gradients. `batch` and `cache` are those of forward.
  void backward(const nn::PackedBatch& batch, ConstMatrixView<S> dY, SentenceEncoderCache<S>& cache,
                std::span<S> module_gradients, std::span<S> other_gradients = {}) const {
    require_shape(dY, config_.hidden, batch.sequences(), "SentenceEncoder::backward", "dY", "hidden x texts");
    require(std::ssize(module_gradients) == trainable(), ErrorId::shape, "SentenceEncoder::backward: module_gradients has ",
            module_gradients.size(), " numbers, expected ", trainable());
    require(other_gradients.empty() || std::ssize(other_gradients) == places_.others_size(), ErrorId::shape,
            "SentenceEncoder::backward: other_gradients has ", other_gradients.size(), " numbers, expected ",
            places_.others_size());
    run_backward(batch, dY, cache, {.modules = module_gradients, .others = other_gradients});
  }

  /// The same with the gradient of each text in its column of `module_gradients`, trainable() x texts, to which it is added.
  /// Throws ErrorId::value when a layer has a gradient, but none per example.
  void backward_per_example(const nn::PackedBatch& batch, ConstMatrixView<S> dY, SentenceEncoderCache<S>& cache,
                            MatrixView<S> module_gradients) const {
    require_shape(dY, config_.hidden, batch.sequences(), "SentenceEncoder::backward_per_example", "dY", "hidden x texts");
    require_shape(module_gradients, trainable(), batch.sequences(), "SentenceEncoder::backward_per_example", "module_gradients",
                  "trainable() x texts");
    cache.text_offsets.resize(static_cast<std::size_t>(batch.sequences()) + 1);
    std::iota(cache.text_offsets.begin(), cache.text_offsets.end(), Index{0});
    run_backward(batch, dY, cache, {.each = &module_gradients, .offsets = batch.offsets(), .texts = cache.text_offsets});
  }

 private:
  struct Norm {
    std::span<const S> scale, bias;
  };
  /// As backward was given them: of the modules one flat gradient or one for each example; `others` is empty when not wanted.
  struct Gradients {
    std::span<S> modules = {}, others = {};
    const MatrixView<S>* each = nullptr;
    std::span<const Index> offsets = {}, texts = {};  // of tokens, and of columns that are texts
  };
  enum Place : std::size_t { residual = 0, qkv = 1, attention_out = 2, up = 3, down = 4 };  // layer i's modules, from 4 i on

  LayerGradient<S> module_gradient(const Gradients& gradients, std::size_t m) const {
    if (gradients.each == nullptr) return places_.module(gradients.modules, m);
    return {places_.module(*gradients.each, m), m == projection() ? gradients.texts : gradients.offsets};
  }

  void run_backward(const nn::PackedBatch& batch, ConstMatrixView<S> dY, SentenceEncoderCache<S>& cache,
                    const Gradients& gradients) const {
    const MatrixView<S> d_projected = cache.d_texts.reshape(config_.hidden, batch.sequences());
    nn::l2_normalize_backward<S>(dY, cache.activated.view(), d_projected);
    nn::tanh_backward<S>(d_projected, cache.activated.view(), d_projected);
    const MatrixView<S> d_pooled = cache.d_h.reshape(config_.hidden, batch.sequences());
    const bool further = wanted_below(projection(), gradients);
    backward_linear(projection(), cache.pooled.view(), d_projected, cache.projection, gradients, further, d_pooled);
    if (!further) return;
    const MatrixView<S> dX = cache.d_x.reshape(config_.hidden, std::ssize(batch.tokens()));
    nn::mean_pool_backward<S>(d_pooled, batch.offsets(), dX);
    for (Index i = config_.layers; i-- > 0;)
      if (!backward_layer(i, batch.offsets(), cache, gradients)) return;
    MatrixView<S> d_embedded = cache.d_x.view();
    d_embedded *= S(2);  // x = 2 E[w] + ...
    nn::embed_backward_parameters<S>(
        WeightView<S>(places_.embedding(gradients.others).data(), embedding_.rows(), embedding_.cols()), batch.tokens(),
        d_embedded);
  }

  static std::size_t module_of(Index i, Place place) { return static_cast<std::size_t>(4 * i) + place; }
  std::size_t projection() const { return layers_->size() - 1; }
  const LinearLayer<S>& layer(std::size_t m) const { return *(*layers_)[m]; }
  nn::FeedForward<S> feed_forward(Index i) const {
    return {layer(module_of(i, up)), biases_[module_of(i, up)], layer(module_of(i, down)), biases_[module_of(i, down)]};
  }
  double attention_scale(Index i) const { return 1 / std::sqrt(double(config_.width(i) / config_.heads)); }

  static MatrixView<S> input(SentenceEncoderCache<S>& cache, Index i) {
    return i == 0 ? cache.embedded.view() : output(cache, i - 1);
  }
  static MatrixView<S> output(SentenceEncoderCache<S>& cache, Index i) {
    return cache.layers[static_cast<std::size_t>(i)].output.view();
  }

  static SentenceEncoderConfig checked(const SentenceEncoderConfig& config, std::size_t layers) {
    config.validate();
    const std::size_t expected = sentence_encoder_modules(config).size();
    require(layers == expected, ErrorId::model, "SentenceEncoder: ", layers, " layers, expected ", expected);
    return config;
  }

  /// Column p: [sin(p t); cos(p t)]
  void set_timing(std::span<const S> inverse_timescales) {
    require(std::ssize(inverse_timescales) * 2 == config_.embedding, ErrorId::model,
            "SentenceEncoder: ", inverse_timescales.size(), " timescales, expected half of embedding, ", config_.embedding);
    const Index half = config_.embedding / 2;
    timing_.resize(config_.embedding, config_.max_tokens);
    for (Index p = 0; p < config_.max_tokens; ++p)
      for (Index k = 0; k < half; ++k) {
        const S angle = S(p) * inverse_timescales[static_cast<std::size_t>(k)];
        timing_(k, p) = std::sin(angle);
        timing_(half + k, p) = std::cos(angle);
      }
  }

  /// x = 2 E[w] + [sin(p t); cos(p t)]
  void embed(const nn::PackedBatch& batch, SentenceEncoderCache<S>& cache) const {
    MatrixView<S> X = cache.embedded.reshape(config_.embedding, std::ssize(batch.tokens()));
    nn::embed<S>(embedding_, batch.tokens(), X);
    const std::span<const Index> offsets = batch.offsets();
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
      const Index length = offsets[i + 1] - offsets[i];
      X.middleCols(offsets[i], length) = S(2) * X.middleCols(offsets[i], length) + timing_.leftCols(length);
    }
  }

  void forward_linear(std::size_t m, ConstMatrixView<S> X, MatrixView<S> Y, LinearCache<S>& cache) const {
    layer(m).forward(X, Y, cache);
    nn::add_bias<S>(Y, biases_[m]);
  }

  void forward_layer(Index i, std::span<const Index> offsets, SentenceEncoderCache<S>& cache) const {
    typename SentenceEncoderCache<S>::Layer& c = cache.layers[static_cast<std::size_t>(i)];
    const ConstMatrixView<S> X = input(cache, i);
    const Index width = config_.width(i);
    const Index tokens = X.cols();
    const Norm& attention_norm = norms_[static_cast<std::size_t>(2 * i)];
    const Norm& feed_forward_norm = norms_[static_cast<std::size_t>(2 * i + 1)];
    const MatrixView<S> normed = c.normed.reshape(width, tokens);
    const MatrixView<S> stacked = c.stacked.reshape(3 * width, tokens);
    const MatrixView<S> mixed = c.mixed.reshape(width, tokens);
    MatrixView<S> H = c.middle.reshape(config_.hidden, tokens);
    const MatrixView<S> normed_H = c.middle_normed.reshape(config_.hidden, tokens);
    MatrixView<S> next = c.output.reshape(config_.hidden, tokens);
    MatrixView<S> branch = cache.d_branch.reshape(config_.hidden, tokens);

    nn::layer_norm<S>(X, attention_norm.scale, attention_norm.bias, config_.epsilon, normed, c.attention_norm);
    forward_linear(module_of(i, qkv), normed, stacked, c.qkv);
    nn::self_attention<S>(stacked, offsets, config_.heads, attention_scale(i), mixed, c.attention);
    forward_linear(module_of(i, attention_out), mixed, H, c.out);
    if (i == 0) {
      forward_linear(residual, X, branch, cache.residual);
      H += branch;
    } else {
      H += X;
    }
    nn::layer_norm<S>(H, feed_forward_norm.scale, feed_forward_norm.bias, config_.epsilon, normed_H, c.feed_forward_norm);
    feed_forward(i).forward(normed_H, next, c.feed_forward);
    next += H;
  }

  /// Whether a gradient below module m has to be found.
  bool wanted_below(std::size_t m, const Gradients& gradients) const { return !gradients.others.empty() || m > lowest_; }

  /// Adds the gradients of module m, and overwrites dX when `further` says that somebody wants it.
  void backward_linear(std::size_t m, ConstMatrixView<S> X, ConstMatrixView<S> dY, LinearCache<S>& cache,
                       const Gradients& gradients, bool further, MatrixView<S> dX) const {
    if (!gradients.others.empty()) nn::add_bias_backward_parameters<S>(dY, places_.bias(gradients.others, m));
    layer(m).backward_to(X, dY, cache, module_gradient(gradients, m), further ? dX : MatrixView<S>(nullptr, dX.rows(), 0));
  }

  /// cache.d_x holds dx' before and dx after. Returns whether anybody below wants dx.
  bool backward_layer(Index i, std::span<const Index> offsets, SentenceEncoderCache<S>& cache,
                      const Gradients& gradients) const {
    typename SentenceEncoderCache<S>::Layer& c = cache.layers[static_cast<std::size_t>(i)];
    const ConstMatrixView<S> X = input(cache, i);
    const Index width = config_.width(i);
    const Index tokens = X.cols();
    const std::size_t attention_norm = static_cast<std::size_t>(2 * i);

    // x' = h + feed_forward(LN(h))
    MatrixView<S> dH = cache.d_x.view();
    MatrixView<S> branch = cache.d_branch.reshape(config_.hidden, tokens);
    nn::FeedForwardGradient<S> feed_forward_gradient;
    feed_forward_gradient.up = module_gradient(gradients, module_of(i, up));
    feed_forward_gradient.down = module_gradient(gradients, module_of(i, down));
    if (!gradients.others.empty()) {
      feed_forward_gradient.up_bias = places_.bias(gradients.others, module_of(i, up));
      feed_forward_gradient.down_bias = places_.bias(gradients.others, module_of(i, down));
    }
    const bool below_wanted = wanted_below(module_of(i, up), gradients);
    feed_forward(i).backward(c.middle_normed.view(), dH, c.feed_forward, feed_forward_gradient,
                             below_wanted ? branch : MatrixView<S>(nullptr, config_.hidden, 0));
    if (!below_wanted) return false;
    backward_norm(attention_norm + 1, branch, c.middle.view(), c.feed_forward_norm, gradients, branch);
    dH += branch;

    // h = W_out attention(W_qkv LN(x) + b_qkv) + b_out + r(x); in layer 0 only the embedding is below qkv and the residual
    const bool further = i > 0 ? wanted_below(module_of(i, qkv), gradients) : !gradients.others.empty();
    const bool attention_wanted = wanted_below(module_of(i, attention_out), gradients);
    const MatrixView<S> d_mixed = cache.d_h.reshape(width, tokens);
    backward_linear(module_of(i, attention_out), c.mixed.view(), dH, c.out, gradients, attention_wanted, d_mixed);
    if (!attention_wanted) return false;
    const MatrixView<S> d_stacked = cache.d_stacked.reshape(3 * width, tokens);
    nn::self_attention_backward<S>(d_mixed, c.stacked.view(), offsets, config_.heads, attention_scale(i), c.attention,
                                   d_stacked);
    MatrixView<S> dX = cache.d_branch.reshape(width, tokens);
    backward_linear(module_of(i, qkv), c.normed.view(), d_stacked, c.qkv, gradients, further, dX);
    if (further) backward_norm(attention_norm, dX, X, c.attention_norm, gradients, dX);
    if (i > 0) {
      if (further) dH += dX;
      return further;
    }
    const MatrixView<S> d_residual = cache.d_h.reshape(width, tokens);
    backward_linear(residual, X, dH, cache.residual, gradients, further, d_residual);
    if (further) cache.d_x.reshape(width, tokens) = d_residual + dX;
    return further;
  }

  void backward_norm(std::size_t n, ConstMatrixView<S> dY, ConstMatrixView<S> X, const nn::LayerNormCache<S>& cache,
                     const Gradients& gradients, MatrixView<S> dX) const {
    if (!gradients.others.empty())
      nn::layer_norm_backward_parameters<S>(dY, X, cache, places_.norm_scale(gradients.others, n),
                                            places_.norm_bias(gradients.others, n));
    nn::layer_norm_backward_input<S>(dY, X, norms_[n].scale, cache, dX);
  }

  SentenceEncoderConfig config_;
  const Layers<S>* layers_;
  SentenceEncoderPlaces places_;
  ConstWeightView<S> embedding_;
  std::vector<std::span<const S>> biases_;  // by module
  std::vector<Norm> norms_;                 // attention and feed-forward of layer 0, then of layer 1, ...
  Matrix<S> timing_;                        // embedding x max_tokens
  std::size_t lowest_ = ~std::size_t{0};    // the lowest module that wants a gradient
};

}  // namespace lorasb::models
