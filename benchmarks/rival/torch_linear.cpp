// An adapted layer in LibTorch's autograd.
#include "benchmarks/rival/torch_tensors.hpp"

namespace rival {

struct TorchLayer::Parts {
  torch::Tensor W0, B, R, A, Y, dX;
  double scale;
};

TorchLayer::TorchLayer(MatrixOf W0, MatrixOf B, MatrixOf R, MatrixOf A, float scale)
    : parts_(std::make_unique<Parts>(Parts{copy(W0), copy(B), copy(R).requires_grad_(), copy(A), {}, {}, scale})) {}
TorchLayer::~TorchLayer() = default;

void TorchLayer::run(MatrixOf X, MatrixOf dY) {
  Parts& p = *parts_;
  const torch::Tensor x = view(X).requires_grad_();
  if (p.R.grad().defined()) p.R.mutable_grad().zero_();
  const torch::Tensor adapted = torch::linear(torch::linear(torch::linear(x, p.A), p.R), p.B);
  p.Y = torch::linear(x, p.W0) + (p.scale == 1 ? adapted : p.scale * adapted);
  p.Y.backward(view(dY));
  p.dX = x.grad();
}

std::span<const float> TorchLayer::Y() const { return numbers(parts_->Y); }
std::span<const float> TorchLayer::dR() const { return numbers(parts_->R.grad()); }
std::span<const float> TorchLayer::dX() const { return numbers(parts_->dX); }

}  // namespace rival
