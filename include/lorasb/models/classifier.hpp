// An encoder with a head, as the trainer of a classifier or a regression sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/core/buffer.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/models/text_encoder.hpp"
#include "lorasb/models/tokenized_texts.hpp"
#include "lorasb/nn/cross_entropy.hpp"
#include "lorasb/nn/packed_batch.hpp"
#include "lorasb/nn/pass_result.hpp"
#include "lorasb/nn/problem.hpp"
#include "lorasb/privacy/clipped_sum.hpp"

namespace lorasb::models {

/// One object serves all threads, with a scratch for each part of a batch.
///
///     auto encoder = std::make_unique<SentenceEncoder<float>>(config, weights, timescales, layers, values.layout());
///     TextClassifier<float> classifier(std::move(encoder), values, parts);
///     nn::PassResult found = classifier.pass(texts, order, part, gradient);
template <Real S>
class LORASB_OWNS_MEMORY TextClassifier {
 public:
  /// `values` holds what is trained, the head among it; it must outlive the classifier, and so must all that the encoder views.
  TextClassifier(std::unique_ptr<const TextEncoder<S>> encoder, const Parameters<S>& values LORASB_LIFETIMEBOUND, Index parts)
      : encoder_(std::move(encoder)),
        head_(values, encoder_->head_scale(), encoder_->head_activation()),
        layout_size_(values.layout().size()),
        scratch_(static_cast<std::size_t>(parts)) {
    require(head_.features() == encoder_->features(), ErrorId::shape, "TextClassifier: the head has ", head_.features(),
            " features, expected those of the encoder, ", encoder_->features());
    for (Scratch& s : scratch_) s.cache = encoder_->make_cache();
  }

  Index classes() const { return head_.classes(); }
  Index features() const { return encoder_->features(); }
  Index head_size() const { return head_.size(); }
  /// Trained numbers outside the head.
  Index adapter_size() const { return layout_size_ - head_.size(); }
  const TextEncoder<S>& encoder() const { return *encoder_; }
  /// What the last pass of a part left behind.
  TextEncoderCache<S>& cache(Index part) { return *scratch_[static_cast<std::size_t>(part)].cache; }

  /// Tasks with heads of their own: a text with task t is classified among the classes of row t alone. Empty: among all.
  void set_task_classes(std::vector<Range> classes) { task_classes_ = std::move(classes); }

  /// Weights of the classes in the losses whose gradients are taken; measure() and the counts of correct answers know none, and
  /// neither do texts of another problem than one label each.
  /// Empty: all 1. Throws ErrorId::shape for another number of them.
  void set_class_weights(std::vector<double> weights) {
    require(weights.empty() || std::ssize(weights) == classes(), ErrorId::shape, "TextClassifier: ", weights.size(),
            " class weights, expected one for each of the ", classes(), " classes");
    class_weights_ = std::move(weights);
  }

  /// In the passes that take gradients, adapters drop inputs at this rate, by a mask that `key` and a text's place in the set
  /// decide: give another key for each step. 0, as at the start: nothing is dropped. measure(), outputs() and encode() drop
  /// nothing.
  void set_dropout(double rate, std::uint64_t key) {
    dropout_rate_ = rate;
    dropout_key_ = key;
  }

  /// Vectors of the texts named in `order`: features x texts, in the scratch of `part`.
  ConstMatrixView<S> encode(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    return run_encoder(texts, order, part, 0);
  }

  /// Summed loss and correct answers of the texts named in `order`; the encoder computes no gradient.
  nn::PassResult measure(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    const MatrixView<S> logits = classify(texts, order, part);
    const nn::Targets<S> wanted = scratch_[static_cast<std::size_t>(part)].targets.gather(texts.targets(), order);
    if (wanted.problem != nn::ProblemType::single_label) return nn::differentiate_loss<S>(logits, wanted);
    return {.loss = nn::cross_entropy_loss<S>(logits, wanted.labels), .correct = nn::count_correct<S>(logits, wanted.labels)};
  }

  /// Logits, or the numbers of a regression, of the texts named in `order`: outputs x texts, in the scratch of `part`.
  ConstMatrixView<S> outputs(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    return classify(texts, order, part);
  }

  /// The same as measure(), but for dropout, and adds the gradient of the summed loss to `gradient`, as many numbers as the values.
  nn::PassResult pass(const TokenizedTexts& texts, std::span<const Index> order, Index part, std::span<S> gradient) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    const nn::PassResult result = differentiate(texts, order, part);
    finish(s, gradient);
    return result;
  }

  /// pass() in two halves, for layers with an auxiliary loss over a batch of several parts (train::Step::TwoPhasePass): forward
  /// adds the statistics of the part, statistics_size() numbers, and backward is given those of the whole batch.
  nn::PassResult forward(const TokenizedTexts& texts, std::span<const Index> order, Index part, std::span<double> statistics) {
    const nn::PassResult result = differentiate(texts, order, part);
    encoder_->add_statistics(*scratch_[static_cast<std::size_t>(part)].cache, statistics);
    return result;
  }
  void backward(Index part, std::span<const double> statistics, std::span<S> gradient) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    encoder_->set_batch_statistics(*s.cache, statistics);
    finish(s, gradient);
  }

  /// The same with the gradient of each text, over all values together, clipped and added to `sum` (train::PrivateStep). Throws
  /// ErrorId::value when something is trained that has no gradient per example.
  nn::PassResult pass_clipped(const TokenizedTexts& texts, std::span<const Index> order, Index part,
                              const privacy::ClippedSum<S>& sum) {
    const nn::PassResult result = differentiate_each(texts, order, part);
    sum.add(scratch_[static_cast<std::size_t>(part)].each.view());
    return result;
  }

 private:
  /// The vectors that encode() gives, with adapters that drop inputs.
  ConstMatrixView<S> run_encoder(const TokenizedTexts& texts, std::span<const Index> order, Index part, double dropout) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    s.batch.clear();
    for (const Index i : order) {
      const auto text = static_cast<std::size_t>(i);
      s.batch.add(texts.ids[text], texts.types.empty() ? std::span<const std::int32_t>() : texts.types[text],
                  texts.tasks.empty() ? nn::PackedBatch::no_task : texts.tasks[text]);
    }
    if (dropout > 0) {
      s.keys.clear();
      for (const Index i : order) s.keys.push_back(derive_seed(dropout_key_, static_cast<std::uint64_t>(i)));
      s.batch.drop_inputs(dropout, s.keys);
    }
    const MatrixView<S> E = s.embeddings.reshape(features(), std::ssize(order));
    encoder_->forward(s.batch, E, *s.cache);
    return E;
  }
  /// The gradient of each text in the part's scratch, size x texts.
  nn::PassResult differentiate_each(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    Scratch& s = scratch_[static_cast<std::size_t>(part)];
    const nn::PassResult result = differentiate(texts, order, part);
    const ConstMatrixView<S> E = s.embeddings.view();
    const MatrixView<S> dE = s.d_embeddings.reshape(features(), E.cols());
    MatrixView<S> each = s.each.reshape(layout_size_, E.cols());
    each.setZero();
    head_.backward_per_example(E, s.logits.view(), each, dE);
    encoder_->backward_per_example(s.batch, dE, *s.cache, each);
    return result;
  }
  /// Logits in the part's scratch.
  MatrixView<S> classify(const TokenizedTexts& texts, std::span<const Index> order, Index part, double dropout = 0) {
    const ConstMatrixView<S> E = run_encoder(texts, order, part, dropout);
    MatrixView<S> logits = scratch_[static_cast<std::size_t>(part)].logits.reshape(classes(), E.cols());
    head_.forward(E, logits);
    if (!task_classes_.empty())
      for (Index i = 0; i < E.cols(); ++i) {
        const Range kept = task_classes_.at(static_cast<std::size_t>(texts.tasks.at(static_cast<std::size_t>(order[std::size_t(i)]))));
        logits.col(i).head(kept.first).setConstant(masked);
        logits.col(i).tail(classes() - kept.first - kept.count).setConstant(masked);
      }
    return logits;
  }
  static constexpr S masked = S(-1e30);  // finite; its exponential is 0, and so is its gradient
  /// The gradient of the loss with respect to the logits, in their place.
  nn::PassResult differentiate(const TokenizedTexts& texts, std::span<const Index> order, Index part) {
    const MatrixView<S> logits = classify(texts, order, part, dropout_rate_);
    const nn::Targets<S> wanted = scratch_[static_cast<std::size_t>(part)].targets.gather(texts.targets(), order);
    return nn::differentiate_loss<S>(logits, wanted, class_weights_);
  }

  struct Scratch;
  /// Backward from the gradient of the logits, which stands in their place.
  void finish(Scratch& s, std::span<S> gradient) {
    const ConstMatrixView<S> E = s.embeddings.view();
    const MatrixView<S> dE = s.d_embeddings.reshape(features(), E.cols());
    head_.backward(E, s.logits.view(), gradient, dE);
    encoder_->backward(s.batch, dE, *s.cache, gradient);
  }

  struct Scratch {
    nn::PackedBatch batch;
    std::vector<std::uint64_t> keys;  // of its texts, for dropout
    nn::TargetBatch<S> targets;
    std::unique_ptr<TextEncoderCache<S>> cache;
    Buffer<S> embeddings, d_embeddings, logits;
    Buffer<S> each;  // gradients of single texts
  };

  std::unique_ptr<const TextEncoder<S>> encoder_;
  Head<S> head_;
  Index layout_size_;
  std::vector<Scratch> scratch_;
  std::vector<Range> task_classes_;
  std::vector<double> class_weights_;
  double dropout_rate_ = 0;
  std::uint64_t dropout_key_ = 0;
};

}  // namespace lorasb::models
