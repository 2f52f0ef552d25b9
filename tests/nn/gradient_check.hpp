// Gradients by central differences, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "lorasb/core/view.hpp"
#include "support.hpp"

namespace lorasb::test {

/// ‖numeric - gradient‖ / max(‖gradient‖, 1e-3), where numeric_k = (loss(x + h e_k) - loss(x - h e_k)) / 2 h. `loss` is a
/// function of no arguments that reads x, which comes back unchanged.
template <class F>
double gradient_error(std::span<double> x, std::span<const double> gradient, const F& loss) {
  REQUIRE(x.size() == gradient.size());
  Vector<double> numeric(std::ssize(x));
  for (std::size_t k = 0; k < x.size(); ++k) {
    const double before = x[k];
    const double h = 1e-5 * std::max(1.0, std::abs(before));
    x[k] = before + h;
    const double above = loss();
    x[k] = before - h;
    const double below = loss();
    x[k] = before;
    numeric[static_cast<Index>(k)] = (above - below) / (2 * h);
  }
  return (numeric - as_vector(gradient)).norm() / std::max(as_vector(gradient).norm(), 1e-3);
}

/// With h = 1e-5 the third derivative adds about h² = 1e-10 and the rounding of a loss near 10 about 1e-15 / h = 1e-10 to each
/// entry; the factor of a hundred is for steep functions. A wrong term or factor shows up near 1.
constexpr double gradient_tolerance = 1e-8;

}  // namespace lorasb::test
