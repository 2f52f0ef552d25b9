// Products by oneDNN: float32, and frozen weights in bfloat16.
#pragma once

#include <cstddef>
#include <dnnl.hpp>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/linalg/backend.hpp"

// oneDNN's threads are those of the OpenMP runtime that it was linked with, whichever that is; without one these are null.
extern "C" {
void omp_set_num_threads(int) __attribute__((weak));
int omp_get_max_threads() __attribute__((weak));
}

namespace lorasb::onednn {
namespace detail {

/// While it lives, oneDNN uses this thread alone: the caller has divided the work already.
class OneThread {
 public:
  OneThread() {
    if (omp_set_num_threads == nullptr || omp_get_max_threads == nullptr) return;
    before_ = omp_get_max_threads();
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ > 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = 1;
};

/// The column-major C = alpha L M + beta C is the row-major Cᵀ = alpha Mᵀ Lᵀ + beta Cᵀ.
inline void gemm(const linalg::Gemm<float>& g) {
  if (g.rows == 0 || g.cols == 0) return;
  // with so small a result (the rank side of an adapter, attention in one text) Eigen's kernels are ahead: 70 GFLOP/s, not 30
  // to 60
  if (g.depth == 0 || g.rows == 1 || g.cols == 1 || g.rows * g.cols < 10000) return linalg::eigen_gemm(g);
  const OneThread one_thread;
  const dnnl_status_t status =
      dnnl_sgemm(g.right_row_major ? 'T' : 'N', g.left_row_major ? 'T' : 'N', g.cols, g.rows, g.depth, g.alpha, g.right,
                 g.right_stride, g.left, g.left_stride, g.beta, g.result, g.result_stride);
  require(status == dnnl_success, ErrorId::backend, "onednn: dnnl_sgemm failed with status ", static_cast<int>(status), " for ",
          g.rows, " x ", g.depth, " by ", g.depth, " x ", g.cols);
}

/// One for each direction: sizes are given when it runs, and it keeps nothing between runs, so that all threads share it.
class Bfloat16Matmul {
 public:
  explicit Bfloat16Matmul(bool transposed) {
    constexpr dnnl::memory::dim any = DNNL_RUNTIME_DIM_VAL;
    using Type = dnnl::memory::data_type;
    // row-major: [columns, k] [k, n] = [columns, n], the weight as it lies or the other way round
    const dnnl::memory::desc input({any, any}, Type::bf16, {any, 1});
    const dnnl::memory::desc weight({any, any}, Type::bf16, transposed ? dnnl::memory::dims{any, 1} : dnnl::memory::dims{1, any});
    const dnnl::memory::desc result({any, any}, Type::f32, {any, 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(input, weight, result), attributes, engine_);
    scratch_ = description.scratchpad_desc();
    matmul_ = dnnl::matmul(description);
  }

  void run(const linalg::NarrowProduct& p) const {
    using Type = dnnl::memory::data_type;
    const Index k = p.transposed ? p.out : p.in;
    const Index n = p.transposed ? p.in : p.out;
    thread_local std::vector<Bfloat16> narrow;
    thread_local std::vector<std::byte> scratch;
    narrow.resize(static_cast<std::size_t>(k * p.columns));
    scratch.resize(scratch_.get_size());
    for (Index t = 0; t < p.columns; ++t) to_bfloat16(p.input + t * p.input_stride, narrow.data() + t * k, k);
    const auto weight_stride = static_cast<Index>(p.weight_row_bytes / sizeof(Bfloat16));
    const dnnl::memory::dims strides =
        p.transposed ? dnnl::memory::dims{weight_stride, 1} : dnnl::memory::dims{1, weight_stride};
    const OneThread one_thread;
    const dnnl::memory input({{p.columns, k}, Type::bf16, {k, 1}}, engine_, narrow.data());
    const dnnl::memory weight({{k, n}, Type::bf16, strides}, engine_, const_cast<std::byte*>(p.weight));  // only read
    const dnnl::memory result({{p.columns, n}, Type::f32, {p.result_stride, 1}}, engine_, p.result);
    const dnnl::memory space(scratch_, engine_, scratch.data());
    dnnl::stream stream(engine_);
    matmul_.execute(stream,
                    {{DNNL_ARG_SRC, input}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, result}, {DNNL_ARG_SCRATCHPAD, space}});
    stream.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::memory::desc scratch_;
  dnnl::matmul matmul_;
};

inline bool narrow_product(const linalg::NarrowProduct& p) {
  if (p.dtype != Dtype::bf16) return false;
  try {
    static const Bfloat16Matmul straight(false), transposed(true);
    (p.transposed ? transposed : straight).run(p);
    return true;
  } catch (const dnnl::error& e) {
    throw Error(ErrorId::backend, concat("onednn: ", e.what(), " (status ", static_cast<int>(e.status), ") for a weight ",
                                         p.out, " x ", p.in, " and ", p.columns, " columns"));
  }
}

/// Has instructions that multiply bfloat16 and add up in float32.
inline bool multiplies_bfloat16() {
  constexpr int needed = dnnl_cpu_isa_avx512_core_bf16;
  return (dnnl_get_effective_cpu_isa() & needed) == needed;
}

}  // namespace detail

/// `linalg::use_backend(&onednn::backend())` sends every product in float32 here. Inputs of weights in bfloat16 are rounded to
/// bfloat16 themselves where the processor multiplies it (avx512_bf16), with sums in float32; elsewhere such weights are
/// widened in tiles. One thread for each caller. Its products throw ErrorId::backend, with oneDNN's status, when it fails.
inline const linalg::Backend& backend() {
  static const linalg::Backend onednn{"onednn", detail::gemm,
                                      detail::multiplies_bfloat16() ? detail::narrow_product : nullptr};
  return onednn;
}

}  // namespace lorasb::onednn
