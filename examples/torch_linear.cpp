// LoRA-SB inside LibTorch: autograd, a torch optimizer, and a layer whose R is the only parameter.
#include "examples/torch_linear.hpp"

#include <cstdio>

#include "lorasb/adapter/initialize.hpp"

int main() {
  torch::manual_seed(1);
  torch::nn::Linear linear(torch::nn::LinearOptions(24, 32).bias(false));
  const torch::Tensor change = 0.3 * torch::mm(torch::randn({32, 3}), torch::randn({3, 24}));
  const torch::Tensor X = torch::randn({1024, 24}), target = torch::mm(X, (linear->weight.detach() + change).t());

  // dL/dY of the summed loss, [tokens][out], from one forward of the model as it is
  const torch::Tensor dY = (linear(X) - target).detach().contiguous();
  lorasb::GradientEstimate<float> estimate(32, 24);
  estimate.add({dY.data_ptr<float>(), 32, 1024}, {X.data_ptr<float>(), 24, 1024}, 1024);
  lorasb_torch::AdaptedTorchLinear layer(
      linear->weight,
      lorasb::initialize(estimate, {.rank = 4, .rule = lorasb::FirstStep::sgd, .learning_rate = 0.1}).adapter);

  torch::optim::SGD optimizer(layer->parameters(), 0.5);
  float first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    optimizer.zero_grad();
    const torch::Tensor loss = (layer(X) - target).square().sum() / (2 * 1024);
    loss.backward();
    optimizer.step();
    last = loss.item<float>();
    if (step == 0) first = last;
  }
  std::printf("loss %.4f -> %.4f\n", first, last);
  return last < 0.05f * first ? 0 : 1;
}
