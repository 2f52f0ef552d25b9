// The example's training step on WordNet, as the benchmarks run it: model, texts, adapters, and a trainer.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "examples/common/common_options.hpp"
#include "examples/common/datasets.hpp"
#include "examples/common/tokenize.hpp"
#include "examples/common/tuned_model.hpp"
#include "lorasb/privacy/noise_source.hpp"

namespace bench {

using namespace lorasb;
using namespace lorasb::examples;

// lorasb-finetune's own defaults
inline constexpr Index rank = 24, batch_size = 32, parts = 4;
inline constexpr double learning_rate = 1e-2, head_learning_rate = 3e-3, weight_decay = 0.01, max_norm = 1;

/// The encoder, WordNet's training texts as token ids, and a start of LoRA-SB on all modules. A few examples and SVD steps
/// will do for it: a step takes as long from any start.
struct WordnetTask {
  models::UseLite use_lite;  // for the rival
  BaseModel base;
  Index classes = 0;
  TokenizedTexts texts;
  Parameters<float> head;
  AdapterSet<float> adapters;

  WordnetTask() : use_lite(models::read_use_lite(folder())), base(use_lite_model(use_lite, folder())), head(read_texts()) {
    std::vector<Index> order(32);
    std::iota(order.begin(), order.end(), Index{0});
    train::InitializeModulesOptions options;
    options.adapter.rank = rank;
    options.adapter.krylov_steps = 1;
    adapters = sb_adapters(base, head, texts, order, 1, 1, options).adapters;
  }

  static std::filesystem::path folder() { return model_folder({}); }

 private:
  /// Returns a random head.
  Parameters<float> read_texts() {
    const Dataset data = split(read_dataset("wordnet", {}), {});
    TextCounts counts;
    texts = tokenize(data.train, base, 1, counts);
    classes = std::ssize(data.label_names);
    ParameterLayout layout;
    models::append_head(classes, base.features, layout);
    Parameters<float> start(layout);
    Random random(1);
    for (float& x : start.flat()) x = float(0.05 * random.normal());
    return start;
  }
};

/// The texts of `all` that have at least `tokens` tokens, cut to that many.
inline TokenizedTexts of_one_length(const TokenizedTexts& all, Index tokens) {
  TokenizedTexts chosen;
  for (std::size_t i = 0; i < all.ids.size(); ++i) {
    if (std::ssize(all.ids[i]) < tokens) continue;
    chosen.ids.emplace_back(all.ids[i].begin(), all.ids[i].begin() + tokens);
    chosen.labels.push_back(all.labels[i]);
  }
  return chosen;
}

/// Trains every R and the head as lorasb-finetune does.
class Trainer {
 public:
  Trainer(const WordnetTask& task, const TokenizedTexts& texts, int threads)
      : texts_(texts),
        model_(train::tune_cores(Method::lora_sb, task.base.weights, task.base.modules, AdapterSet<float>(task.adapters),
                                 task.head)),
        classifier_(make_classifier(task.base, model_.weights, model_.layers, *model_.values, parts)),
        optimizer_(model_.values->layout().size(), {.weight_decay = weight_decay}),
        step_(model_.values->layout().size(), parts, threads) {
    for (const Range& head : model_.values->layout().ranges([](const auto& t) { return is_head(t.role); }))
      optimizer_.set_rate_factor(head.first, head.count, head_learning_rate / learning_rate);
  }

  /// Forward, backward and AdamW's step on the texts named in `batch`. With `clip` above 0 the step is private: the gradient of
  /// each text is clipped to that, noise of the operating system is added to the sum, and the divisor is fixed.
  void step(std::span<const Index> batch, double clip = 0) {
    step_.accumulate(std::ssize(batch), [&](Index part, Index first, Index count, std::span<float> gradient) {
      return pass(batch.subspan(std::size_t(first), std::size_t(count)), part, clip, gradient);
    });
    if (clip > 0) {
      privacy::add_gaussian_noise<float>(step_.gradient_sum(), clip, noise_);
      step_.apply(model_.values->flat(), optimizer_, learning_rate, {.divisor = double(batch_size), .ignore_loss = true});
    } else {
      step_.apply(model_.values->flat(), optimizer_, learning_rate, {.max_norm = max_norm});
    }
  }

  /// The gradient of the mean loss: of every R in the order of the modules, then of the head.
  std::vector<float> gradient(std::span<const Index> batch, double clip = 0) {
    std::vector<float> all(std::size_t(model_.values->layout().size()));
    pass(batch, 0, clip, all);
    for (float& g : all) g /= float(batch.size());
    return all;
  }

  const ParameterLayout& layout() const { return model_.values->layout(); }

 private:
  train::PassResult pass(std::span<const Index> batch, Index part, double clip, std::span<float> gradient) {
    if (clip > 0) return classifier_.pass_clipped(texts_, batch, part, {clip, gradient});
    return classifier_.pass(texts_, batch, part, gradient);
  }

  const TokenizedTexts& texts_;
  train::TunedModel<float> model_;
  Classifier classifier_;
  optim::AdamW<float> optimizer_;
  train::Step<float> step_;
  privacy::SystemNoise noise_;
};

}  // namespace bench
