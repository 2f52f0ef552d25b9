// Who multiplies matrices: Eigen, unless a program chooses another library.
#pragma once

#include <atomic>

#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/linalg/eigen_gemm.hpp"

namespace lorasb::linalg {

/// result = W X (W: out x in, X: in x columns), or Wᵀ X when `transposed` (X: out x columns), with W row-major and stored as
/// `dtype`, X and result column-major in float, each with the distance between its rows (W, in bytes) or columns. Sums are in
/// float.
struct NarrowProduct {
  Dtype dtype = Dtype::bf16;
  const std::byte* weight = nullptr;
  Index out = 0, in = 0;
  std::size_t weight_row_bytes = 0;
  bool transposed = false;
  const float* input = nullptr;
  Index input_stride = 0;
  Index columns = 0;
  float* result = nullptr;
  Index result_stride = 0;
};

/// A library of products in float32; double is Eigen's own everywhere. Both functions are called from many threads at once,
/// and use only the thread that calls them.
struct Backend {
  const char* name;
  void (*gemm)(const Gemm<float>&);
  bool (*narrow_product)(const NarrowProduct&);  // false: declined, W is then widened tile by tile for `gemm`; null: never
};

namespace detail {

inline std::atomic<const Backend*> chosen_backend{nullptr};

}  // namespace detail

/// The backend of all products in float32 from here on, in the whole program; null for Eigen's own, the default. It must
/// outlive its last use. Each backend adds in an order of its own: choose once, before anything whose bits are to be repeated.
inline void use_backend(const Backend* backend) { detail::chosen_backend.store(backend, std::memory_order_release); }
inline const Backend* backend() { return detail::chosen_backend.load(std::memory_order_acquire); }

/// "eigen" ("blas" where EIGEN_USE_BLAS puts a BLAS in the place of Eigen's kernels), or the name of the chosen one.
inline const char* backend_name() {
  if (const Backend* const chosen = backend()) return chosen->name;
#ifdef EIGEN_USE_BLAS
  return "blas";
#else
  return "eigen";
#endif
}

}  // namespace lorasb::linalg
