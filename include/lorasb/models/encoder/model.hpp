// An encoder of the BERT family: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, RoBERTa-PreLayerNorm.
#pragma once

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/borrowed.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/models/encoder/block.hpp"
#include "lorasb/models/encoder/config.hpp"
#include "lorasb/nn/embedding.hpp"
#include "lorasb/nn/l2_normalize.hpp"
#include "lorasb/nn/pooling.hpp"

namespace lorasb::models {

/// For tokens w at positions p with token types t:
///     x    = LN(E[w] + P[p] + T[t])                                              hidden x tokens
///     x'   = block(x), in each layer (EncoderBlock)                              hidden x tokens
///     x'   = LN(x') behind the last one, with EncoderConfig::pre_norm()
///     y    = v / ‖v‖ with v the mean of x' over the tokens, or x' of the first token; or f(W_p x'_first + b_p); or x'_first
/// f is tanh for BERT and RoBERTa, relu for DistilBERT. Positions count from 0; with RoBERTa from padding + 1. The weights W
/// are linear layers of any kind (frozen, adapted, observed, trained in full); all else is read from `weights`. Adapters
/// alone drop inputs (PackedBatch::drop_inputs).
template <Real S>
class Encoder final : public TextEncoder<S> {
 public:
  using Config = EncoderConfig;
  using Cache = EncoderCache<S>;

  /// `weights` has the tensors of encoder_layout(config) that are no modules' weights, perhaps more; `layers` one layer for each of
  /// encoder_modules(config), in their order; `values` is the layout of what is trained. Throws ErrorId::unknown_name, shape, model.
  Encoder(const EncoderConfig& config, Borrowed<FrozenModel<S>> weights, Borrowed<Layers<S>> layers,
          const ParameterLayout& values)
      : Encoder(config, weights, views_of(*layers), values) {}
  /// The same of layers that others own.
  Encoder(const EncoderConfig& config, Borrowed<FrozenModel<S>> weights, const LayerViews<S>& layers,
          const ParameterLayout& values)
      : TextEncoder<S>("Encoder", config.hidden, config.max_tokens(), values), config_(config) {
    config_.validate();
    const EncoderNames names = encoder_names(config_.family);
    const GradientMap map(values);
    tables_.push_back(table(names.whole(names.word_embeddings), config_.vocabulary, *weights, map));
    tables_.push_back(table(names.whole(names.position_embeddings), config_.positions, *weights, map));
    if (config_.token_types > 0) tables_.push_back(table(names.whole(names.type_embeddings), config_.token_types, *weights, map));
    embedding_norm_ = {names.whole(names.embedding_norm), config_.epsilon, *weights, map};

    const std::vector<ModuleShape> modules = encoder_modules(config_);
    require(layers.size() == modules.size(), ErrorId::model, "Encoder: ", layers.size(), " layers, expected ", modules.size());
    std::size_t next = 0;
    const auto part = [&] {
      const LinearLayer<S>& layer = *layers[next];
      const ModuleShape& m = modules[next++];
      require(layer.out_features() == m.out_features && layer.in_features() == m.in_features, ErrorId::shape, "Encoder: layer \"",
              m.name, "\" is ", layer.out_features(), " x ", layer.in_features(), ", expected ", m.out_features, " x ",
              m.in_features);
      return LinearPart<S>(m.name, layer, *weights, map);
    };
    for (const Table& t : tables_) tables_wanted_ = tables_wanted_ || t.gradient.count > 0;
    bool wanted = tables_wanted_ || embedding_norm_.trains();
    for (Index i = 0; i < config_.layers; ++i) {
      EncoderBlock<S> block;
      for (LinearPart<S>* const p : {&block.query, &block.key, &block.value, &block.out, &block.up, &block.down}) *p = part();
      block.attention_norm = {names.layer(i).append(names.attention_norm), config_.epsilon, *weights, map};
      block.feed_forward_norm = {names.layer(i).append(names.feed_forward_norm), config_.epsilon, *weights, map};
      block.attention = {.heads = config_.heads};
      block.activation = config_.activation;
      block.pre_norm = config_.pre_norm();
      wanted = block.set_wanted(wanted);
      blocks_.push_back(std::move(block));
    }
    blocks_wanted_ = wanted;
    if (config_.pre_norm()) final_norm_ = {names.whole(names.final_norm), config_.epsilon, *weights, map};
    if (config_.pooling == Pooling::pooler) pooler_ = part();
    pooler_.below_wanted = wanted || final_norm_.trains();
  }

  const EncoderConfig& config() const { return config_; }
  double head_scale() const override { return has_unit_vectors() ? std::sqrt(double(config_.hidden)) : 1; }
  nn::Activation head_activation() const override { return pooler_activation(config_.family); }
  std::unique_ptr<TextEncoderCache<S>> make_cache() const override { return std::make_unique<Cache>(); }

  /// x' of the last layer, behind its norm where there is one, after a forward pass with this cache: hidden x tokens.
  ConstMatrixView<S> hidden_states(const TextEncoderCache<S>& cache) const {
    return last_states(this->template own<const Cache>(cache));
  }

 private:
  /// A table of embeddings, rows x hidden.
  struct Table {
    FrozenWeight<S> rows;
    Range gradient;
  };
  Table table(const std::string& name, Index rows, const FrozenModel<S>& weights, const GradientMap& map) const {
    const FrozenWeight<S>& E = weights.at(name + ".weight");
    require_shape(E, rows, config_.hidden, "Encoder", name);
    return {E, map.of(name, Role::embedding, E.size())};
  }
  /// The rows that a batch takes of a table.
  std::span<const std::int32_t> ids_of(std::size_t table, const Cache& cache) const {
    return table == 0 ? cache.batch.tokens() : table == 1 ? std::span(cache.positions) : cache.batch.types();
  }

  void visit_layers(TextEncoderCache<S>& any, const LayerVisit<S>& visit) const override {
    Cache& cache = this->template own<Cache>(any);
    cache.blocks.resize(blocks_.size());
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i].for_each_layer(cache.blocks[i], visit);
    if (pooler_.layer != nullptr) visit(*pooler_.layer, cache.pooler.cache);
  }
  static ConstMatrixView<S> input(Cache& cache, std::size_t i) {
    return i == 0 ? cache.normed.view() : cache.blocks[i - 1].output.view();
  }
  ConstMatrixView<S> last_states(const Cache& cache) const {
    return config_.pre_norm() ? cache.states.view() : cache.blocks.back().output.view();
  }
  bool has_unit_vectors() const { return config_.pooling == Pooling::mean || config_.pooling == Pooling::first_token; }

  void run_forward(const nn::PackedBatch& batch, MatrixView<S> Y, TextEncoderCache<S>& any) const override {
    Cache& cache = this->template own<Cache>(any);
    cache.blocks.resize(blocks_.size());
    this->share_texts(cache.batch, cache.pooler.cache);  // its columns are texts
    embed(cache);
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      blocks_[i].forward(input(cache, i), batch.offsets(), cache.blocks[i]);
    if (config_.pre_norm()) {
      const ConstMatrixView<S> last = cache.blocks.back().output.view();
      final_norm_.forward(last, cache.states.reshape(last.rows(), last.cols()), cache.final_norm);
    }
    const ConstMatrixView<S> X = last_states(cache);
    if (config_.pooling == Pooling::first_state) return nn::first_pool<S>(X, batch.offsets(), Y);
    const MatrixView<S> pooled = cache.pooled.reshape(config_.hidden, batch.sequences());
    if (config_.pooling == Pooling::mean)
      nn::mean_pool<S>(X, batch.offsets(), pooled);
    else
      nn::first_pool<S>(X, batch.offsets(), pooled);
    if (config_.pooling != Pooling::pooler) return nn::l2_normalize<S>(pooled, Y);
    const MatrixView<S> projected = cache.projected.reshape(config_.hidden, batch.sequences());
    pooler_.forward(pooled, projected, cache.pooler);
    nn::activate<S>(pooler_activation(config_.family), projected, Y);
    cache.activated.reshape(config_.hidden, batch.sequences()) = Y;
  }

  void run_backward(ConstMatrixView<S> dY, TextEncoderCache<S>& any, const ModelGradient<S>& to) const override {
    Cache& cache = this->template own<Cache>(any);
    const std::span<const Index> offsets = cache.batch.offsets();
    this->share_texts(cache.batch, cache.pooler.cache);
    const MatrixView<S> d_pooled = cache.d_texts.reshape(config_.hidden, cache.batch.sequences());
    if (config_.pooling == Pooling::pooler) {  // y = f(W_p v + b_p)
      const MatrixView<S> d_projected = cache.d_branch.reshape(config_.hidden, cache.batch.sequences());
      nn::activate_backward<S>(pooler_activation(config_.family), dY, cache.activated.view(), d_projected);
      pooler_.backward(d_projected, cache.pooler, to, cache.text_offsets, d_pooled);
    }
    if (!pooler_.below_wanted) return;
    if (has_unit_vectors()) nn::l2_normalize_backward<S>(dY, cache.pooled.view(), d_pooled);  // y = v / ‖v‖
    MatrixView<S> dX = cache.d_x.reshape(config_.hidden, offsets.back());
    if (config_.pooling == Pooling::mean)
      nn::mean_pool_backward<S>(d_pooled, offsets, dX);
    else
      nn::first_pool_backward<S>(config_.pooling == Pooling::first_state ? dY : ConstMatrixView<S>(d_pooled), offsets, dX);
    if (config_.pre_norm())
      final_norm_.backward(dX, cache.blocks.back().output.view(), cache.final_norm, to,
                           InputGradient<S>(dX).only_if(blocks_wanted_));
    if (!blocks_wanted_) return;
    for (std::size_t i = blocks_.size(); i-- > 0;) {  // x' = block(x)
      blocks_[i].backward(input(cache, i), offsets, cache.blocks[i], cache, to);
      if (!blocks_[i].below_wanted) return;
    }
    // x = LN(E[w] + P[p] + T[t])
    embedding_norm_.backward(dX, cache.embedded.view(), cache.embedding_norm, to, InputGradient<S>(dX).only_if(tables_wanted_));
    for (std::size_t i = 0; i < tables_.size(); ++i)
      if (const Table& t = tables_[i]; t.gradient.count > 0)
        nn::embed_backward_parameters<S>(WeightView<S>(to.of(t.gradient).data(), t.rows.rows(), t.rows.cols()), ids_of(i, cache), dX);
  }

  /// x = LN(E[w] + P[p] + T[t])
  void embed(Cache& cache) const {
    set_positions(cache);
    const Index tokens = std::ssize(cache.batch.tokens());
    MatrixView<S> sum = cache.embedded.reshape(config_.hidden, tokens);
    const MatrixView<S> rows = cache.d_branch.reshape(config_.hidden, tokens);
    nn::embed<S>(tables_[0].rows, ids_of(0, cache), sum);
    for (std::size_t i = 1; i < tables_.size(); ++i) {
      nn::embed<S>(tables_[i].rows, ids_of(i, cache), rows);
      sum += rows;
    }
    embedding_norm_.forward(sum, cache.normed.reshape(config_.hidden, tokens), cache.embedding_norm);
  }
  /// 0, 1, … in each text; with RoBERTa padding + 1, …, where a padding token has the position `padding` and is not counted.
  void set_positions(Cache& cache) const {
    const std::span<const std::int32_t> tokens = cache.batch.tokens();
    const std::span<const Index> offsets = cache.batch.offsets();
    const auto padding = static_cast<std::int32_t>(config_.padding);
    cache.positions.resize(tokens.size());
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
      std::int32_t next = padding + 1;
      for (auto t = static_cast<std::size_t>(offsets[i]); t < static_cast<std::size_t>(offsets[i + 1]); ++t)
        cache.positions[t] = tokens[t] == padding ? padding : next++;
    }
  }

  EncoderConfig config_;
  std::vector<Table> tables_;  // of words, positions, and token types if there are any
  bool tables_wanted_ = false;
  NormPart<S> embedding_norm_, final_norm_;  // the last is empty without EncoderConfig::pre_norm()
  std::vector<EncoderBlock<S>> blocks_;
  bool blocks_wanted_ = false;  // whether anything up to the end of the last block is trained
  LinearPart<S> pooler_;  // its layer is null without Pooling::pooler
};

}  // namespace lorasb::models
