// Checks at public functions; the message is built only when the check fails.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

#include "lorasb/core/error.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb {
namespace detail {

inline void append(std::string& out, std::string_view part) { out += part; }
template <class T>
requires std::integral<T>
void append(std::string& out, T number) { out += std::to_string(number); }
inline void append(std::string& out, double number) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%g", number);
  out += digits;
}

}  // namespace detail

/// The parts one after another: text as it is, numbers in decimal.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

/// Throws Error(id) with the parts as its message when `condition` is false.
template <class... Parts>
void require(bool condition, ErrorId id, const Parts&... parts) {
  if (!condition) [[unlikely]]
    throw Error(id, concat(parts...));
}

/// Throws ErrorId::shape unless `m` is rows x cols. `where` names the function, `what` the argument, `why` the source of the
/// size.
template <class D>
void require_shape(const Eigen::EigenBase<D>& m, Index rows, Index cols, std::string_view where, std::string_view what,
                   std::string_view why = {}) {
  if (m.rows() == rows && m.cols() == cols) [[likely]]
    return;
  throw Error(ErrorId::shape, concat(where, ": ", what, " is ", m.rows(), " x ", m.cols(), ", expected ", rows, " x ", cols,
                                     why.empty() ? "" : " (", why, why.empty() ? "" : ")"));
}

/// The same for rows only, where any number of columns (tokens) will do.
template <class D>
void require_rows(const Eigen::EigenBase<D>& m, Index rows, std::string_view where, std::string_view what,
                  std::string_view why = {}) {
  if (m.rows() == rows) [[likely]]
    return;
  throw Error(ErrorId::shape, concat(where, ": ", what, " is ", m.rows(), " x ", m.cols(), ", expected ", rows, " rows",
                                     why.empty() ? "" : " (", why, why.empty() ? "" : ")"));
}

/// Throws ErrorId::not_finite, with the place of the first bad entry, when `m` holds NaN or infinity.
template <class D>
void require_finite(const Eigen::DenseBase<D>& m, std::string_view where, std::string_view what) {
  if (m.allFinite()) [[likely]]
    return;
  for (Index i = 0; i < m.rows(); ++i)
    for (Index j = 0; j < m.cols(); ++j)
      require(std::isfinite(m.derived().coeff(i, j)), ErrorId::not_finite, where, ": ", what, " holds ",
              static_cast<double>(m.derived().coeff(i, j)), " at row ", i, ", column ", j);
}

}  // namespace lorasb
