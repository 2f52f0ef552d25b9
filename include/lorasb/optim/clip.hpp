// Clipping of gradients by their global norm.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::optim {

/// Scales the gradients g in all parts by max_norm / ‖g‖ when ‖g‖ > max_norm, and leaves them alone otherwise. Returns ‖g‖ as
/// it was, over all parts together, in double, right for entries of any size (1e38 in float, 1e300 in double, denormals).
///
/// A norm that is not finite is returned and nothing is scaled: NaN if an entry is NaN, infinity if one is infinite (or the
/// norm is beyond double). The caller decides whether to skip the step or stop. An infinite max_norm only measures. Throws
/// ErrorId::value unless max_norm > 0.
///
/// torch.nn.utils.clip_grad_norm_ divides by ‖g‖ + 1e-6 instead, which leaves a norm up to 1e-6 / ‖g‖ (relative) smaller.
template <Real S>
double clip_global_norm(std::span<const std::span<S>> parts, double max_norm) {
  require(max_norm > 0, ErrorId::value, "clip_global_norm: max_norm is ", max_norm, ", expected a number above 0");
  const std::vector<std::span<const S>> read(parts.begin(), parts.end());
  const double norm = lorasb::norm<S>(read);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
  for (const std::span<S> part : parts)
    for (S& x : part) x = static_cast<S>(static_cast<double>(x) / norm * max_norm);
  return norm;
}

/// The same for one flat buffer.
template <Real S>
double clip_global_norm(std::span<S> gradients, double max_norm) {
  return clip_global_norm<S>(std::span<const std::span<S>>(&gradients, 1), max_norm);
}

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
    if (!std::isfinite(norm)) continue;
    if (norm <= max_norm) {
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += g[k];
    } else {
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += static_cast<S>(static_cast<double>(g[k]) / norm * max_norm);
    }
  }
}

}  // namespace lorasb::optim
