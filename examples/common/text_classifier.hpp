// A sentence encoder with a linear head on top, as its trainer sees it.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "examples/common/use_lite.hpp"
#include "lorasb/core/parallel.hpp"
#include "lorasb/models/sentence_encoder/model.hpp"
#include "lorasb/nn/cross_entropy.hpp"
#include "lorasb/optim/clip.hpp"
#include "lorasb/train/step.hpp"

namespace lorasb::examples {

/// Texts as the encoder reads them, with their labels.
struct TokenizedTexts {
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<std::int32_t> labels;
  Index size() const { return std::ssize(ids); }
};

/// logits = W e √d + b, with e the unit vector of a text (d numbers), so that the features of the head have size one.
/// The head's tensors are "classifier.weight" (classes x d) and "classifier.bias" (1 x classes).
inline void append_head(Index classes, Index features, ParameterLayout& layout) {
  layout.add("classifier.weight", classes, features);
  layout.add("classifier.bias", 1, classes);
}

/// Overwrites `logits` (classes x texts) from unit vectors E (d x texts).
inline void head_forward(const Parameters<float>& values, ConstMatrixView<float> E, MatrixView<float> logits) {
  const ConstWeightView<float> W = values["classifier.weight"];
  linalg::multiply(W, E, logits);
  logits *= std::sqrt(float(W.cols()));
  nn::add_bias<float>(logits, values.flat("classifier.bias"));
}

/// Adds to dW and db, the last numbers of `gradient`, and overwrites dE unless it has no columns.
inline void head_backward(const Parameters<float>& values, ConstMatrixView<float> E, ConstMatrixView<float> dlogits,
                          std::span<float> gradient, MatrixView<float> dE) {
  const ConstWeightView<float> W = values["classifier.weight"];
  const float scale = std::sqrt(float(W.cols()));
  const std::span<float> head = gradient.last(static_cast<std::size_t>(W.size() + W.rows()));
  linalg::multiply(dlogits, linalg::transposed(E), WeightView<float>(head.data(), W.rows(), W.cols()), scale, 1);
  nn::add_bias_backward_parameters<float>(dlogits, head.last(static_cast<std::size_t>(W.rows())));
  if (dE.cols() == 0) return;
  linalg::multiply(linalg::transposed(W), dlogits, dE);
  dE *= scale;
}

/// The flat numbers of `values` are, in this order: those of the encoder's layers, those of its other tensors where they are
/// trained, and the head. One object serves all threads, with a scratch for each part of a batch.
class TextClassifier {
 public:
  /// `encoder_weights` are the base model's, or `values` itself for full fine-tuning. All arguments must outlive the
  /// classifier.
  TextClassifier(const UseLite& base, const Parameters<float>& encoder_weights, const Layers<float>& layers,
                 const Parameters<float>& values, Index parts)
      : encoder_(base.config, encoder_weights, base.inverse_timescales, layers),
        values_(&values),
        scratch_(static_cast<std::size_t>(parts)) {
    const Index others = values.layout().size() - encoder_.trainable() - head_size();
    others_ = static_cast<std::size_t>(others);
  }

  Index classes() const { return values_->layout().at("classifier.weight").rows; }
  Index features() const { return encoder_.config().hidden; }
  Index head_size() const { return classes() * (features() + 1); }
  /// Trained numbers outside the head.
  Index adapter_size() const { return values_->layout().size() - head_size(); }

  /// Unit vectors of the texts named in `order`: features x texts, in the scratch of `part`.
  ConstMatrixView<float> encode(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    s.batch.clear();
    s.labels.clear();
    for (const Index i : order) {
      s.batch.add(texts.ids[static_cast<std::size_t>(i)]);
      s.labels.push_back(texts.labels[static_cast<std::size_t>(i)]);
    }
    const MatrixView<float> E = s.embeddings.reshape(features(), std::ssize(order));
    encoder_.forward(s.batch, E, s.cache);
    return E;
  }

  /// Summed loss and correct answers of the texts named in `order`; with a gradient of values().layout().size() numbers, the
  /// gradient of that sum is added to it.
  train::PassResult pass(const TokenizedTexts& texts, std::span<const Index> order, Index part,
                         std::span<float> gradient = {}) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    const train::PassResult result = measure(texts, order, part);
    if (gradient.empty()) return result;
    const ConstMatrixView<float> E = s.embeddings.view();
    const MatrixView<float> logits = s.logits.view(), dE = s.d_embeddings.reshape(features(), E.cols());
    head_backward(*values_, E, logits, gradient, dE);
    encoder_.backward(s.batch, dE, s.cache, gradient.first(static_cast<std::size_t>(encoder_.trainable())),
                      gradient.subspan(static_cast<std::size_t>(encoder_.trainable()), others_));
    return result;
  }

  /// The same with the gradient of each text clipped to `max_norm` before it is added. Adapters and head only.
  train::PassResult pass_clipped(const TokenizedTexts& texts, std::span<const Index> order, Index part, double max_norm,
                                 std::span<float> gradient) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    const train::PassResult result = measure(texts, order, part);
    const ConstMatrixView<float> E = s.embeddings.view();
    MatrixView<float> logits = s.logits.view(), dE = s.d_embeddings.reshape(features(), E.cols());
    MatrixView<float> each = s.each.reshape(std::ssize(gradient), E.cols());
    each.setZero();
    for (Index i = 0; i < E.cols(); ++i)
      head_backward(*values_, E.middleCols(i, 1), logits.middleCols(i, 1), {&each(0, i), gradient.size()}, dE.middleCols(i, 1));
    encoder_.backward_per_example(s.batch, dE, s.cache, each.topRows(encoder_.trainable()));
    s.norms.resize(static_cast<std::size_t>(E.cols()));
    optim::add_clipped_columns<float>(each, max_norm, gradient, s.norms);
    return result;
  }

 private:
  /// Forward, with the embeddings left in the part's scratch, and the gradient of the loss by its logits in theirs.
  train::PassResult measure(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    const ConstMatrixView<float> E = encode(texts, order, part);
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    const MatrixView<float> logits = s.logits.reshape(classes(), E.cols());
    head_forward(*values_, E, logits);
    train::PassResult result;
    result.correct = nn::count_correct<float>(logits, s.labels);
    result.loss = nn::cross_entropy<float>(logits, s.labels, logits);
    return result;
  }

  struct Scratch {
    nn::PackedBatch batch;
    std::vector<std::int32_t> labels;
    models::SentenceEncoderCache<float> cache;
    Buffer<float> embeddings, d_embeddings, logits;
    Buffer<float> each;         // gradients of single texts
    std::vector<double> norms;  // of them
  };

  models::SentenceEncoder<float> encoder_;
  const Parameters<float>* values_;
  std::vector<Scratch> scratch_;
  std::size_t others_ = 0;
};

/// Calls f(part, texts of the part) for all of `texts` in fixed pieces, `parts` of them at a time. What a pass keeps grows
/// with its texts, 1 MB for each; sixteen of them are enough for products at full speed.
template <class F>
void for_pieces(Index texts, Index parts, int threads, const F& f) {
  constexpr Index size = 16;
  std::vector<Index> order(static_cast<std::size_t>(texts));
  std::iota(order.begin(), order.end(), Index{0});
  parallel_for(parts, threads, [&](Index part) {
    for (Index first = size * part; first < texts; first += size * parts)
      f(part, first,
        std::span<const Index>(order).subspan(static_cast<std::size_t>(first),
                                              static_cast<std::size_t>(std::min(size, texts - first))));
  });
}

/// The share of texts that are classified right.
inline double accuracy(TextClassifier& classifier, const TokenizedTexts& texts, Index parts, int threads) {
  std::vector<Index> correct(static_cast<std::size_t>(parts));
  for_pieces(texts.size(), parts, threads, [&](Index part, Index, std::span<const Index> piece) {
    correct[static_cast<std::size_t>(part)] += classifier.pass(texts, piece, part).correct;
  });
  return double(std::accumulate(correct.begin(), correct.end(), Index{0})) / double(texts.size());
}

}  // namespace lorasb::examples
