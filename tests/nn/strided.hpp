// A matrix with gaps between its columns (or rows), to see that views are respected.
#pragma once

#include <limits>

#include "lorasb/core/view.hpp"

namespace lorasb::test {

/// The block of a larger matrix; everything around it is NaN and has to stay so. M is a Matrix or a Weight.
template <class M>
class Strided {
  using S = typename M::Scalar;
  static constexpr int order = M::IsRowMajor ? Eigen::RowMajor : Eigen::ColMajor;

 public:
  /// A block of NaN, for outputs.
  Strided(Index rows, Index cols)
      : whole_(M::Constant(rows + 3, cols + 2, std::numeric_limits<S>::quiet_NaN())), rows_(rows), cols_(cols) {}
  explicit Strided(const M& inner) : Strided(inner.rows(), inner.cols()) { view() = inner; }

  View<S, order> view() { return whole_.block(1, 1, rows_, cols_); }
  ConstView<S, order> view() const { return whole_.block(1, 1, rows_, cols_); }
  /// A copy of the block.
  M inner() const { return view(); }
  bool surroundings_untouched() const {
    return whole_.array().isNaN().count() - view().array().isNaN().count() == whole_.size() - rows_ * cols_;
  }

 private:
  M whole_;
  Index rows_, cols_;
};

}  // namespace lorasb::test
