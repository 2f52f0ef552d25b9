// Dropout of what adapters read: a mask that is a function of its key alone.
#pragma once

#include <cstdint>
#include <span>

#include "lorasb/core/buffer.hpp"
#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb {

/// Entries of X are left out with probability `rate`, the others grow so that their mean stays (Srivastava et al., 2014):
///
///     X'_ic = m_ic X_ic,    m_ic = 0 or 1 / (1 - rate), a function of the column's key, `layer` and i
///
/// So forward and backward have one mask, and neither threads nor the cut of a batch change it. An adapter's layer computes
/// Y = W0 X + s B R A X' with it, as PEFT's lora_dropout does.
struct InputDropout {
  double rate = 0;                           // 0: nothing is left out
  std::uint64_t layer = 0;                   // layers have masks of their own
  std::span<const std::uint64_t> keys = {};  // of each column: another one for each step, text and token

  bool drops() const { return rate > 0; }

  /// Overwrites Y, which may be X, with X'. Throws ErrorId::shape for another number of keys than columns.
  template <Real S>
  void apply(ConstMatrixView<S> X, MatrixView<S> Y) const {
    require(std::ssize(keys) == X.cols(), ErrorId::shape, "InputDropout: ", keys.size(), " keys, expected ", X.cols(),
            ", the columns of X");
    require_shape(Y, X.rows(), X.cols(), "InputDropout", "Y", "the shape of X");
    const auto limit = static_cast<std::uint64_t>(rate * 0x1p16);  // of 16 random bits: the rate is a multiple of 2^-16
    const S grown = static_cast<S>(1 / (1 - double(limit) * 0x1p-16));
    for (Index c = 0; c < X.cols(); ++c) {
      Random random(keys[static_cast<std::size_t>(c)], layer);
      std::uint64_t bits = 0;
      for (Index i = 0; i < X.rows(); ++i, bits >>= 16) {
        if (i % 4 == 0) bits = random.bits();
        Y(i, c) = (bits & 0xFFFF) < limit ? S(0) : grown * X(i, c);
      }
    }
  }
  /// X' in `to`, or X itself where nothing is left out.
  template <Real S>
  ConstMatrixView<S> input(ConstMatrixView<S> X, Buffer<S>& to) const {
    if (!drops()) return X;
    apply<S>(X, to.reshape(X.rows(), X.cols()));
    return to.view();
  }
};

}  // namespace lorasb
