// A LibTorch module with a LoRA-SB adapter: autograd calls lorasb's forward and backward, and R is an ordinary parameter.
#pragma once

#include <torch/torch.h>

#include <utility>

#include "lorasb/adapter/adapted_linear.hpp"

namespace lorasb_torch {

/// Y = X W0ᵀ + s X Aᵀ Rᵀ Bᵀ, with X: [..., in] and Y: [..., out], float32 on the CPU. W0, B and A are frozen.
///
///     AdaptedTorchLinear layer(linear->weight, lorasb::initialize(estimate, {.rank = 16}).adapter);
///     torch::optim::AdamW optimizer(layer->parameters());  // R alone
class AdaptedTorchLinearImpl : public torch::nn::Module {
 public:
  AdaptedTorchLinearImpl(const torch::Tensor& W0, lorasb::LowRankAdapter<float> adapter)
      : basis_(std::make_shared<const lorasb::AdapterBasis<float>>(
            lorasb::AdapterBasis<float>{.B = std::move(adapter.B), .A = std::move(adapter.A), .scale = adapter.scale})) {
    W0_ = register_buffer("weight", W0.detach().to(torch::kFloat32).contiguous());
    R = register_parameter("R", torch::from_blob(adapter.R.data(), {adapter.R.rows(), adapter.R.cols()}).clone());
  }

  torch::Tensor forward(const torch::Tensor& X) { return Function::apply(X.contiguous(), R, W0_, basis_); }

  torch::Tensor R;  // [r, r]

 private:
  using Basis = std::shared_ptr<const lorasb::AdapterBasis<float>>;

  /// What one forward keeps for its backward: autograd may run several before the first backward.
  struct Pass : torch::CustomClassHolder {
    Pass(torch::Tensor W0, torch::Tensor R, Basis basis)
        : W0(std::move(W0)), R(std::move(R)), basis(std::move(basis)),
          layer({this->W0.data_ptr<float>(), this->W0.size(0), this->W0.size(1)}, *this->basis,
                {this->R.data_ptr<float>(), this->R.size(0), this->R.size(1)}) {}
    torch::Tensor W0, R, X;
    Basis basis;
    lorasb::AdaptedLinear<float> layer;
    lorasb::LinearCache<float> cache;
    lorasb::ForwardPass<float> forward;
  };

  /// [tokens, features] of a contiguous tensor is features x tokens, column-major.
  static lorasb::MatrixView<float> columns(const torch::Tensor& t) {
    return {t.data_ptr<float>(), t.size(-1), t.numel() / t.size(-1)};
  }

  struct Function : torch::autograd::Function<Function> {
    static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& X, const torch::Tensor& R,
                                 const torch::Tensor& W0, const Basis& basis) {
      auto pass = c10::make_intrusive<Pass>(W0, R.detach(), basis);
      pass->X = X.detach();
      std::vector<std::int64_t> sizes = X.sizes().vec();
      sizes.back() = W0.size(0);
      torch::Tensor Y = torch::empty(sizes, X.options());
      pass->forward = pass->layer.forward(columns(pass->X), columns(Y), pass->cache);
      context->saved_data["pass"] = c10::IValue::make_capsule(std::move(pass));
      return Y;
    }
    static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context, torch::autograd::tensor_list dY) {
      const auto pass = c10::static_intrusive_pointer_cast<Pass>(context->saved_data["pass"].toCapsule());
      const torch::Tensor dY0 = dY[0].contiguous();
      torch::Tensor dX = torch::empty_like(pass->X), dR = torch::zeros_like(pass->R);
      pass->layer.backward(pass->forward, columns(dY0), pass->cache,
                           std::span<float>(dR.data_ptr<float>(), std::size_t(dR.numel())), columns(dX));
      return {dX, dR, {}, {}};
    }
  };

  Basis basis_;
  torch::Tensor W0_;
};
TORCH_MODULE(AdaptedTorchLinear);

}  // namespace lorasb_torch
