// Weighted means whose bits depend on the set of addends only, not on their order, grouping, threads or processes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/exact/block.hpp"
#include "lorasb/exact/words.hpp"

namespace lorasb {

/// mean_i = round(Σ_k w_k x_ki / Σ_k w_k), i < size, for finite x_k and whole weights 0 <= w_k < 2^32: the exact quotient,
/// rounded once, to nearest and ties to even. A sum of exactly 0 gives +0; a mean too small for S gives a zero of its sign. A
/// mean never overflows.
///
///   ExactMean<float> mean(3);
///   mean.add(first_update, 20);   // spans of three numbers, and their weights
///   mean.add(second_update, 50);
///   mean.mean(global);            // the same bits as with the second one first
///
/// Sums are integers in units of u, the smallest positive number of S (2^-149 or 2^-1074): |Σ w x| < 2^64 · 2^277 u in float
/// and 2^64 · 2^2098 u in double, 342 and 2,163 bits with the sign, whatever the number of clients. Memory per entry is 8 bytes
/// at first (double: 16), and a few words more, as many as the range of the numbers needs, when the weights grow; see
/// exact_block.hpp. One object is for one thread at a time; threads and processes have one each and merge them.
template <Real S>
class ExactMean {
 public:
  static constexpr std::size_t words_per_entry = detail::sum_words<S>;  // 6 for float, 34 for double

  explicit ExactMean(Index size) : size_(size) {
    require(size >= 0, ErrorId::value, "ExactMean: size is ", size, ", expected at least 0");
    blocks_.reserve((entries() + block_size - 1) / block_size);
    for (std::size_t first = 0; first < entries(); first += block_size)
      blocks_.emplace_back(std::min(block_size, entries() - first));
    for (std::vector<std::int64_t>& words : pending_) words.resize(entries());
  }

  Index size() const { return size_; }
  std::uint64_t total_weight() const { return total_; }

  /// Adds weight · values; a weight of 0 adds nothing. Throws ErrorId::shape for another size, ErrorId::not_finite with the
  /// place of the first bad entry, ErrorId::value if the total weight would reach 2^64, or std::bad_alloc, and then nothing has
  /// changed.
  void add(std::span<const S> values, std::uint32_t weight) {
    require_entries(values.size(), "ExactMean::add", "values");
    const std::uint64_t total = sum_of_weights(total_, weight, "ExactMean::add");
    std::size_t done = 0;
    try {
      for (; done < blocks_.size(); ++done) {
        const std::span<const S> x = part(values, done);
        const detail::BitRange range = detail::bit_range(x);
        if (!range.finite) [[unlikely]]
          refuse(values, done);
        blocks_[done].add(pending(done), x, range, weight, total);
      }
    } catch (...) {
      while (done-- > 0)
        blocks_[done].take_back(pending(done), part(values, done), detail::bit_range(part(values, done)), weight);
      throw;
    }
    total_ = total;
  }

  /// Adds the sums and the weight of another object of the same size, which may be this one. Throws ErrorId::shape,
  /// ErrorId::value or std::bad_alloc as above, and then nothing has changed.
  void merge(const ExactMean& other) {
    require_entries(other.entries(), "ExactMean::merge", "other");
    const std::uint64_t total = sum_of_weights(total_, other.total_, "ExactMean::merge");
    for (std::size_t b = 0; b < blocks_.size(); ++b) blocks_[b].reserve(other.blocks_[b], total);
    for (std::size_t b = 0; b < blocks_.size(); ++b) blocks_[b].add(other.blocks_[b], other.pending(b));
    total_ = total;
  }

  /// Overwrites `out` with the means. Throws ErrorId::shape, or ErrorId::no_examples when the total weight is 0.
  void mean(std::span<S> out) const {
    require_entries(out.size(), "ExactMean::mean", "out");
    require(total_ > 0, ErrorId::no_examples,
            "ExactMean::mean: the total weight is 0, expected an update with a weight above 0");
    std::array<std::uint32_t, 2 * words_per_entry> digits;
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      const detail::WidePlanes sums = blocks_[b].sums(pending(b), total_);
      const std::size_t n = std::size_t(sums.end_digit() - sums.first_digit());
      for (std::size_t i = 0; i < blocks_[b].count(); ++i) {
        for (std::size_t j = 0; j < n; ++j) digits[j] = sums.digit(sums.first_digit() + int(j), i);
        out[b * block_size + i] = detail::round_quotient<S>({digits.data(), n}, sums.first_digit(), total_);
      }
    }
  }

  /// The total weight and the sums as 64-bit words, to be sent or stored: equal sums of equal weight have equal words, however
  /// they came about. words[0] is the total weight; entry i is the two's complement integer Σ w x / u in words_per_entry words
  /// from 1 + i words_per_entry on, the least significant first. `words` has word_count() of them. Throws ErrorId::shape.
  std::size_t word_count() const { return 1 + entries() * words_per_entry; }
  void save(std::span<std::uint64_t> words) const {
    require_words(words.size(), "ExactMean::save");
    words[0] = total_;
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      const detail::WidePlanes sums = blocks_[b].sums(pending(b), total_);
      for (std::size_t i = 0; i < blocks_[b].count(); ++i)
        for (std::size_t j = 0; j < words_per_entry; ++j)
          words[1 + (b * block_size + i) * words_per_entry + j] =
              sums.digit(2 * int(j), i) | std::uint64_t(sums.digit(2 * int(j) + 1, i)) << 32;
    }
  }

  /// Adds what `save` wrote for an object of the same size; into an empty object, that restores it. Throws ErrorId::shape,
  /// ErrorId::value if the words cannot be sums of finite numbers with that weight, or std::bad_alloc, and then nothing has
  /// changed.
  void merge(std::span<const std::uint64_t> words) {
    require_words(words.size(), "ExactMean::merge");
    const std::uint64_t total = sum_of_weights(total_, words[0], "ExactMean::merge");
    std::vector<int> low(blocks_.size());
    for (std::size_t b = 0; b < blocks_.size(); ++b) low[b] = reserve(words, b, total);
    for (std::size_t b = 0; b < blocks_.size(); ++b)
      blocks_[b].add_digits(low[b] / 32, [&](int d, std::size_t i) {
        return std::uint32_t(sum_at(words, b * block_size + i)[std::size_t(d / 2)] >> (32 * (d % 2)));
      });
    total_ = total;
  }

  /// into += from for such words, as a reduction over processes needs it. Throws ErrorId::shape, or ErrorId::value if the total
  /// weight would reach 2^64, and then nothing has changed. The sums are checked where they are merged into an object.
  static void add_words(std::span<const std::uint64_t> from, std::span<std::uint64_t> into) {
    require(from.size() == into.size() && into.size() % words_per_entry == 1, ErrorId::shape, "ExactMean::add_words: from has ",
            from.size(), " words and into ", into.size(), ", expected the same, 1 + a multiple of ", words_per_entry);
    into[0] = sum_of_weights(into[0], from[0], "ExactMean::add_words");
    for (std::size_t k = 1; k < into.size(); k += words_per_entry)
      detail::add_integer(from.subspan(k, words_per_entry), into.subspan(k, words_per_entry));
  }

 private:
  static constexpr std::size_t block_size = detail::WidePlanes::max_count;

  std::size_t entries() const { return std::size_t(size_); }

  void require_entries(std::size_t n, const char* where, const char* what) const {
    require(n == entries(), ErrorId::shape, where, ": ", what, " has ", n, " entries, expected ", size_);
  }
  void require_words(std::size_t n, const char* where) const {
    require(n == word_count(), ErrorId::shape, where, ": words has ", n, " words, expected ", word_count(), ", for ", size_,
            " entries");
  }

  static std::uint64_t sum_of_weights(std::uint64_t a, std::uint64_t b, const char* where) {
    require(b <= std::numeric_limits<std::uint64_t>::max() - a, ErrorId::value, where, ": the total weight is ", a, " + ", b,
            ", expected below 2^64");
    return a + b;
  }

  // The entries of block b.
  template <class T>
  std::span<T> part(std::span<T> values, std::size_t b) const {
    return values.subspan(b * block_size, blocks_[b].count());
  }

  detail::Pending<S> pending(std::size_t b) {
    detail::Pending<S> words;
    for (std::size_t d = 0; d < words.size(); ++d) words[d] = pending_[d].data() + b * block_size;
    return words;
  }
  detail::Pending<S, const std::int64_t> pending(std::size_t b) const {
    detail::Pending<S, const std::int64_t> words;
    for (std::size_t d = 0; d < words.size(); ++d) words[d] = pending_[d].data() + b * block_size;
    return words;
  }

  [[noreturn]] void refuse(std::span<const S> values, std::size_t b) const {
    std::size_t i = b * block_size;
    while (detail::bit_range(values.subspan(i, 1)).finite) ++i;
    detail::fail(ErrorId::not_finite, {"ExactMean::add: values holds ", values[i], " at entry ", i});
  }

  static std::span<const std::uint64_t> sum_at(std::span<const std::uint64_t> words, std::size_t i) {
    return words.subspan(1 + i * words_per_entry, words_per_entry);
  }

  // Checks the words of block b and makes room for them. Returns the place of their lowest bit.
  int reserve(std::span<const std::uint64_t> words, std::size_t b, std::uint64_t total) {
    int low = std::numeric_limits<int>::max(), length = 0;
    for (std::size_t i = b * block_size; i < b * block_size + blocks_[b].count(); ++i) {
      require(detail::is_weighted_sum<S>(sum_at(words, i), words[0]), ErrorId::value, "ExactMean::merge: the words of entry ",
              i, " are no sum of finite numbers with a total weight of ", words[0]);
      const detail::WordRange range = detail::word_range(sum_at(words, i));
      if (range.length == 0) continue;
      low = std::min(low, range.low);
      length = std::max(length, range.length);
    }
    if (length > 0) blocks_[b].reserve(low, std::max(0, length + 1 - int(std::bit_width(words[0]))), total);
    return low;
  }

  Index size_;
  std::uint64_t total_ = 0;
  std::vector<detail::ExactBlock<S>> blocks_;
  std::array<std::vector<std::int64_t>, detail::pending_words<S>> pending_;  // of all blocks, one after another
};

}  // namespace lorasb
