// The contract of an encoder that maps texts to vectors, whatever it is made of.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/core/layer.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/models/gradient_map.hpp"
#include "lorasb/nn/activation.hpp"
#include "lorasb/nn/packed_batch.hpp"

namespace lorasb::models {

/// What a pass keeps, owned by the caller, one for each thread. An encoder derives its own from it.
template <Real S>
struct LORASB_OWNS_MEMORY TextEncoderCache {
  TextEncoderCache() = default;
  TextEncoderCache(TextEncoderCache&&) = default;
  TextEncoderCache& operator=(TextEncoderCache&&) = default;
  virtual ~TextEncoderCache() = default;

  nn::PackedBatch batch;            // of the last forward
  std::vector<Index> text_offsets;  // 0, 1, ... for layers whose columns are texts
  LinearCache<S> shared;            // of all layers (LinearCache::shared)
};

template <Real S>
using LayerVisit = std::function<void(const LinearLayer<S>&, LinearCache<S>&)>;

/// Y = encoder(texts), features x texts. The encoder owns no weights; threads share it. The gradient of each tensor goes to its place
/// in the trainer's flat buffer, which is found by module and role in the layout of the values; what the layout does not have is
/// frozen. Nothing is computed below the lowest trained tensor.
///
///     const std::unique_ptr<TextEncoderCache<float>> cache = encoder.make_cache();
///     encoder.forward(batch, Y, *cache);
///     encoder.backward(batch, dY, *cache, gradient);
///
/// Arguments are checked here; an encoder of your own overrides make_cache(), run_forward(), run_backward() and visit_layers().
template <Real S>
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;

  /// Rows of what forward writes.
  Index features() const { return features_; }
  /// Of one text.
  Index max_tokens() const { return max_tokens_; }
  /// What a head multiplies Y with, so that its features have size one: √features where the columns have length one.
  virtual double head_scale() const { return std::sqrt(double(features_)); }
  /// What a head with a dense layer of its own puts behind that layer.
  virtual nn::Activation head_activation() const { return nn::Activation::tanh; }
  virtual std::unique_ptr<TextEncoderCache<S>> make_cache() const = 0;

  /// Overwrites Y, features x texts, and the cache. Every text must have 1 to max_tokens tokens: ErrorId::value.
  void forward(const nn::PackedBatch& batch, MatrixView<S> Y, TextEncoderCache<S>& cache) const {
    const std::span<const Index> offsets = batch.offsets();
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
      require(offsets[i + 1] - offsets[i] <= max_tokens_, ErrorId::value, kind_, "::forward: text ", i, " has ",
              offsets[i + 1] - offsets[i], " tokens, expected at most ", max_tokens_);
    require_shape(Y, features_, batch.sequences(), kind_, "Y", "features x texts");
    cache.batch = batch;
    share(cache);
    run_forward(batch, Y, cache);
  }

  /// dY: features x texts. Adds the gradients of all that is trained to `gradient`, as many numbers as the layout of the values;
  /// tensors of others in it, such as a head, are left alone. Throws ErrorId::shape when `batch` is not that of the last
  /// forward with this cache.
  void backward(const nn::PackedBatch& batch, ConstMatrixView<S> dY, TextEncoderCache<S>& cache, std::span<S> gradient) const {
    require(std::ssize(gradient) == layout_size_, ErrorId::shape, kind_, "::backward: gradient has ", gradient.size(),
            " numbers, expected ", layout_size_, ", as the values have");
    check_backward(batch, dY, cache);
    run_backward(dY, cache, gradient);
  }
  /// The same with the gradient of each text in its column of `each`, values x texts, to which it is added. Only linear layers
  /// have gradients per example: throws ErrorId::value when biases, norms or an embedding are trained.
  void backward_per_example(const nn::PackedBatch& batch, ConstMatrixView<S> dY, TextEncoderCache<S>& cache,
                            MatrixView<S> each) const {
    require_shape(each, layout_size_, batch.sequences(), std::string(kind_) + "::backward_per_example", "each", "values x texts");
    require(!sums_only_, ErrorId::value, kind_,
            "::backward_per_example: biases, norms or the embedding are trained, which have no gradients per example");
    check_backward(batch, dY, cache);
    run_backward(dY, cache, each);
  }

  /// visit(layer, its cache) for each layer, in the order of a forward pass.
  void for_each_layer(TextEncoderCache<S>& cache, const LayerVisit<S>& visit) const { visit_layers(cache, visit); }

  /// Of the auxiliary losses of all layers (LinearLayer::auxiliary_loss): how many sums a pass leaves, the sums, the loss.
  Index statistics_size() const {
    Index size = 0;
    visit_layers(*make_cache(), [&](const LinearLayer<S>& layer, LinearCache<S>&) { size += layer.statistics_size(); });
    return size;
  }
  /// Adds the statistics of the last forward pass to `sums`, statistics_size() numbers.
  void add_statistics(TextEncoderCache<S>& cache, std::span<double> sums) const {
    std::size_t position = 0;
    visit_layers(cache, [&](const LinearLayer<S>&, LinearCache<S>& c) {
      for (const double x : c.statistics) sums[position++] += x;
    });
  }
  /// Gives every layer its part of the sums over the whole batch, for the backward pass; `sums` must outlive that.
  void set_batch_statistics(TextEncoderCache<S>& cache, std::span<const double> sums) const {
    visit_layers(cache, [&](const LinearLayer<S>& layer, LinearCache<S>& c) {
      const auto size = static_cast<std::size_t>(layer.statistics_size());
      c.batch_statistics = sums.first(size);
      sums = sums.subspan(size);
    });
  }
  double auxiliary_loss(std::span<const double> sums) const {
    double loss = 0;
    visit_layers(*make_cache(), [&](const LinearLayer<S>& layer, LinearCache<S>&) {
      const auto size = static_cast<std::size_t>(layer.statistics_size());
      loss += layer.auxiliary_loss(sums.first(size));
      sums = sums.subspan(size);
    });
    return loss;
  }

 protected:
  /// `kind` is the class, for messages; a literal. `values` is the layout of what is trained.
  TextEncoder(const char* kind, Index features, Index max_tokens, const ParameterLayout& values)
      : kind_(kind), features_(features), max_tokens_(max_tokens), layout_size_(values.size()) {
    sums_only_ = values.count([](const ParameterLayout::Tensor& t) {
      return t.role == Role::embedding || t.role == Role::bias || t.role == Role::norm_scale || t.role == Role::norm_bias;
    }) > 0;
  }
  TextEncoder(const TextEncoder&) = default;
  TextEncoder& operator=(const TextEncoder&) = default;

  /// For a layer whose columns are texts: their tasks, and what its adapter drops of them.
  static void share_texts(const nn::PackedBatch& batch, LinearCache<S>& cache) {
    cache.tasks = batch.tasks();
    cache.dropout = batch.dropout(cache.dropout.layer);
  }
  /// The cache as this encoder's own type. Throws ErrorId::value for another encoder's.
  template <class Cache, class Any>
  Cache& own(Any& cache) const {
    Cache* const found = dynamic_cast<Cache*>(&cache);
    require(found != nullptr, ErrorId::value, kind_, ": the cache is that of another kind of encoder");
    return *found;
  }

 private:
  virtual void run_forward(const nn::PackedBatch& batch, MatrixView<S> Y, TextEncoderCache<S>& cache) const = 0;
  /// For cache.batch.
  virtual void run_backward(ConstMatrixView<S> dY, TextEncoderCache<S>& cache, const ModelGradient<S>& to) const = 0;
  /// visit(layer, its cache) for each layer.
  virtual void visit_layers(TextEncoderCache<S>& cache, const LayerVisit<S>& visit) const = 0;

  void check_backward(const nn::PackedBatch& batch, ConstMatrixView<S> dY, TextEncoderCache<S>& cache) const {
    require_shape(dY, features_, batch.sequences(), std::string(kind_) + "::backward", "dY", "features x texts");
    require(batch == cache.batch, ErrorId::shape, kind_,
            "::backward: the batch is not the one of the last forward pass with this cache");
    cache.text_offsets.resize(static_cast<std::size_t>(batch.sequences()) + 1);
    std::iota(cache.text_offsets.begin(), cache.text_offsets.end(), Index{0});
    share(cache);  // the cache may have been moved
  }
  /// Tells every layer what it cannot see in its columns: the tasks of the tokens, what their adapters drop, and what the layers
  /// of a pass share. An encoder calls share_texts() for layers whose columns are texts.
  void share(TextEncoderCache<S>& cache) const {
    std::uint64_t layer = 0;
    visit_layers(cache, [&](const LinearLayer<S>&, LinearCache<S>& c) {
      c.tasks = cache.batch.token_tasks();
      c.dropout = cache.batch.token_dropout(layer++);
      c.shared = &cache.shared;
    });
  }

  const char* kind_;
  Index features_, max_tokens_, layout_size_;
  bool sums_only_ = false;  // something is trained that has no gradient per example
};

}  // namespace lorasb::models
