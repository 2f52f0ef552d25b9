// Checks at public functions; the parts of a message are joined only when the check fails.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "lorasb/core/error.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb {

/// Whether all of n numbers are finite, under -ffast-math too: works on the bit patterns, and integer loops vectorise.
template <Real S>
bool all_finite(const S* x, Index n) {
  using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits exponent = std::bit_cast<Bits>(std::numeric_limits<S>::infinity());
  Bits bad = 0;
  for (Index i = 0; i < n; ++i) {
    Bits bits;  // std::bit_cast of the number itself would let a compiler assume that it is finite
    std::memcpy(&bits, x + i, sizeof bits);
    bad |= Bits((bits & exponent) == exponent);
  }
  return bad == 0;
}
template <Real S>
bool all_finite(std::span<const S> x) {
  return all_finite(x.data(), static_cast<Index>(x.size()));
}
/// The same for one number.
template <Real S>
bool is_finite(S x) {
  return all_finite(&x, 1);
}

namespace detail {

[[noreturn]] inline void fail(ErrorId id, std::initializer_list<MessagePart> parts) { throw Error(id, join(parts)); }

/// "where: what is 3 x 4, expected `expected` (why)"
[[noreturn]] inline void fail_shape(Index rows, Index cols, std::string_view where, std::string_view what,
                                    std::initializer_list<MessagePart> expected, std::initializer_list<MessagePart> why) {
  const std::string reason = join(why);
  fail(ErrorId::shape, {where, ": ", what, " is ", rows, " x ", cols, ", expected ", join(expected), reason.empty() ? "" : " (",
                        reason, reason.empty() ? "" : ")"});
}

/// Throws unless all numbers of `lines` lines are finite, `length` of them each, from one line to the next `stride`.
template <Real S>
void require_finite_lines(const S* data, Index lines, Index length, Index stride, bool row_major, std::string_view where,
                          std::initializer_list<MessagePart> what) {
  for (Index line = 0; line < lines; ++line, data += stride) {
    if (all_finite(data, length)) [[likely]]
      continue;
    Index k = 0;
    while (all_finite(data + k, 1)) ++k;
    fail(ErrorId::not_finite,
         {where, ": ", join(what), " holds ", data[k], " at row ", row_major ? line : k, ", column ", row_major ? k : line});
  }
}

}  // namespace detail

/// Throws Error(id) with the parts as its message when `condition` is false.
template <class... Parts>
void require(bool condition, ErrorId id, const Parts&... parts) {
  if (!condition) [[unlikely]]
    detail::fail(id, {detail::MessagePart(parts)...});
}

/// A matrix, view or weight.
template <class M>
concept Shaped = requires(const M& m) {
  { m.rows() } -> std::convertible_to<Index>;
  { m.cols() } -> std::convertible_to<Index>;
};

/// Throws ErrorId::shape unless `m` is rows x cols. `where` names the function, `what` the argument; the parts of `why` say
/// where the size comes from.
template <Shaped M, class... Why>
void require_shape(const M& m, Index rows, Index cols, std::string_view where, std::string_view what, const Why&... why) {
  if (m.rows() != rows || m.cols() != cols) [[unlikely]]
    detail::fail_shape(m.rows(), m.cols(), where, what, {rows, " x ", cols}, {detail::MessagePart(why)...});
}

/// The same for rows only, where any number of columns (tokens) will do.
template <Shaped M, class... Why>
void require_rows(const M& m, Index rows, std::string_view where, std::string_view what, const Why&... why) {
  if (m.rows() != rows) [[unlikely]]
    detail::fail_shape(m.rows(), m.cols(), where, what, {rows, " rows"}, {detail::MessagePart(why)...});
}

/// Throws ErrorId::not_finite, with the place of the first bad entry, when `m` holds NaN or infinity. The parts of `what` name
/// it. m: a matrix, vector, map or block whose neighbours along a line lie next to each other. Right under -ffast-math too.
template <class D, class... What>
requires(int(D::InnerStrideAtCompileTime) == 1) void require_finite(const Eigen::DenseBase<D>& m, std::string_view where,
                                                                    const What&... what) {
  detail::require_finite_lines(m.derived().data(), m.outerSize(), m.innerSize(), m.derived().outerStride(), D::IsRowMajor,
                               where, {detail::MessagePart(what)...});
}

}  // namespace lorasb
