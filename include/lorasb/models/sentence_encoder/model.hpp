// A transformer that maps texts to unit vectors: the Universal Sentence Encoder Lite.
#pragma once

#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/borrowed.hpp"
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
class SentenceEncoder {
 public:
  using Config = SentenceEncoderConfig;
  using Cache = SentenceEncoderCache<S>;

  /// `weights` has the embedding, biases and norms of sentence_encoder_layout(config), perhaps more; `layers` one layer for
  /// each of sentence_encoder_modules(config), in their order; `values` is the layout of what is trained. Throws
  /// ErrorId::unknown_name, shape, model.
  SentenceEncoder(SentenceEncoderConfig config, Borrowed<FrozenModel<S>> weights, std::span<const S> inverse_timescales,
                  Borrowed<Layers<S>> layers, const ParameterLayout& values)
      : config_(config), embedding_(weights->at("embedding.weight")), layout_size_(values.size()) {
    config_.validate();
    const GradientMap map(values);
    require_shape(embedding_, config_.vocabulary, config_.embedding, "SentenceEncoder", "embedding.weight");
    embedding_gradient_ = map.of("embedding", Role::embedding, embedding_.size());
    const std::vector<ModuleShape> modules = sentence_encoder_modules(config_);
    require(layers->size() == modules.size(), ErrorId::model, "SentenceEncoder: ", layers->size(), " layers, expected ",
            modules.size());
    const auto part = [&](const std::string& name) {
      std::size_t m = 0;
      while (modules[m].name != name) ++m;
      const LinearLayer<S>& layer = *(*layers)[m];
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
    sums_only_ = values.count([](const ParameterLayout::Tensor& t) {
      return t.role == Role::embedding || t.role == Role::bias || t.role == Role::norm_scale || t.role == Role::norm_bias;
    }) > 0;
    set_timing(inverse_timescales);
  }

  const SentenceEncoderConfig& config() const { return config_; }
  /// Rows of what forward writes.
  Index features() const { return config_.hidden; }

  /// Overwrites Y, hidden x texts, unit columns, and the cache. Every text must have 1 to max_tokens tokens: ErrorId::value.
  void forward(const nn::PackedBatch& batch, MatrixView<S> Y, SentenceEncoderCache<S>& cache) const {
    const std::span<const Index> offsets = batch.offsets();
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
      require(offsets[i + 1] - offsets[i] <= config_.max_tokens, ErrorId::value, "SentenceEncoder::forward: text ", i, " has ",
              offsets[i + 1] - offsets[i], " tokens, expected at most ", config_.max_tokens);
    require_shape(Y, config_.hidden, batch.sequences(), "SentenceEncoder::forward", "Y", "hidden x texts");
    cache.batch = batch;
    cache.blocks.resize(blocks_.size());
    share(cache);
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

  /// dY: hidden x texts. Adds the gradients of all that is trained to `gradient`, as many numbers as the layout of the values;
  /// tensors of others in it, such as a head, are left alone. Throws ErrorId::shape when `batch` is not that of the last
  /// forward with this cache.
  void backward(const nn::PackedBatch& batch, ConstMatrixView<S> dY, SentenceEncoderCache<S>& cache, std::span<S> gradient) const {
    require(std::ssize(gradient) == layout_size_, ErrorId::shape, "SentenceEncoder::backward: gradient has ", gradient.size(),
            " numbers, expected ", layout_size_, ", as the values have");
    run_backward(batch, dY, cache, gradient);
  }
  /// The same with the gradient of each text in its column of `each`, values x texts, to which it is added. Only linear layers
  /// have gradients per example: throws ErrorId::value when biases, norms or the embedding are trained.
  void backward_per_example(const nn::PackedBatch& batch, ConstMatrixView<S> dY, SentenceEncoderCache<S>& cache,
                            MatrixView<S> each) const {
    require_shape(each, layout_size_, batch.sequences(), "SentenceEncoder::backward_per_example", "each", "values x texts");
    require(!sums_only_, ErrorId::value,
            "SentenceEncoder::backward_per_example: biases, norms or the embedding are trained, which have no gradients per "
            "example");
    run_backward(batch, dY, cache, each);
  }

  /// Of the auxiliary losses of all layers (LinearLayer::auxiliary_loss): how many sums a pass leaves, the sums, the loss.
  Index statistics_size() const {
    SentenceEncoderCache<S> none;
    none.blocks.resize(blocks_.size());
    Index size = 0;
    for_each_layer(none, [&](const LinearLayer<S>& layer, LinearCache<S>&) { size += layer.statistics_size(); });
    return size;
  }
  /// Adds the statistics of the last forward pass to `sums`, statistics_size() numbers.
  void add_statistics(SentenceEncoderCache<S>& cache, std::span<double> sums) const {
    std::size_t position = 0;
    for_each_layer(cache, [&](const LinearLayer<S>&, LinearCache<S>& c) {
      for (const double x : c.statistics) sums[position++] += x;
    });
  }
  /// Gives every layer its part of the sums over the whole batch, for the backward pass; `sums` must outlive that.
  void set_batch_statistics(SentenceEncoderCache<S>& cache, std::span<const double> sums) const {
    for_each_layer(cache, [&](const LinearLayer<S>& layer, LinearCache<S>& c) {
      const auto size = static_cast<std::size_t>(layer.statistics_size());
      c.batch_statistics = sums.first(size);
      sums = sums.subspan(size);
    });
  }
  double auxiliary_loss(std::span<const double> sums) const {
    SentenceEncoderCache<S> none;
    none.blocks.resize(blocks_.size());
    double loss = 0;
    for_each_layer(none, [&](const LinearLayer<S>& layer, LinearCache<S>&) {
      const auto size = static_cast<std::size_t>(layer.statistics_size());
      loss += layer.auxiliary_loss(sums.first(size));
      sums = sums.subspan(size);
    });
    return loss;
  }

  /// visit(layer, cache) for each layer, in the order of the modules of a forward pass.
  template <class Visit>
  void for_each_layer(SentenceEncoderCache<S>& cache, const Visit& visit) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i].for_each_layer(cache.blocks[i], visit);
    visit(*projection_.layer, cache.projection.cache);
  }

 private:
  /// Tells every layer what it cannot see in its columns: their tasks, and what the layers of a pass share.
  void share(SentenceEncoderCache<S>& cache) const {
    for_each_layer(cache, [&](const LinearLayer<S>&, LinearCache<S>& c) {
      c.tasks = cache.batch.token_tasks();
      c.shared = &cache.shared;
    });
    cache.projection.cache.tasks = cache.batch.tasks();  // its columns are texts
  }
  static ConstMatrixView<S> input(SentenceEncoderCache<S>& cache, std::size_t i) {
    return i == 0 ? cache.embedded.view() : cache.blocks[i - 1].output.view();
  }

  void run_backward(const nn::PackedBatch& batch, ConstMatrixView<S> dY, SentenceEncoderCache<S>& cache,
                    const ModelGradient<S>& to) const {
    require_shape(dY, config_.hidden, batch.sequences(), "SentenceEncoder::backward", "dY", "hidden x texts");
    require(std::ranges::equal(batch.tokens(), cache.batch.tokens()) && std::ranges::equal(batch.offsets(), cache.batch.offsets()),
            ErrorId::shape, "SentenceEncoder::backward: the batch is not the one of the last forward pass with this cache");
    share(cache);  // the cache may have been moved
    cache.text_offsets.resize(static_cast<std::size_t>(batch.sequences()) + 1);
    std::iota(cache.text_offsets.begin(), cache.text_offsets.end(), Index{0});
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
  Index layout_size_;
  bool sums_only_ = false;  // something is trained that has no gradient per example
};

}  // namespace lorasb::models
