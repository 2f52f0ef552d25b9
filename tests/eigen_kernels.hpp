// The inner loops of Eigen's matrix products, which cost a test more compile time than all else in it, compiled once for all
// tests in eigen_kernels.cpp. The code is what each test would compile itself.
#pragma once

#include <Eigen/Core>

namespace Eigen::internal {

template <class S>
using TestTraits = gebp_traits<S, S>;

#define LORASB_TEST_EIGEN_KERNELS(declared, S)                                                                               \
  declared template struct gebp_kernel<S, S, Index, blas_data_mapper<S, Index, ColMajor, Unaligned, 1>, TestTraits<S>::mr,   \
                                       TestTraits<S>::nr, false, false>;                                                     \
  declared template struct gemm_pack_lhs<S, Index, const_blas_data_mapper<S, Index, ColMajor>, TestTraits<S>::mr,            \
                                         TestTraits<S>::LhsProgress, TestTraits<S>::LhsPacket4Packing, ColMajor>;            \
  declared template struct gemm_pack_lhs<S, Index, const_blas_data_mapper<S, Index, RowMajor>, TestTraits<S>::mr,            \
                                         TestTraits<S>::LhsProgress, TestTraits<S>::LhsPacket4Packing, RowMajor>;            \
  declared template struct gemm_pack_rhs<S, Index, const_blas_data_mapper<S, Index, ColMajor>, TestTraits<S>::nr, ColMajor>; \
  declared template struct gemm_pack_rhs<S, Index, const_blas_data_mapper<S, Index, RowMajor>, TestTraits<S>::nr, RowMajor>; \
  declared template struct general_matrix_vector_product<Index, S, const_blas_data_mapper<S, Index, ColMajor>, ColMajor,     \
                                                         false, S, const_blas_data_mapper<S, Index, ColMajor>, false>;       \
  declared template struct general_matrix_vector_product<Index, S, const_blas_data_mapper<S, Index, ColMajor>, ColMajor,     \
                                                         false, S, const_blas_data_mapper<S, Index, RowMajor>, false>;       \
  declared template struct general_matrix_vector_product<Index, S, const_blas_data_mapper<S, Index, RowMajor>, RowMajor,     \
                                                         false, S, const_blas_data_mapper<S, Index, ColMajor>, false>;       \
  declared template struct general_matrix_vector_product<Index, S, const_blas_data_mapper<S, Index, RowMajor>, RowMajor,     \
                                                         false, S, const_blas_data_mapper<S, Index, RowMajor>, false>

LORASB_TEST_EIGEN_KERNELS(extern, float);
LORASB_TEST_EIGEN_KERNELS(extern, double);

}  // namespace Eigen::internal
