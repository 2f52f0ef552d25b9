// Exact weighted sums of a block of entries: one machine word for what comes often, wide integers for the rest.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "lorasb/exact/round_quotient.hpp"
#include "lorasb/core/types.hpp"
#include "lorasb/exact/planes.hpp"

namespace lorasb::detail {

/// Where the bits of some numbers lie, counted from the smallest positive number u = 2^-unit_exponent of S: each x_i is a whole
/// multiple of 2^low u, and |x_i| < 2^top u. All zero: top is 0.
struct BitRange {
  int low = 0, top = 0;
  bool finite = true;
};

/// Without branches, as the compiler may then do many at once.
template <Real S>
BitRange bit_range(std::span<const S> x) {
  using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
  constexpr int precision = std::numeric_limits<S>::digits;
  constexpr Bits infinity = Bits(std::bit_cast<Bits>(std::numeric_limits<S>::infinity()) << 1);
  Bits largest = 0, smallest = ~Bits(0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Bits magnitude = Bits(std::bit_cast<Bits>(x[i]) << 1);  // without the sign; the exponent field is on top
    const Bits less_one = Bits(magnitude - 1);                    // zeros become the largest number and drop out
    largest = std::max(largest, magnitude);
    smallest = std::min(smallest, less_one);
  }
  if (largest == 0) return {};
  const auto place = [](Bits magnitude) { return std::max(int(magnitude >> precision), 1) - 1; };
  return {.low = place(Bits(smallest + 1)), .top = place(largest) + precision, .finite = largest < infinity};
}

/// Words per entry of the pending part below: 53 bits and a range of sizes need two, 24 bits one.
template <Real S>
constexpr std::size_t pending_words = sizeof(S) == 4 ? 1 : 2;

/// Where the pending part of a block lies: word d of entry i at [d][i]. T: std::int64_t or const std::int64_t. The owner keeps
/// words of one d of all blocks in one array; that is what the machine reads ahead best.
template <Real S, class T = std::int64_t>
using Pending = std::array<T*, pending_words<S>>;

/// Σ_k w_k x_k for up to WidePlanes::max_count entries, in units of u. The sum is held in two parts,
///   wide_i + Σ_d pending[d][i] 2^(unit + 32 d),  d < pending_words,
/// and only their total has a meaning: which part an addend goes to is chosen for speed. An update goes to the pending part if
/// its words are sure to hold it: x 2^-unit is then a whole number, so that scaling it, cutting it in two and converting it to
/// integers is exact, and `room` says how much may still be added before a word could overflow. A full pending part is settled:
/// added to the wide one. All other updates (subnormals, very large weights, numbers of very different size in one block) go
/// to the wide part at once, at a tenth of the speed.
template <Real S>
class ExactBlock {
 public:
  using Words = Pending<S>;
  using ConstWords = Pending<S, const std::int64_t>;

  explicit ExactBlock(std::size_t count) : count_(count), wide_(count) {}

  std::size_t count() const { return count_; }

  /// Adds weight x. `range` is x's, and finite. total: the sum of all weights, this one included. Throws std::bad_alloc and
  /// then the sum is what it was.
  void add(Words pending, std::span<const S> x, BitRange range, std::uint32_t weight, std::uint64_t total) {
    if (range.top == 0 || weight == 0) return;
    top_ = std::max(top_, range.top);
    if (is_light(range, weight)) {
      if (!fits(range, weight)) {
        settle(pending, total);
        choose_unit(range, weight);
      }
      room_ -= cost(range, weight);
      add_pending(pending, x, weight);
    } else {
      reserve(range.low, range.top, total);
      add_wide(x, range, weight);
    }
  }

  /// Undoes the last add, which must have been this one. Integers can be taken back exactly, and there is room for it.
  void take_back(Words pending, std::span<const S> x, BitRange range, std::uint32_t weight) noexcept {
    if (range.top == 0 || weight == 0) return;
    if (is_light(range, weight)) {
      room_ += cost(range, weight);
      add_pending(pending, x, -std::int64_t(weight));
    } else {
      add_wide(x, range, -std::int64_t(weight));
    }
  }

  /// Makes room in the wide part for integers that are multiples of 2^low and at most 2^top times their weight, `total` being
  /// the weight of all that is there then. No value changes. Throws std::bad_alloc.
  void reserve(int low, int top, std::uint64_t total) {
    top_ = std::max(top_, top);
    wide_.cover(low, top_ + int(std::bit_width(total)));
  }
  void reserve(const ExactBlock& other, std::uint64_t total) {
    if (!other.wide_.empty()) reserve(32 * other.wide_.first_digit(), other.top_, total);
    if (other.room_ != full_room) reserve(other.unit_, other.top_, total);
  }

  /// Adds another block's sums; room has been reserved. The wide part first, as the other block may be this one.
  void add(const ExactBlock& other, ConstWords other_pending) noexcept {
    if (!other.wide_.empty())
      add_digits(other.wide_.first_digit(), [&](int d, std::size_t i) { return other.wide_.digit(d, i); });
    other.add_pending_to(wide_, other_pending);
  }

  /// Adds Σ_d digit_of(d, i) 2^(32 d), d >= from, to the sum of each entry i; room has been reserved.
  template <class DigitOf>
  void add_digits(int from, DigitOf digit_of) noexcept {
    wide_.add(from, digit_of);
  }

  /// The sums as one wide integer each.
  WidePlanes sums(ConstWords pending, std::uint64_t total) const {
    WidePlanes all = wide_;
    if (room_ != full_room) all.cover(unit_, top_ + int(std::bit_width(total)));
    add_pending_to(all, pending);
    return all;
  }

 private:
  static constexpr int precision = std::numeric_limits<S>::digits;
  static constexpr int lowest_unit = sizeof(S) == 4 ? 1 : 32;  // above all subnormals, and 2^-unit / u is a normal double
  static constexpr std::uint64_t full_room = std::numeric_limits<std::int64_t>::max();

  // The bits of the longest word of a number below 2^top.
  static int word_bits(int top, int unit) { return pending_words<S> == 1 ? top - unit : std::max(top - unit - 32, 32); }
  static bool is_light(BitRange range, std::uint32_t weight) {
    return range.low >= lowest_unit && word_bits(range.top, range.low) + int(std::bit_width(weight)) <= 63;
  }
  bool fits(BitRange range, std::uint32_t weight) const {
    const int bits = word_bits(range.top, unit_);
    return range.low >= unit_ && bits < 63 && weight <= room_ >> bits;
  }
  std::uint64_t cost(BitRange range, std::uint32_t weight) const {
    return std::uint64_t(weight) << word_bits(range.top, unit_);
  }

  void settle(Words pending, std::uint64_t total) {
    if (room_ == full_room) return;
    reserve(unit_, top_, total);
    Pending<S, const std::int64_t> from;
    std::copy(pending.begin(), pending.end(), from.begin());
    add_pending_to(wide_, from);
    for (std::int64_t* words : pending) std::fill_n(words, count_, 0);
    room_ = full_room;
  }

  // Half of the bits that are left over for smaller numbers to come, half for more of them.
  void choose_unit(BitRange range, std::uint32_t weight) {
    const int spare = 63 - int(std::bit_width(weight)) - word_bits(range.top, range.low);
    unit_ = std::max(lowest_unit, range.low - spare / 2);
  }

  void add_pending(Words pending, std::span<const S> x, std::int64_t weight) noexcept {
    const int exponent = unit_exponent<S> - unit_ - 32 * (int(pending_words<S>) - 1);
    const double scale = std::bit_cast<double>(std::uint64_t(1023 + exponent) << 52);  // 2^exponent
    if constexpr (pending_words<S> == 1)
      add_one_word(x.data(), x.size(), scale, weight, pending[0]);
    else
      add_two_words(x.data(), x.size(), scale, weight, pending[0], pending[1]);
  }
  static void add_one_word(const S* __restrict x, std::size_t n, double scale, std::int64_t weight,
                           std::int64_t* __restrict words) {
    for (std::size_t i = 0; i < n; ++i) words[i] += std::int64_t(double(x[i]) * scale) * weight;
  }
  static void add_two_words(const S* __restrict x, std::size_t n, double scale, std::int64_t weight,
                            std::int64_t* __restrict low, std::int64_t* __restrict high) {
    for (std::size_t i = 0; i < n; ++i) {
      const double scaled = double(x[i]) * scale;
      const std::int64_t whole = std::int64_t(scaled);
      high[i] += whole * weight;
      low[i] += std::int64_t((scaled - double(whole)) * 0x1p32) * weight;
    }
  }

  void add_pending_to(WidePlanes& wide, ConstWords pending) const noexcept {
    if (room_ == full_room) return;
    for (std::size_t k = 0; k < pending.size(); ++k) {
      const std::int64_t* const words = pending[k];
      const int position = unit_ + 32 * int(k);
      wide.add(position / 32, [=](int d, std::size_t i) { return shifted_digit(words[i], position, d); });
    }
  }

  // x = ± mantissa 2^place. The product of the mantissa and the weight may need 85 bits: it is added in parts of 27 + 32 at
  // most.
  void add_wide(std::span<const S> x, BitRange range, std::int64_t weight) noexcept {
    using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
    constexpr int part_bits = 27, sign_bit = 8 * int(sizeof(S)) - 1;
    const auto lowest = [](std::uint64_t bits, int n) { return bits & ((std::uint64_t(1) << n) - 1); };
    std::array<std::int64_t, WidePlanes::max_count> product, place;
    for (int shift = 0; shift < precision; shift += part_bits) {
      for (std::size_t i = 0; i < x.size(); ++i) {
        const std::uint64_t bits = std::bit_cast<Bits>(x[i]);
        const std::uint64_t field = lowest(bits >> (precision - 1), sign_bit - (precision - 1)), normal = field != 0;
        const std::uint64_t mantissa = lowest(bits, precision - 1) | normal << (precision - 1);
        const std::int64_t part = std::int64_t(lowest(mantissa >> shift, part_bits));
        product[i] = (bits >> sign_bit != 0 ? -part : part) * weight;
        place[i] = std::int64_t(field - normal) + shift;
      }
      wide_.add((range.low + shift) / 32, [&](int d, std::size_t i) { return shifted_digit(product[i], place[i], d); });
    }
  }

  std::size_t count_;
  int unit_ = 0;                    // place of the pending part's last bit
  std::uint64_t room_ = full_room;  // |pending[d][i]| <= full_room - room; nothing is pending when they are equal
  int top_ = 0;                     // |sum_i| <= 2^top total
  WidePlanes wide_;
};

}  // namespace lorasb::detail
