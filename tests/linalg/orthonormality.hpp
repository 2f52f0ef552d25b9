// How far columns are from orthonormal.
#pragma once

#include <algorithm>
#include <concepts>

#include "lorasb/core/types.hpp"

namespace lorasb::test {

/// max |QᵀQ - I|, in double.
template <class M>
double departure(const M& Q) {
  const Eigen::MatrixXd q = Q.template cast<double>();
  if (q.cols() == 0) return 0;
  return (q.transpose() * q - Eigen::MatrixXd::Identity(q.cols(), q.cols())).cwiseAbs().maxCoeff();
}

/// In float what lorasb promises of B and A on disk. In double the roundings of the measurement itself: it sums up to 4096
/// squares that may all be rounded the same way.
template <Real S>
constexpr double orthonormal = std::same_as<S, float> ? 5e-7 : 1e-14;

}  // namespace lorasb::test
