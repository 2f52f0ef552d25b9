// Tensors made from the numbers of somebody else; for the sources that include <torch/torch.h>.
#pragma once

#include <torch/torch.h>

#include "benchmarks/rival/torch.hpp"

namespace rival {

inline torch::Tensor view(MatrixOf m) { return torch::from_blob(const_cast<float*>(m.data), {m.rows, m.cols}); }
inline torch::Tensor copy(MatrixOf m) { return view(m).clone(); }
inline torch::Tensor copy(std::span<const float> v) {
  return torch::from_blob(const_cast<float*>(v.data()), {std::int64_t(v.size())}).clone();
}
inline std::span<const float> numbers(const torch::Tensor& t) { return {t.data_ptr<float>(), std::size_t(t.numel())}; }

}  // namespace rival
