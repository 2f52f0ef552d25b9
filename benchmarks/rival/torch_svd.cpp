// torch.svd_lowrank in C++, call by call as in torch/_lowrank.py of PyTorch 1.13: there it is Python.
#include "benchmarks/rival/torch_tensors.hpp"

namespace rival {

namespace {

torch::Tensor orthonormal(const torch::Tensor& Y) { return std::get<0>(torch::linalg_qr(Y)); }

/// get_approximate_basis(A, q, niter)
torch::Tensor approximate_basis(const torch::Tensor& A, std::int64_t q, int niter) {
  torch::Tensor Q = orthonormal(torch::matmul(A, torch::randn({A.size(1), q})));
  for (int i = 0; i < niter; ++i) {
    Q = orthonormal(torch::matmul(A.t(), Q));
    Q = orthonormal(torch::matmul(A, Q));
  }
  return Q;
}

}  // namespace

struct TorchSvd::Parts {
  torch::Tensor W, U, S, V;
  std::int64_t q;
  int niter;
};

TorchSvd::TorchSvd(MatrixOf W, int q, int niter) : parts_(std::make_unique<Parts>(Parts{copy(W), {}, {}, {}, q, niter})) {
  torch::manual_seed(1);
}
TorchSvd::~TorchSvd() = default;

void TorchSvd::run() {
  Parts& p = *parts_;
  const torch::NoGradGuard no_grad;
  // _svd_lowrank's way for more columns than q
  const torch::Tensor Q = approximate_basis(p.W.t(), p.q, p.niter);
  const auto [U, S, Vh] = torch::linalg_svd(torch::matmul(p.W, Q), false);
  p.U = U;
  p.S = S;
  p.V = torch::matmul(Q, Vh.t());
}

double TorchSvd::captured_energy(int rank) const {
  const Parts& p = *parts_;
  const torch::Tensor U = p.U.slice(1, 0, rank), S = p.S.slice(0, 0, rank).to(torch::kFloat64), V = p.V.slice(1, 0, rank);
  const torch::Tensor along = (torch::matmul(p.W, V) * U).sum(0, false, torch::kFloat64);  // uᵀ W v
  return (S * (2 * along - S)).sum().item<double>();
}

}  // namespace rival
