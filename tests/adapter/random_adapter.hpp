// Random adapters, with orthonormal factors or without, and the reference that tests hold them to.
#pragma once

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "support.hpp"

namespace lorasb::test {

/// rows x cols with orthonormal columns.
template <Real S>
Matrix<S> random_orthonormal(Index rows, Index cols, std::uint64_t seed) {
  return orthonormal_basis(random_matrix<Matrix<double>>(rows, cols, seed)).template cast<S>();
}

template <Real S>
LowRankAdapter<S> random_adapter(Index out, Index in, Index rank, std::uint64_t seed, double scale = 1,
                                 bool orthonormal = true) {
  LowRankAdapter<S> adapter;
  adapter.R = random_matrix<Weight<S>>(rank, rank, seed, 1);
  adapter.scale = S(scale);
  if (orthonormal) {
    adapter.B = random_orthonormal<S>(out, rank, seed);
    adapter.A = random_orthonormal<S>(in, rank, seed + 1000).transpose();
  } else {
    adapter.B = random_matrix<Weight<S>>(out, rank, seed, 2);
    adapter.A = random_matrix<Weight<S>>(rank, in, seed, 3);
  }
  return adapter;
}

/// s B R A, in double.
template <Real S>
Eigen::MatrixXd delta(const LowRankAdapter<S>& a) {
  return product(a.scale, a.B.template cast<double>(), a.R.template cast<double>(), a.A.template cast<double>());
}

}  // namespace lorasb::test
