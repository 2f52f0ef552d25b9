// Many wide integers side by side, each as long as the block of them needs.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lorasb::detail {

/// v_i = Σ_d digit(d, i) 2^(32 d) for i < count, d = first, ..., end - 1: two's complement, the last digit holds the sign. All
/// digits of one place d lie side by side, a plane, so that an addition treats many integers at once. Addition is modulo
/// 2^(32 end), and an integer has one such form only: the same integers give the same digits in whatever order they were added.
class WidePlanes {
 public:
  static constexpr std::size_t max_count = 512;

  explicit WidePlanes(std::size_t count) : count_(count) {}

  bool empty() const { return digits_.empty(); }
  int first_digit() const { return first_; }
  int end_digit() const { return end_; }

  std::uint32_t digit(int d, std::size_t i) const {
    if (empty() || d < first_) return 0;
    return d < end_ ? plane(d)[i] : sign(plane(end_ - 1)[i]);
  }

  /// Makes room for bits low_bit, ..., sign_bit of every integer; no value changes. Throws std::bad_alloc and then nothing
  /// changed.
  void cover(int low_bit, int sign_bit) {
    int first = low_bit / 32, end = sign_bit / 32 + 1;
    if (!empty()) {
      first = std::min(first, first_);
      end = std::max(end, end_);
      if (first == first_ && end == end_) return;
    }
    std::vector<std::uint32_t> grown(std::size_t(end - first) * count_);
    if (!empty()) {
      auto out = std::copy(digits_.begin(), digits_.end(), grown.begin() + (first_ - first) * std::ptrdiff_t(count_));
      for (int d = end_; d < end; ++d)
        for (std::size_t i = 0; i < count_; ++i) *out++ = sign(plane(end_ - 1)[i]);
    }
    digits_.swap(grown);
    first_ = first;
    end_ = end;
  }

  /// v_i += Σ_d digit_of(d, i) 2^(32 d), d = from, ..., end - 1. The caller has covered the addends' bits and those of the
  /// sums.
  template <class DigitOf>
  void add(int from, DigitOf digit_of) noexcept {
    std::array<std::uint32_t, max_count> carry{};
    for (int d = from; d < end_; ++d) {
      std::uint32_t* const digits = plane(d);
      for (std::size_t i = 0; i < count_; ++i) {
        const std::uint64_t sum = std::uint64_t(digits[i]) + digit_of(d, i) + carry[i];
        digits[i] = std::uint32_t(sum);
        carry[i] = std::uint32_t(sum >> 32);
      }
    }
  }

 private:
  static std::uint32_t sign(std::uint32_t top_digit) { return std::uint32_t(0) - (top_digit >> 31); }
  std::uint32_t* plane(int d) { return digits_.data() + std::size_t(d - first_) * count_; }
  const std::uint32_t* plane(int d) const { return digits_.data() + std::size_t(d - first_) * count_; }

  std::size_t count_;
  int first_ = 0, end_ = 0;
  std::vector<std::uint32_t> digits_;  // (end - first) planes of `count` digits
};

/// Digit d of value 2^position in two's complement.
inline std::uint32_t shifted_digit(std::int64_t value, std::int64_t position, int d) {
  const std::int64_t left = position - 32 * std::int64_t(d);
  const std::uint64_t up = std::uint64_t(value) << std::clamp<std::int64_t>(left, 0, 63);
  const std::int64_t down = value >> std::clamp<std::int64_t>(-left, 0, 63);
  return std::uint32_t(left > 0 ? up : std::uint64_t(down));
}

}  // namespace lorasb::detail
