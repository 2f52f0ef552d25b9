// The raw products that set the limit of a layer: OpenBLAS's and oneDNN's, where they were found.
#pragma once

#ifdef LORASB_HAS_CBLAS
#include <cblas.h>
#endif
#ifdef LORASB_HAS_ONEDNN
#include <dnnl.h>
#endif

#include <string>
#include <vector>

namespace rival {

/// C = L M without gaps, as a layer stores them: L is row-major, rows x depth, or depth x rows and read transposed; M (depth x
/// cols) and C (rows x cols) are column-major.
struct Product {
  std::string name;
  void (*multiply)(bool transposed, long rows, long cols, long depth, const float* L, const float* M, float* C);
};

inline std::vector<Product> products() {
  return {
#ifdef LORASB_HAS_CBLAS
      {"OpenBLAS sgemm",
       [](bool transposed, long rows, long cols, long depth, const float* L, const float* M, float* C) {
         // a row-major matrix is a column-major one read transposed
         cblas_sgemm(CblasColMajor, transposed ? CblasNoTrans : CblasTrans, CblasNoTrans, int(rows), int(cols), int(depth), 1,
                     L, int(transposed ? rows : depth), M, int(depth), 0, C, int(rows));
       }},
#endif
#ifdef LORASB_HAS_ONEDNN
      {"oneDNN sgemm",
       [](bool transposed, long rows, long cols, long depth, const float* L, const float* M, float* C) {
         // oneDNN's sgemm is row-major: Cᵀ = Mᵀ Lᵀ
         dnnl_sgemm('N', transposed ? 'N' : 'T', cols, rows, depth, 1, M, depth, L, transposed ? rows : depth, 0, C, rows);
       }},
#endif
  };
}

}  // namespace rival
