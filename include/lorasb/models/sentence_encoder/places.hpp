// Where the gradient of each tensor of the sentence encoder lies in the flat buffers of a trainer.
#pragma once

#include <span>
#include <vector>

#include "lorasb/core/module.hpp"
#include "lorasb/models/sentence_encoder/config.hpp"

namespace lorasb::models {

/// Cuts a flat gradient of the modules, trainable() numbers, one module after the other, and one of all other tensors, in the
/// order of sentence_encoder_layout(). Places are found once; cutting allocates nothing.
class SentenceEncoderPlaces {
 public:
  template <Real S>
  SentenceEncoderPlaces(const SentenceEncoderConfig& config, const Layers<S>& layers) : modules_(layers.size()) {
    for (const auto& layer : layers) {
      trained_.push_back({trainable_, layer->trainable()});
      trainable_ += layer->trainable();
    }
    const ParameterLayout layout = sentence_encoder_layout(config);
    const Index start = layout.tensors()[modules_].offset;  // of "embedding.weight"
    for (std::size_t t = modules_; t < layout.tensors().size(); ++t)
      others_.push_back({layout.tensors()[t].offset - start, layout.tensors()[t].size()});
    others_size_ = layout.size() - start;
  }

  /// Numbers of all modules together.
  Index trainable() const { return trainable_; }
  /// Numbers of all other tensors together.
  Index others_size() const { return others_size_; }

  template <Real S>
  std::span<S> module(std::span<S> modules, std::size_t m) const {
    return cut(modules, trained_[m]);
  }
  /// Of gradients per example, trainable() x examples: the rows of module m.
  template <Real S>
  MatrixView<S> module(MatrixView<S> modules, std::size_t m) const {
    return modules.middleRows(trained_[m].offset, trained_[m].size);
  }
  template <Real S>
  std::span<S> embedding(std::span<S> others) const {
    return cut(others, others_[0]);
  }
  /// Of module m.
  template <Real S>
  std::span<S> bias(std::span<S> others, std::size_t m) const {
    return cut(others, others_[1 + m]);
  }
  /// Norm n: 2 i for the attention of layer i, 2 i + 1 for its feed-forward part.
  template <Real S>
  std::span<S> norm_scale(std::span<S> others, std::size_t n) const {
    return cut(others, others_[1 + modules_ + n / 2 * 4 + n % 2]);
  }
  template <Real S>
  std::span<S> norm_bias(std::span<S> others, std::size_t n) const {
    return cut(others, others_[1 + modules_ + n / 2 * 4 + 2 + n % 2]);
  }

 private:
  struct Place {
    Index offset, size;
  };
  template <Real S>
  static std::span<S> cut(std::span<S> from, Place place) {
    return from.subspan(static_cast<std::size_t>(place.offset), static_cast<std::size_t>(place.size));
  }

  std::size_t modules_;
  std::vector<Place> trained_, others_;
  Index trainable_ = 0, others_size_ = 0;
};

}  // namespace lorasb::models
