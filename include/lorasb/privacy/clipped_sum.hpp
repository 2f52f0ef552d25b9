// Where the gradients of single examples become a sum that no example moves by more than C.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lorasb/privacy/clip.hpp"
#include "lorasb/privacy/discrete_gaussian.hpp"

namespace lorasb::privacy {

/// Σ_i min(1, C / ‖g_i‖) g_i over the gradients g_i of single examples, in numbers, or for discrete noise in integers on a grid. A
/// view: train::PrivateStep gives one to each part of a pass, which hands over gradients as they are:
///
///     sum.add(G);   // size x examples: column i is the gradient of example i, over all trained numbers together
template <Real S>
class ClippedSum {
 public:
  /// `sum` is added to, and must outlive it. add() throws ErrorId::value unless clip > 0.
  ClippedSum(double clip, std::span<S> sum) : clip_(clip), numbers_(sum) {}
  /// The same rounded to multiples of `grid`, in integers of it.
  ClippedSum(double clip, double grid, std::span<std::int64_t> sum) : clip_(clip), grid_(grid), integers_(sum) {}

  /// Throws what add_clipped_columns() and add_clipped_columns_to_grid() throw. A column that is not finite adds nothing.
  void add(ConstMatrixView<S> G) const {
    if (grid_ > 0) return add_clipped_columns_to_grid<S>(G, clip_, grid_, integers_);
    std::vector<double> norms(static_cast<std::size_t>(G.cols()));
    add_clipped_columns<S>(G, clip_, numbers_, norms);
  }

  double clip() const { return clip_; }
  /// What was added so far; empty on a grid. What is done to it must not make an example's share longer.
  std::span<S> numbers() const { return numbers_; }

 private:
  double clip_, grid_ = 0;
  std::span<S> numbers_ = {};
  std::span<std::int64_t> integers_ = {};
};

}  // namespace lorasb::privacy
