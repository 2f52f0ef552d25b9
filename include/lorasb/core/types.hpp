// The scalar, index and storage types that every other header speaks in.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <Eigen/Core>
#include <concepts>

namespace lorasb {

using Index = Eigen::Index;

/// What lorasb computes in. Frozen weights may be stored narrower; B, A, R and every sum may not.
template <class S>
concept Real = std::same_as<S, float> || std::same_as<S, double>;

/// Activations: features x tokens, column-major. Byte for byte PyTorch's contiguous `[tokens, features]`.
template <Real S>
using Matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

/// Weights, B, R and A: out x in, row-major. Byte for byte PyTorch's contiguous `weight`.
template <Real S>
using Weight = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <Real S>
using Vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

}  // namespace lorasb
