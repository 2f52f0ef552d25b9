// A transformer that maps texts to unit vectors: the Universal Sentence Encoder Lite.
#pragma once

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/borrowed.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/models/sentence_encoder/block.hpp"
#include "lorasb/nn/activation.hpp"
#include "lorasb/nn/embedding.hpp"
#include "lorasb/nn/l2_normalize.hpp"
#include "lorasb/nn/pooling.hpp"

namespace lorasb::models {

/// For tokens w_p at positions p = 0, 1, ... of a text, with t the inverse timescales:
///     x    = 2 E[w] + [sin(p t); cos(p t)]                                       embedding x tokens
///     x'   = block(x), in each layer (SentenceEncoderBlock)                      hidden x tokens
///     y    = v / ‖v‖,  v = tanh(W_p mean_tokens(x') + b_p)                       hidden x texts
/// Pre-norm, no final norm; attention scale 1 / √(width / heads). The weights W are linear layers of any kind (frozen, adapted,
/// observed, trained in full); biases, norms and embedding are read from `weights`.
///
/// The encoder owns no weights; it views `weights` and `layers`, which must outlive it. Threads may share it. The gradient of
/// each tensor goes to its place in the trainer's flat buffer, which is found by module and role in the layout of the values;
/// what the layout does not have is frozen. Nothing is computed below the lowest trained tensor.
template <Real S>
class SentenceEncoder final : public TextEncoder<S> {
 public:
  using Config = SentenceEncoderConfig;
  using Cache = SentenceEncoderCache<S>;

  /// `weights` has the embedding, biases and norms of sentence_encoder_layout(config), perhaps more; `layers` one layer for
  /// each of sentence_encoder_modules(config), in their order; `values` is the layout of what is trained. Throws
  /// ErrorId::unknown_name, shape, model.
  SentenceEncoder(SentenceEncoderConfig config, Borrowed<FrozenModel<S>> weights, std::span<const S> inverse_timescales,
                  Borrowed<Layers<S>> layers, const ParameterLayout& values)
      : SentenceEncoder(config, weights, inverse_timescales, views_of(*layers), values) {}
  /// The same of layers that others own.
  SentenceEncoder(SentenceEncoderConfig config, Borrowed<FrozenModel<S>> weights, std::span<const S> inverse_timescales,
                  const LayerViews<S>& layers, const ParameterLayout& values)
      : TextEncoder<S>("SentenceEncoder", config.hidden, config.max_tokens, values),
        config_(config),
        embedding_(weights->at("embedding.weight")) {
    config_.validate();
    const GradientMap map(values);
    require_shape(embedding_, config_.vocabulary, config_.embedding, "SentenceEncoder", "embedding.weight");
    embedding_gradient_ = map.of("embedding", Role::embedding, embedding_.size());
    const std::vector<ModuleShape> modules = sentence_encoder_modules(config_);
    require(layers.size() == modules.size(), ErrorId::model, "SentenceEncoder: ", layers.size(), " layers, expected ",
            modules.size());
    const auto part = [&](const std::string& name) {
      std::size_t m = 0;
      while (modules[m].name != name) ++m;
      const LinearLayer<S>& layer = *layers[m];
      require(layer.out_features() == modules[m].out_features && layer.in_features() == modules[m].in_features, ErrorId::shape,
              "SentenceEncoder: layer \"", name, "\" is ", layer.out_features(), " x ", layer.in_features(), ", expected ",
              modules[m].out_features, " x ", modules[m].in_features);
      return LinearPart<S>(name, layer, *weights, map);
    };
    bool wanted = embedding_gradient_.count > 0;
    for (Index i = 0; i < config_.layers; ++i) {
      const std::string name = "layers." + std::to_string(i);
      SentenceEncoderBlock<S> block;
      block.attention_norm = {name + ".attention_norm", config_.epsilon, *weights, map};
      block.feed_forward_norm = {name + ".feed_forward_norm", config_.epsilon, *weights, map};
      if (i == 0) block.residual = part(name + ".residual");
      block.qkv = part(name + ".attention.qkv");
      block.out = part(name + ".attention.out");
      block.up = part(name + ".feed_forward.up");
      block.down = part(name + ".feed_forward.down");
      block.attention = {.heads = config_.heads};
      wanted = block.set_wanted(wanted);
      blocks_.push_back(std::move(block));
    }
    projection_ = part("projection");
    projection_.below_wanted = wanted;
    set_timing(inverse_timescales);
  }

  const SentenceEncoderConfig& config() const { return config_; }
  std::unique_ptr<TextEncoderCache<S>> make_cache() const override { return std::make_unique<Cache>(); }

 private:
  void visit_layers(TextEncoderCache<S>& any, const LayerVisit<S>& visit) const override {
    Cache& cache = this->template own<Cache>(any);
    cache.blocks.resize(blocks_.size());
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i].for_each_layer(cache.blocks[i], visit);
    visit(*projection_.layer, cache.projection.cache);
  }
  static ConstMatrixView<S> input(SentenceEncoderCache<S>& cache, std::size_t i) {
    return i == 0 ? cache.embedded.view() : cache.blocks[i - 1].output.view();
  }

  void run_forward(const nn::PackedBatch& batch, MatrixView<S> Y, TextEncoderCache<S>& any) const override {
    Cache& cache = this->template own<Cache>(any);
    const std::span<const Index> offsets = batch.offsets();
    cache.blocks.resize(blocks_.size());
    this->share_texts(cache.batch, cache.projection.cache);  // its columns are texts
    embed(batch, cache);
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      blocks_[i].forward(input(cache, i), offsets, cache.blocks[i], cache);
    const MatrixView<S> pooled = cache.pooled.reshape(config_.hidden, batch.sequences());
    const MatrixView<S> activated = cache.activated.reshape(config_.hidden, batch.sequences());
    nn::mean_pool<S>(cache.blocks.back().output.view(), offsets, pooled);
    projection_.forward(pooled, activated, cache.projection);
    nn::tanh<S>(activated, activated);
    nn::l2_normalize<S>(activated, Y);
  }

  void run_backward(ConstMatrixView<S> dY, TextEncoderCache<S>& any, const ModelGradient<S>& to) const override {
    Cache& cache = this->template own<Cache>(any);
    const nn::PackedBatch& batch = cache.batch;
    this->share_texts(cache.batch, cache.projection.cache);  // its columns are texts
    // y = v / ‖v‖,  v = tanh(W_p mean_tokens(x') + b_p)
    const MatrixView<S> d_projected = cache.d_texts.reshape(config_.hidden, batch.sequences());
    nn::l2_normalize_backward<S>(dY, cache.activated.view(), d_projected);
    nn::tanh_backward<S>(d_projected, cache.activated.view(), d_projected);
    const MatrixView<S> d_pooled = cache.d_h.reshape(config_.hidden, batch.sequences());
    projection_.backward(d_projected, cache.projection, to, cache.text_offsets, d_pooled);
    if (!projection_.below_wanted) return;
    nn::mean_pool_backward<S>(d_pooled, batch.offsets(), cache.d_x.reshape(config_.hidden, std::ssize(batch.tokens())));
    // x' = block(x)
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      blocks_[i].backward(input(cache, i), batch.offsets(), cache.blocks[i], cache, to);
      if (!blocks_[i].below_wanted) return;
    }
    // x = 2 E[w] + ...
    MatrixView<S> d_embedded = cache.d_x.view();
    d_embedded *= S(2);
    nn::embed_backward_parameters<S>(
        WeightView<S>(to.of(embedding_gradient_).data(), embedding_.rows(), embedding_.cols()), batch.tokens(), d_embedded);
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

  SentenceEncoderConfig config_;
  FrozenWeight<S> embedding_;
  Range embedding_gradient_;
  std::vector<SentenceEncoderBlock<S>> blocks_;
  LinearPart<S> projection_;
  Matrix<S> timing_;  // embedding x max_tokens
};

}  // namespace lorasb::models
