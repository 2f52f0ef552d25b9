// Checks at public functions; the message is built only when the check fails.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
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
template <class T>
requires std::floating_point<T>
void append(std::string& out, T number) {  // the fewest digits that read back as the same number
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
  out.append(digits, end.ptr);
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

/// Throws ErrorId::shape unless `m` is rows x cols. `where` names the function, `what` the argument; the parts of `why` say
/// where the size comes from.
template <class D, class... Why>
void require_shape(const Eigen::EigenBase<D>& m, Index rows, Index cols, std::string_view where, std::string_view what,
                   const Why&... why) {
  if (m.rows() == rows && m.cols() == cols) [[likely]]
    return;
  const std::string reason = concat(why...);
  throw Error(ErrorId::shape, concat(where, ": ", what, " is ", m.rows(), " x ", m.cols(), ", expected ", rows, " x ", cols,
                                     reason.empty() ? "" : " (", reason, reason.empty() ? "" : ")"));
}

/// The same for rows only, where any number of columns (tokens) will do.
template <class D, class... Why>
void require_rows(const Eigen::EigenBase<D>& m, Index rows, std::string_view where, std::string_view what, const Why&... why) {
  if (m.rows() == rows) [[likely]]
    return;
  const std::string reason = concat(why...);
  throw Error(ErrorId::shape, concat(where, ": ", what, " is ", m.rows(), " x ", m.cols(), ", expected ", rows, " rows",
                                     reason.empty() ? "" : " (", reason, reason.empty() ? "" : ")"));
}

/// Throws ErrorId::not_finite, with the place of the first bad entry, when `m` holds NaN or infinity. The parts of `what` name
/// it.
template <class D, class... What>
void require_finite(const Eigen::DenseBase<D>& m, std::string_view where, const What&... what) {
  if (m.allFinite()) [[likely]]
    return;
  for (Index i = 0; i < m.rows(); ++i)
    for (Index j = 0; j < m.cols(); ++j)
      require(std::isfinite(m.derived().coeff(i, j)), ErrorId::not_finite, where, ": ", what..., " holds ",
              m.derived().coeff(i, j), " at row ", i, ", column ", j);
}

}  // namespace lorasb
