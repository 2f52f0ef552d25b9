// Prints LibTorch's configuration and the file of the BLAS behind it, for the head of the table.
#include <dlfcn.h>

#include <cstdio>
#include <filesystem>

#include "benchmarks/rival/torch.hpp"

int main() {
  std::printf("%s\n", rival::configuration().c_str());
  Dl_info info{};
  if (void* f = dlsym(RTLD_DEFAULT, "sgemm_"); f != nullptr && dladdr(f, &info) != 0)
    std::printf("BLAS behind it: %s\n", std::filesystem::canonical(info.dli_fname).c_str());
}
