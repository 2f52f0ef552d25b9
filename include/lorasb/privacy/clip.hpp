// Clipping of gradients example by example: the bound on what one example can do to a sum.
#pragma once

#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::privacy {

/// sum += Σ_i min(1, max_norm / ‖g_i‖) g_i over the columns g_i of G, the gradients of examples (size x examples); norms[i] is
/// overwritten with ‖g_i‖. A column whose norm is not finite adds nothing. G stays as it is. Throws ErrorId::shape, and
/// ErrorId::value unless max_norm > 0.
template <Real S>
void add_clipped_columns(ConstMatrixView<S> G, double max_norm, std::span<S> sum, std::span<double> norms) {
  require(max_norm > 0, ErrorId::value, "add_clipped_columns: max_norm is ", max_norm, ", expected a number above 0");
  require_rows(G, std::ssize(sum), "add_clipped_columns", "G", "numbers in sum");
  require(std::ssize(norms) == G.cols(), ErrorId::shape, "add_clipped_columns: norms has ", norms.size(), " numbers, expected ",
          G.cols(), " (columns of G)");
  for (Index i = 0; i < G.cols(); ++i) {
    const S* const g = G.data() + i * G.outerStride();
    const double norm = lorasb::norm<S>(std::span<const S>(g, sum.size()));
    norms[static_cast<std::size_t>(i)] = norm;
    if (!is_finite(norm)) continue;
    if (norm <= max_norm) {
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += g[k];
    } else {
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += static_cast<S>(static_cast<double>(g[k]) / norm * max_norm);
    }
  }
}

}  // namespace lorasb::privacy
