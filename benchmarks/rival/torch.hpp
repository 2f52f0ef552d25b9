// What the benchmarks ask of LibTorch, as plain C++: only the sources beside this header include <torch/torch.h>.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rival {

/// Threads of all that LibTorch runs, of the BLAS behind it too.
void set_threads(int threads);
/// LibTorch's own description of its build, of its parallel loops, and its default instruction set.
std::string configuration();

/// A row-major matrix of somebody else: what PyTorch calls a contiguous tensor.
struct MatrixOf {
  const float* data;
  std::int64_t rows, cols;
};

/// y = x W0ᵀ + s ((x Aᵀ) Rᵀ) Bᵀ by autograd, with x: tokens x in; W0, B and A are frozen and x has a gradient.
class TorchLayer {
 public:
  TorchLayer(MatrixOf W0, MatrixOf B, MatrixOf R, MatrixOf A, float scale);
  ~TorchLayer();
  /// Forward, and backward from dY, tokens x out.
  void run(MatrixOf X, MatrixOf dY);
  // of the last run
  std::span<const float> Y() const;
  std::span<const float> dR() const;
  std::span<const float> dX() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// torch.svd_lowrank(W, q, niter), written with the same calls: torch/_lowrank.py of PyTorch 1.13.
class TorchSvd {
 public:
  TorchSvd(MatrixOf W, int q, int niter);
  ~TorchSvd();
  void run();
  /// ‖W‖² - ‖W - U_r Σ_r V_rᵀ‖² of the last run cut at r.
  double captured_energy(int rank) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// One linear module of the sentence encoder with its adapter.
struct Module {
  std::string name;
  MatrixOf W0, B, R, A;
  float scale;
  std::span<const float> bias;
};
struct Norm {
  std::span<const float> scale, bias;
};

/// The sentence encoder with its head, described by names and shapes of lorasb::models::SentenceEncoder.
struct EncoderWeights {
  std::int64_t layers = 0, heads = 0, max_tokens = 0;
  double epsilon = 0;
  MatrixOf embedding{};
  std::span<const float> inverse_timescales;
  std::vector<Module> modules;  // residual, then qkv, out, up, down of each layer, projection last
  std::vector<Norm> norms;      // attention and feed-forward of each layer
  MatrixOf head{};              // classes x hidden
  std::span<const float> head_bias;
};

/// Texts of a batch as token ids, with their labels.
struct Batch {
  std::vector<std::span<const std::int32_t>> ids;
  std::vector<std::int32_t> labels;
};

struct TrainOptions {
  double learning_rate = 0, head_learning_rate = 0, weight_decay = 0, max_norm = 0;
};

/// The encoder as people write it in PyTorch: float32, each batch padded to its longest text, padding masked out of attention
/// and mean, frozen weights without gradient, every R and the head trained by AdamW.
class TorchEncoder {
 public:
  TorchEncoder(const EncoderWeights& weights, TrainOptions options);
  ~TorchEncoder();
  /// Forward, mean loss, backward. Returns the loss.
  double gradients(const Batch& batch);
  /// The same, then the gradient is clipped and AdamW steps.
  double step(const Batch& batch);
  /// The gradient of the mean loss of the last call: of every R in the order of the modules, of the head's weight and bias.
  std::vector<float> gradient() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace rival
