// Threads and configuration of LibTorch and of the BLAS behind it.
#include <dlfcn.h>
#include <torch/torch.h>

#include "benchmarks/rival/torch.hpp"

namespace rival {

void set_threads(int threads) {
  static const bool once = (torch::set_num_interop_threads(1), true);
  static_cast<void>(once);
  torch::set_num_threads(threads);
  // OpenBLAS with its own threads does not listen to OpenMP, which torch::set_num_threads sets
  if (void* f = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) reinterpret_cast<void (*)(int)>(f)(threads);
}

std::string configuration() { return torch::show_config() + "\n" + torch::get_parallel_info(); }

}  // namespace rival
