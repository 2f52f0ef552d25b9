// A training step of the example's sentence encoder with LoRA-SB on all modules, beside the same model in LibTorch.
#include "lorasb/models/sentence_encoder/model.hpp"

#include <benchmark/benchmark.h>

#include "benchmarks/backends.hpp"
#include "benchmarks/interleave.hpp"
#include "benchmarks/models/wordnet_training.hpp"
#ifdef LORASB_HAS_TORCH
#include "benchmarks/rival/torch.hpp"
#endif

namespace {

using namespace bench;

constexpr int steps_per_run = 4;  // so that one run sees short and long texts

const WordnetTask& task() {
  static const WordnetTask the_task;
  return the_task;
}

/// The same with the modules' weights in bfloat16.
const WordnetTask& narrow_task() {
  static const WordnetTask the_task = [] {
    WordnetTask copy = task();
    copy.base = use_lite_model(models::read_use_lite(WordnetTask::folder(), {.modules = Dtype::bf16}), WordnetTask::folder());
    return copy;
  }();
  return the_task;
}
const WordnetTask& task_of(const Backend& backend) { return backend.narrow ? narrow_task() : task(); }

const TokenizedTexts& texts_of(Index tokens) {
  if (tokens == 0) return task().texts;
  static const TokenizedTexts cut = of_one_length(task().texts, tokens);
  return cut;
}

/// The largest ‖dR - theirs‖ / ‖theirs‖ of all trained tensors.
double worst_difference(const ParameterLayout& layout, std::span<const float> ours, std::span<const float> theirs) {
  double worst = ours.size() == theirs.size() ? 0 : 1;
  if (worst > 0) return worst;
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    double difference = 0, size = 0;
    for (Index i = t.offset; i < t.offset + t.size(); ++i) {
      const double theirs_i = double(theirs[std::size_t(i)]);
      difference += std::pow(double(ours[std::size_t(i)]) - theirs_i, 2);
      size += theirs_i * theirs_i;
    }
    worst = std::max(worst, std::sqrt(difference / size));
  }
  return worst;
}

#ifdef LORASB_HAS_TORCH

rival::MatrixOf matrix_of(ConstWeightView<float> W) { return {W.data(), W.rows(), W.cols()}; }

rival::EncoderWeights weights_for_rival() {
  const models::UseLite& base = task().use_lite;
  const auto row_of = [&](const std::string& name) {
    const ConstWeightView<float> W = base.weights.at(name).wide();
    return std::span<const float>(W.data(), std::size_t(W.size()));
  };
  rival::EncoderWeights w;
  w.layers = base.config.layers;
  w.heads = base.config.heads;
  w.max_tokens = base.config.max_tokens;
  w.epsilon = base.config.epsilon;
  w.embedding = matrix_of(base.weights.at("embedding.weight").wide());
  w.inverse_timescales = base.inverse_timescales;
  for (const Module<float>& m : base.modules()) {
    const LowRankAdapter<float>& a = task().adapters.at(m.name);
    w.modules.push_back({m.name, matrix_of(m.W0.wide()), matrix_of(a.B), matrix_of(a.R), matrix_of(a.A), a.scale,
                         row_of(m.name + ".bias")});
  }
  for (Index i = 0; i < base.config.layers; ++i)
    for (const char* norm : {".attention_norm", ".feed_forward_norm"}) {
      const std::string name = "layers." + std::to_string(i) + norm;
      w.norms.push_back({row_of(name + ".weight"), row_of(name + ".bias")});
    }
  w.head = matrix_of(task().head["classifier.weight"]);
  w.head_bias = task().head.flat("classifier.bias");
  return w;
}

rival::Batch for_rival(const TokenizedTexts& texts, std::span<const Index> order) {
  rival::Batch batch;
  for (const Index i : order) {
    batch.ids.push_back(texts.ids[std::size_t(i)]);
    batch.labels.push_back(texts.labels[std::size_t(i)]);
  }
  return batch;
}

void against_torch(benchmark::State& state, const Backend& backend, Index tokens, int threads) {
  backend.select();
  rival::set_threads(threads);
  const TokenizedTexts& texts = texts_of(tokens);
  Trainer ours(task_of(backend), texts, threads);
  rival::TorchEncoder theirs(weights_for_rival(), {.learning_rate = learning_rate,
                                                   .head_learning_rate = head_learning_rate,
                                                   .weight_decay = weight_decay,
                                                   .max_norm = max_norm});
  train::ShuffledBatches batches(texts.size(), batch_size, 0);
  std::vector<std::vector<Index>> run(steps_per_run);
  for (std::vector<Index>& batch : run) {
    const std::span<const Index> next = batches.next();
    batch.assign(next.begin(), next.end());
  }
  theirs.gradients(for_rival(texts, run[0]));
  const double difference = worst_difference(ours.layout(), ours.gradient(run[0]), theirs.gradient());
  if (!(difference < (backend.narrow ? 0.2 : 1e-3))) return state.SkipWithError("the gradients differ");
  interleave(
      state,
      [&] {
        for (const std::vector<Index>& batch : run) ours.step(batch);
      },
      [&] {
        for (const std::vector<Index>& batch : run) theirs.step(for_rival(texts, batch));
      });
  std::size_t tokens_of_run = 0, padded = 0;
  for (const std::vector<Index>& batch : run) {
    std::size_t longest = 0;
    for (const Index i : batch) {
      tokens_of_run += texts.ids[std::size_t(i)].size();
      longest = std::max(longest, texts.ids[std::size_t(i)].size());
    }
    padded += longest * batch.size();
  }
  state.counters["gradients_differ_by"] = difference;
  state.counters["tokens_per_step"] = double(tokens_of_run) / steps_per_run;
  state.counters["padded_tokens_per_step"] = double(padded) / steps_per_run;
  state.SetLabel("LibTorch");
}

#endif

/// A step of DP-SGD beside the plain step.
void private_step(benchmark::State& state, const Backend& backend, Index tokens, int threads) {
  backend.select();
  const TokenizedTexts& texts = texts_of(tokens);
  Trainer ours(task_of(backend), texts, threads), plain(task_of(backend), texts, threads);
  train::ShuffledBatches batches(texts.size(), batch_size, 0);
  const std::span<const Index> next = batches.next();
  const std::vector<Index> batch(next.begin(), next.end());
  const std::vector<float> of_all = plain.gradient(batch), of_each = ours.gradient(batch, 1e9);
  const double difference = worst_difference(ours.layout(), of_each, of_all);
  if (!(difference < (backend.narrow ? 0.2 : 1e-3))) return state.SkipWithError("the gradients per text do not add up");
  interleave(
      state,
      [&] {
        for (int i = 0; i < steps_per_run; ++i) ours.step(batch, 1);
      },
      [&] {
        for (int i = 0; i < steps_per_run; ++i) plain.step(batch);
      });
  state.SetLabel("our plain step");
}

void alone(benchmark::State& state, const Backend& backend, Index tokens, int threads) {
  backend.select();
  const TokenizedTexts& texts = texts_of(tokens);
  Trainer ours(task_of(backend), texts, threads);
  train::ShuffledBatches batches(texts.size(), batch_size, 0);
  for (auto _ : state) ours.step(batches.next());
  state.SetItemsProcessed(state.iterations() * batch_size);
}

const bool registered = [] {
  for_each_backend([](const Backend& backend) {
    for (const Index tokens : {0, 24})
      for (const int threads : {1, 2}) {
        const std::string what = (tokens == 0 ? "real_texts" : "texts_of_" + std::to_string(tokens) + "_tokens") +
                                 "/threads:" + std::to_string(threads) + "/" + backend.name;
        benchmark::RegisterBenchmark(("alone/" + what).c_str(), alone, backend, tokens, threads)
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
        if (tokens == 0 && threads == 1)
          benchmark::RegisterBenchmark(("private_step/" + what).c_str(), private_step, backend, tokens, threads)
              ->Unit(benchmark::kMillisecond)
              ->UseManualTime()
              ->Iterations(9);
#ifdef LORASB_HAS_TORCH
        benchmark::RegisterBenchmark(("training_step/" + what).c_str(), against_torch, backend, tokens, threads)
            ->Unit(benchmark::kMillisecond)
            ->UseManualTime()
            ->Iterations(9);
#endif
      }
  });
  return true;
}();

}  // namespace
