// What the tests share: one table of tolerances, random matrices, a reference in double, and the id of an expected error.
#pragma once

#include <limits>

#include "catch.hpp"
#include "lorasb/core/error.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/types.hpp"
#include "reference.hpp"

namespace lorasb::test {

/// The one table of tolerances, as multiples of the unit roundoff of the scalar.
template <Real S>
struct Tolerance {
  static constexpr double epsilon = std::numeric_limits<S>::epsilon();
  static constexpr double exact = 8 * epsilon;        // a few roundings of numbers near one
  static constexpr double sum = 200 * epsilon;        // sums of some hundred products, relative to their norm
  static constexpr double chain = 2000 * epsilon;     // several such sums one after another: a layer and its backward pass
  static constexpr double iterative = 1e4 * epsilon;  // results of iterations: singular values, trained numbers
};

template <class M>
M random_matrix(Index rows, Index cols, std::uint64_t seed, std::uint64_t stream = 0) {
  Random random(seed, stream);
  M m(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) m(i, j) = static_cast<typename M::Scalar>(random.normal());
  return m;
}

/// ‖a − b‖ / max(‖b‖, 1e-30), in double.
template <class A, class B>
double relative_error(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b) {
  return relative_error_of(a.template cast<double>(), b.template cast<double>());
}

}  // namespace lorasb::test

/// The expression throws lorasb::Error with this id, and its message holds `part`.
#define CHECK_ERROR(expression, error_id, part)                          \
  do {                                                                   \
    bool thrown_ = false;                                                \
    try {                                                                \
      (void)(expression);                                                \
    } catch (const lorasb::Error& error_) {                              \
      thrown_ = true;                                                    \
      INFO(error_.what());                                               \
      CHECK(error_.id() == (error_id));                                  \
      CHECK(std::string(error_.what()).find(part) != std::string::npos); \
    }                                                                    \
    INFO("expected lorasb::Error from " #expression);                    \
    CHECK(thrown_);                                                      \
  } while (false)
