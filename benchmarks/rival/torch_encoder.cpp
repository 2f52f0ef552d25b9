// The sentence encoder with LoRA-SB in LibTorch's autograd.
#include <torch/torch.h>

#include <cmath>

#include "benchmarks/rival/torch.hpp"
#include "benchmarks/rival/torch_tensors.hpp"

namespace rival {

namespace {

struct AdaptedModule {
  torch::Tensor W0, B, R, A, bias;
  double scale;

  explicit AdaptedModule(const Module& m)
      : W0(copy(m.W0)), B(copy(m.B)), R(copy(m.R).requires_grad_()), A(copy(m.A)), bias(copy(m.bias)), scale(m.scale) {}

  torch::Tensor operator()(const torch::Tensor& x) const {
    const torch::Tensor adapted = torch::linear(torch::linear(torch::linear(x, A), R), B);
    return torch::linear(x, W0, bias) + (scale == 1 ? adapted : scale * adapted);
  }
};

struct LayerNorm {
  torch::Tensor scale, bias;
  double epsilon;
  LayerNorm(const Norm& n, double eps) : scale(copy(n.scale)), bias(copy(n.bias)), epsilon(eps) {}
  torch::Tensor operator()(const torch::Tensor& x) const { return torch::layer_norm(x, {x.size(-1)}, scale, bias, epsilon); }
};

/// A batch padded to its longest text.
struct Padded {
  torch::Tensor ids;      // texts x tokens
  torch::Tensor padding;  // texts x tokens, true where there is no token
  torch::Tensor labels;   // texts

  explicit Padded(const Batch& batch) {
    std::size_t longest = 0;
    for (const auto& text : batch.ids) longest = std::max(longest, text.size());
    const auto texts = std::int64_t(batch.ids.size()), tokens = std::int64_t(longest);
    ids = torch::zeros({texts, tokens}, torch::kInt64);
    padding = torch::ones({texts, tokens}, torch::kBool);
    labels = torch::empty({texts}, torch::kInt64);
    for (std::int64_t i = 0; i < texts; ++i) {
      const auto& text = batch.ids[std::size_t(i)];
      std::copy(text.begin(), text.end(), ids.data_ptr<std::int64_t>() + i * tokens);
      std::fill_n(padding.data_ptr<bool>() + i * tokens, text.size(), false);
      labels.data_ptr<std::int64_t>()[i] = batch.labels[std::size_t(i)];
    }
  }
};

}  // namespace

struct TorchEncoder::Parts {
  std::int64_t layers, heads;
  double max_norm;
  torch::Tensor embedding, timing, head, head_bias;
  std::vector<AdaptedModule> modules;
  std::vector<LayerNorm> norms;
  std::vector<torch::Tensor> trained;
  std::unique_ptr<torch::optim::AdamW> optimizer;

  Parts(const EncoderWeights& w, TrainOptions options)
      : layers(w.layers), heads(w.heads), max_norm(options.max_norm), embedding(copy(w.embedding)) {
    const torch::Tensor angles = torch::arange(w.max_tokens, torch::kFloat32).unsqueeze(1) * copy(w.inverse_timescales);
    timing = torch::cat({torch::sin(angles), torch::cos(angles)}, 1);
    for (const Module& m : w.modules) modules.emplace_back(m);
    for (const Norm& n : w.norms) norms.emplace_back(n, w.epsilon);
    head = copy(w.head).requires_grad_();
    head_bias = copy(w.head_bias).requires_grad_();
    for (AdaptedModule& m : modules) trained.push_back(m.R);
    using Group = torch::optim::OptimizerParamGroup;
    const auto adamw = [&](double rate) {
      return std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(rate).weight_decay(options.weight_decay));
    };
    std::vector<Group> groups{Group(trained, adamw(options.learning_rate)),
                              Group({head, head_bias}, adamw(options.head_learning_rate))};
    optimizer = std::make_unique<torch::optim::AdamW>(groups, torch::optim::AdamWOptions(options.learning_rate));
    trained.push_back(head);
    trained.push_back(head_bias);
  }

  torch::Tensor attention(std::size_t first_module, const torch::Tensor& x, const torch::Tensor& padding) const {
    const std::int64_t texts = x.size(0), tokens = x.size(1), width = x.size(2), size = width / heads;
    const std::vector<torch::Tensor> qkv = modules[first_module](x).chunk(3, -1);
    const auto split = [&](const torch::Tensor& t) { return t.view({texts, tokens, heads, size}).transpose(1, 2); };
    torch::Tensor scores = torch::matmul(split(qkv[0]), split(qkv[1]).transpose(-2, -1)) / std::sqrt(double(size));
    scores = scores.masked_fill(padding.view({texts, 1, 1, tokens}), -std::numeric_limits<float>::infinity());
    const torch::Tensor mixed = torch::matmul(torch::softmax(scores, -1), split(qkv[2]));
    return modules[first_module + 1](mixed.transpose(1, 2).reshape({texts, tokens, width}));
  }

  torch::Tensor logits(const Padded& batch) const {
    torch::Tensor x = 2 * torch::embedding(embedding, batch.ids) + timing.slice(0, 0, batch.ids.size(1));
    for (std::int64_t i = 0; i < layers; ++i) {
      const std::size_t m = std::size_t(1 + 4 * i), n = std::size_t(2 * i);
      const torch::Tensor residual = i == 0 ? modules[0](x) : x;
      const torch::Tensor h = attention(m, norms[n](x), batch.padding) + residual;
      x = h + modules[m + 3](torch::relu(modules[m + 2](norms[n + 1](h))));
    }
    const torch::Tensor kept = torch::logical_not(batch.padding).to(torch::kFloat32).unsqueeze(-1);
    const torch::Tensor mean = (x * kept).sum(1) / kept.sum(1);
    const torch::Tensor y = torch::tanh(modules.back()(mean));
    const torch::Tensor unit = torch::nn::functional::normalize(y, torch::nn::functional::NormalizeFuncOptions().dim(-1));
    return torch::linear(unit * std::sqrt(double(unit.size(-1))), head, head_bias);
  }

  double backward(const Batch& texts) {
    const Padded batch(texts);
    optimizer->zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(logits(batch), batch.labels);
    loss.backward();
    return loss.item<double>();
  }
};

TorchEncoder::TorchEncoder(const EncoderWeights& weights, TrainOptions options)
    : parts_(std::make_unique<Parts>(weights, options)) {}
TorchEncoder::~TorchEncoder() = default;

double TorchEncoder::gradients(const Batch& batch) { return parts_->backward(batch); }

double TorchEncoder::step(const Batch& batch) {
  const double loss = parts_->backward(batch);
  torch::nn::utils::clip_grad_norm_(parts_->trained, parts_->max_norm);
  parts_->optimizer->step();
  return loss;
}

std::vector<float> TorchEncoder::gradient() const {
  std::vector<float> all;
  for (const torch::Tensor& t : parts_->trained) {
    const torch::Tensor g = t.grad().contiguous();
    all.insert(all.end(), g.data_ptr<float>(), g.data_ptr<float>() + g.numel());
  }
  return all;
}

}  // namespace rival
