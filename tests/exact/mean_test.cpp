#include "lorasb/exact/mean.hpp"

#include <fstream>
#include <numeric>
#include <sstream>
#include <string>

#include "lorasb/core/parallel.hpp"
#include "support.hpp"

using namespace lorasb;

namespace {

template <Real S>
using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;

// A plain integer of 2,560 bits in two's complement, the slow reference.
class Integer {
 public:
  /// weight x / u, u the smallest positive number of S; x is taken apart by the C library.
  template <Real S>
  static Integer product(S x, std::uint64_t weight) {
    int place = 0;
    auto mantissa =
        static_cast<std::uint64_t>(std::ldexp(std::abs(std::frexp(x, &place)), 53));  // |x| = mantissa 2^(place - 53)
    place -= 53 + std::ilogb(std::numeric_limits<S>::denorm_min());
    for (; place < 0; ++place) mantissa /= 2;  // without loss, as x is a multiple of u
    Integer result;
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        result.add((mantissa >> 32 * i & 0xffffffff) * (weight >> 32 * j & 0xffffffff), place + 32 * (i + j));
    return x < 0 ? -result : result;
  }

  Integer& operator+=(const Integer& other) {
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < digits_.size(); ++i) {
      carry += std::uint64_t(digits_[i]) + other.digits_[i];
      digits_[i] = std::uint32_t(carry);
      carry >>= 32;
    }
    return *this;
  }
  Integer operator-() const {
    Integer result;
    for (std::size_t i = 0; i < digits_.size(); ++i) result.digits_[i] = ~digits_[i];
    result.add(1, 0);
    return result;
  }
  bool negative() const { return digits_.back() >> 31 != 0; }
  bool operator==(const Integer&) const = default;
  std::uint64_t word(std::size_t j) const { return digits_[2 * j] | std::uint64_t(digits_[2 * j + 1]) << 32; }

  friend bool nearer(const Integer& a, const Integer& b) {  // |a| < |b|
    Integer difference = a.negative() ? -a : a;
    difference += b.negative() ? b : -b;
    return difference.negative();
  }

 private:
  void add(std::uint64_t value, int place) {  // += value 2^place
    Integer addend;
    const std::size_t digit = std::size_t(place / 32);
    const int left = place % 32;
    addend.digits_[digit] = std::uint32_t(value << left);
    addend.digits_[digit + 1] = std::uint32_t(value >> (32 - left));
    addend.digits_[digit + 2] = std::uint32_t(left == 0 ? 0 : value >> (64 - left));
    *this += addend;
  }

  std::array<std::uint32_t, 80> digits_{};
};

template <Real S>
struct Update {
  std::vector<S> values;
  std::uint32_t weight;
};

template <Real S>
using Updates = std::vector<Update<S>>;

template <Real S>
ExactMean<S> sum_of(const Updates<S>& updates, Index size) {
  ExactMean<S> mean(size);
  for (const Update<S>& update : updates) mean.add(update.values, update.weight);
  return mean;
}

template <Real S>
std::vector<std::uint64_t> words_of(const ExactMean<S>& mean) {
  std::vector<std::uint64_t> words(mean.word_count());
  mean.save(words);
  return words;
}

template <Real S>
std::vector<Bits<S>> mean_of(const ExactMean<S>& mean) {
  std::vector<S> out(std::size_t(mean.size()));
  mean.mean(out);
  std::vector<Bits<S>> bits;
  for (const S x : out) bits.push_back(std::bit_cast<Bits<S>>(x));
  return bits;
}

// r is the number nearest to sum / weight: no neighbour is nearer, and none is as near unless r is the even one.
template <Real S>
bool is_rounded(S r, const Integer& sum, std::uint64_t weight) {
  if (!std::isfinite(r)) return false;
  if (r == 0 && std::signbit(r) != sum.negative()) return false;
  Integer error = Integer::product(r, weight);
  error += -sum;
  const bool even = std::bit_cast<Bits<S>>(r) % 2 == 0;
  for (const S direction : {std::numeric_limits<S>::lowest(), std::numeric_limits<S>::max()}) {
    Integer other = Integer::product(std::nextafter(r, direction), weight);
    other += -sum;
    if (r != direction && (nearer(other, error) || (!even && !nearer(error, other)))) return false;
  }
  return true;
}

// The sums of all updates are those of the plain integers, and the means are these rounded.
template <Real S>
void check_exact(const ExactMean<S>& mean, const Updates<S>& updates) {
  const std::vector<std::uint64_t> words = words_of(mean);
  std::vector<S> means(std::size_t(mean.size()));
  mean.mean(means);
  std::uint64_t weight = 0;
  for (const Update<S>& update : updates) weight += update.weight;
  REQUIRE(words[0] == weight);
  std::size_t wrong_sums = 0, wrong_means = 0;
  for (std::size_t i = 0; i < means.size(); ++i) {
    Integer sum;
    for (const Update<S>& update : updates) sum += Integer::product(update.values[i], update.weight);
    constexpr std::size_t n = ExactMean<S>::words_per_entry;
    for (std::size_t j = 0; j < n; ++j) wrong_sums += words[1 + i * n + j] != sum.word(j);
    wrong_means += !is_rounded(means[i], sum, weight);
  }
  CHECK(wrong_sums == 0);
  CHECK(wrong_means == 0);
}

// Where the exponents of test numbers lie, as fractions of all finite ones, and how large the weights are.
struct Kind {
  double low, high;
  int weight_bits;
};
constexpr Kind usual{0.46, 0.5, 10}, heavy{0.46, 0.5, 32}, all_sizes{0, 1, 32}, tiny{0, 0.02, 12}, wide{0.3, 0.6, 4};

template <Real S>
Update<S> random_update(Random& random, Index size, Kind kind) {
  constexpr int fraction_bits = std::numeric_limits<S>::digits - 1;
  constexpr int fields = std::numeric_limits<S>::max_exponent * 2 - 1;  // 0 ... fields - 1 are finite
  Update<S> update{std::vector<S>(std::size_t(size)), std::uint32_t(random.bits() >> (64 - kind.weight_bits))};
  const auto low = std::uint64_t(kind.low * fields), high = std::uint64_t(kind.high * fields);
  for (S& x : update.values) {
    const std::uint64_t bits = random.bits();
    const std::uint64_t fraction =
        bits & ((std::uint64_t(1) << fraction_bits) - 1) & (bits >> 63 != 0 ? ~std::uint64_t(0) : ~0xfffu);
    const std::uint64_t field = low + random.below(high - low);
    x = std::bit_cast<S>(Bits<S>(fraction | field << fraction_bits | random.below(2) << (8 * sizeof(S) - 1)));
    if (random.below(16) == 0) x = 0;
  }
  return update;
}

// Updates one after another of several kinds, so that each part of an object is used and left again.
template <Real S>
Updates<S> random_updates(std::uint64_t seed, Index size, std::initializer_list<Kind> kinds, int of_each) {
  Random random(seed);
  Updates<S> updates;
  for (const Kind kind : kinds)
    for (int k = 0; k < of_each; ++k) updates.push_back(random_update<S>(random, size, kind));
  return updates;
}

template <Real S>
void shuffle(Updates<S>& updates, Random& random) {
  for (std::size_t k = updates.size(); k > 1; --k) std::swap(updates[k - 1], updates[random.below(k)]);
}

}  // namespace

TEST_CASE("means are those of Python's fractions, to the last bit") {
  std::ifstream golden(LORASB_TEST_DIR "/golden/exact_means.txt");
  int cases = 0, wrong = 0;
  const auto run = [&](auto zero, std::istream& line) {
    using S = decltype(zero);
    Bits<S> expected{}, x{};
    std::uint32_t weight = 0;
    line >> expected;
    ExactMean<S> mean(1);
    while (line >> weight >> x) {
      const S value = std::bit_cast<S>(x);
      mean.add({&value, 1}, weight);
    }
    ++cases;
    wrong += mean_of(mean)[0] != expected;
  };
  for (std::string text; std::getline(golden, text);) {
    std::istringstream line(text.substr(1));
    line >> std::hex;
    if (text[0] == 'f')
      run(0.0f, line);
    else
      run(0.0, line);
  }
  CHECK(cases == 760);
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("sums are those of plain integers, and means are these rounded once", "", float, double) {
  using S = TestType;
  for (const Kind kind : {usual, heavy, all_sizes, tiny, wide}) {
    for (const Index size : {1, 7, 511, 512, 513, 1030}) {
      CAPTURE(kind.low, kind.high, kind.weight_bits, size);
      const Updates<S> updates = random_updates<S>(std::uint64_t(size), size, {kind}, 6);
      check_exact(sum_of(updates, size), updates);
    }
  }
}

TEMPLATE_TEST_CASE("sums stay exact while numbers change their size", "", float, double) {
  using S = TestType;
  for (const auto& kinds : {std::initializer_list<Kind>{usual, tiny, usual},
                            {tiny, wide, usual, heavy},
                            {all_sizes, usual},
                            {usual, heavy, usual, all_sizes}}) {
    const Updates<S> updates = random_updates<S>(3, 20, kinds, 12);
    check_exact(sum_of(updates, 20), updates);
  }
}

TEMPLATE_TEST_CASE("many updates fill the pending words, and nothing is lost", "", float, double) {
  using S = TestType;
  for (const int weight_bits : {10, 20, 24, 31, 32}) {
    CAPTURE(weight_bits);
    Random random(5);
    Updates<S> updates;
    for (int k = 0; k < 3000; ++k) {  // all of one sign and the largest of their size and weight: they fill words fastest
      const S x = std::nextafter(S(k % 2 == 0 ? 0.125 : 0.0625), S(0));
      updates.push_back({{x, -x, S(0.25)}, std::uint32_t((std::uint64_t(1) << weight_bits) - 1)});
    }
    check_exact(sum_of(updates, 3), updates);
  }
}

TEMPLATE_TEST_CASE("any order, any tree and any number of threads give the same bits", "", float, double) {
  using S = TestType;
  const Index size = 1100;
  Updates<S> updates = random_updates<S>(7, size, {usual, usual, heavy, all_sizes, tiny, wide}, 6);
  const std::vector<std::uint64_t> expected = words_of(sum_of(updates, size));
  const std::vector<Bits<S>> expected_mean = mean_of(sum_of(updates, size));
  Random random(8);
  for (int trial = 0; trial < 10; ++trial) {
    shuffle(updates, random);
    CHECK(words_of(sum_of(updates, size)) == expected);

    std::vector<ExactMean<S>> tree;  // merged in pairs drawn by chance
    for (std::size_t k = 0; k < updates.size();) {
      const std::size_t n = std::min<std::size_t>(updates.size() - k, random.below(5));
      tree.push_back(sum_of<S>({updates.begin() + std::ptrdiff_t(k), updates.begin() + std::ptrdiff_t(k + n)}, size));
      k += n;
    }
    while (tree.size() > 1) {
      std::swap(tree[random.below(tree.size())], tree.back());
      const ExactMean<S> last = std::move(tree.back());
      tree.pop_back();
      tree[random.below(tree.size())].merge(last);
    }
    CHECK(words_of(tree[0]) == expected);
    CHECK(mean_of(tree[0]) == expected_mean);
  }
  for (const int threads : {1, 2, 8}) {
    std::vector<ExactMean<S>> parts(5, ExactMean<S>(size));
    parallel_for(5, threads, [&](Index p) {
      for (std::size_t k = std::size_t(p); k < updates.size(); k += 5)
        parts[std::size_t(p)].add(updates[k].values, updates[k].weight);
    });
    for (std::size_t p = 1; p < parts.size(); ++p) parts[0].merge(parts[p]);
    CHECK(words_of(parts[0]) == expected);
  }
}

TEMPLATE_TEST_CASE("words restore, merge and add like the objects that they came from", "", float, double) {
  using S = TestType;
  const Index size = 600;
  const Updates<S> first = random_updates<S>(9, size, {usual, wide}, 4), second = random_updates<S>(10, size, {heavy, tiny}, 4);
  const Updates<S> more = random_updates<S>(11, size, {usual, all_sizes}, 3);
  const ExactMean<S> a = sum_of(first, size), b = sum_of(second, size);
  ExactMean<S> both = a;
  both.merge(b);

  ExactMean<S> restored(size);
  restored.merge(words_of(a));
  CHECK(words_of(restored) == words_of(a));
  CHECK(mean_of(restored) == mean_of(a));
  restored.merge(words_of(b));
  CHECK(words_of(restored) == words_of(both));

  std::vector<std::uint64_t> words = words_of(b);
  ExactMean<S>::add_words(words_of(a), words);
  CHECK(words == words_of(both));

  for (const Update<S>& update : more) {  // goes on as if nothing had happened
    both.add(update.values, update.weight);
    restored.add(update.values, update.weight);
  }
  CHECK(words_of(restored) == words_of(both));
  CHECK(mean_of(restored) == mean_of(both));
}

TEMPLATE_TEST_CASE("an object may be merged with itself", "", float, double) {
  using S = TestType;
  const Updates<S> updates = random_updates<S>(12, 530, {usual, all_sizes, usual}, 2);
  ExactMean<S> twice = sum_of(updates, 530), expected = twice;
  expected.merge(ExactMean<S>(twice));
  twice.merge(twice);
  CHECK(words_of(twice) == words_of(expected));
  CHECK(mean_of(twice) == mean_of(sum_of(updates, 530)));
}

TEMPLATE_TEST_CASE("large numbers cancel and leave small ones exactly", "", float, double) {
  using S = TestType;
  const S large = std::numeric_limits<S>::max(), small = std::numeric_limits<S>::denorm_min();
  ExactMean<S> mean(4);
  mean.add(std::vector<S>{large, large, -large, 0}, 0xffffffff);
  mean.add(std::vector<S>{small, -3 * small, 0, S(-0.0)}, 2);
  mean.add(std::vector<S>{-large, -large, large, S(-0.0)}, 0xffffffff);
  CHECK(words_of(mean)[1] == 2);
  CHECK(words_of(mean)[1 + ExactMean<S>::words_per_entry] == std::uint64_t(-6));
  std::vector<S> out(4);
  mean.mean(out);
  CHECK(out == std::vector<S>(4));  // 2 u and -6 u over 2^33 round to zero
  CHECK(std::signbit(out[1]));      // of the sign of the sum
  CHECK_FALSE(std::signbit(out[0]));
  CHECK_FALSE(std::signbit(out[2]));  // and a sum of exactly zero is +0, as is one of negative zeros
  CHECK_FALSE(std::signbit(out[3]));
}

TEMPLATE_TEST_CASE("a mean of the largest numbers with the largest weights does not overflow", "", float, double) {
  using S = TestType;
  const S large = std::numeric_limits<S>::max();
  ExactMean<S> mean(2);
  mean.add(std::vector<S>{large, -large}, 0xffffffff);
  for (int k = 0; k < 31; ++k) mean.merge(mean);  // 2^31 clients
  CHECK(mean.total_weight() == std::uint64_t(0xffffffff) << 31);
  mean.merge(mean);
  CHECK(mean.total_weight() == std::uint64_t(0xffffffff) << 32);  // 2^32 clients, nearly 2^64
  std::vector<S> out(2);
  mean.mean(out);
  CHECK(out == std::vector<S>{large, -large});
  ExactMean<S> restored(2);
  restored.merge(words_of(mean));
  CHECK(words_of(restored) == words_of(mean));
  const std::vector<std::uint64_t> before = words_of(mean);
  CHECK_ERROR(mean.merge(mean), ErrorId::value, "expected below 2^64");
  CHECK(words_of(mean) == before);
}

TEMPLATE_TEST_CASE("weight 0 adds nothing, and an update of zeros counts", "", float, double) {
  using S = TestType;
  ExactMean<S> mean(2);
  mean.add(std::vector<S>{3, std::numeric_limits<S>::max()}, 0);
  CHECK(mean.total_weight() == 0);
  CHECK(words_of(mean) == words_of(ExactMean<S>(2)));
  std::vector<S> out(2);
  CHECK_ERROR(mean.mean(out), ErrorId::no_examples, "total weight is 0");
  mean.add(std::vector<S>{6, -1}, 1);
  mean.add(std::vector<S>{0, 0}, 2);
  mean.mean(out);
  CHECK(out == std::vector<S>{2, S(-1) / 3});
}

TEMPLATE_TEST_CASE("FAULTS 11: an update with NaN or infinity is refused whole", "", float, double) {
  using S = TestType;
  const Index size = 1300;
  for (const Kind kind : {usual, heavy, all_sizes}) {
    ExactMean<S> mean = sum_of(random_updates<S>(13, size, {usual, kind}, 3), size), untouched = mean;
    const std::vector<std::uint64_t> before = words_of(mean);
    for (const std::size_t place : {0u, 511u, 512u, 1299u}) {
      for (const S bad :
           {std::numeric_limits<S>::quiet_NaN(), std::numeric_limits<S>::infinity(), -std::numeric_limits<S>::infinity()}) {
        Update<S> update = random_updates<S>(14, size, {kind}, 1)[0];
        update.values[place] = bad;
        CHECK_ERROR(mean.add(update.values, 1000), ErrorId::not_finite, "at entry " + std::to_string(place));
        CHECK_ERROR(mean.add(update.values, 0), ErrorId::not_finite, "at entry " + std::to_string(place));
        CHECK(words_of(mean) == before);
      }
    }
    const Updates<S> more = random_updates<S>(15, size, {usual, heavy}, 3);
    for (const Update<S>& update : more) {
      mean.add(update.values, update.weight);
      untouched.add(update.values, update.weight);
    }
    CHECK(words_of(mean) == words_of(untouched));
  }
}

TEMPLATE_TEST_CASE("wrong sizes, weights and words are refused and nothing changes", "", float, double) {
  using S = TestType;
  ExactMean<S> mean(2);
  mean.add(std::vector<S>{1, 2}, 3);
  const std::vector<std::uint64_t> before = words_of(mean);
  std::vector<S> three(3);
  CHECK_ERROR(ExactMean<S>(-1), ErrorId::value, "size is -1");
  CHECK_ERROR(mean.add(three, 1), ErrorId::shape, "values has 3 entries, expected 2");
  CHECK_ERROR(mean.mean(three), ErrorId::shape, "out has 3 entries, expected 2");
  CHECK_ERROR(mean.merge(ExactMean<S>(3)), ErrorId::shape, "other has 3 entries, expected 2");
  std::vector<std::uint64_t> words(before.size() - 1);
  CHECK_ERROR(mean.save(words), ErrorId::shape, "words");
  CHECK_ERROR(mean.merge(words), ErrorId::shape, "words");
  words = before;
  CHECK_ERROR(ExactMean<S>::add_words(std::span(before).first(before.size() - 1), words), ErrorId::shape, "words");
  CHECK(words == before);

  words[0] = ~std::uint64_t(0) - 2;
  CHECK_ERROR(mean.merge(words), ErrorId::value, "expected below 2^64");
  CHECK_ERROR(ExactMean<S>::add_words(before, words), ErrorId::value, "expected below 2^64");
  words[0] = 0;  // a sum without weight
  CHECK_ERROR(mean.merge(words), ErrorId::value, "entry 0");
  CHECK(words_of(mean) == before);

  // sums of the largest numbers are accepted, and one unit more is not
  const S large = std::numeric_limits<S>::max();
  ExactMean<S> largest(2);
  largest.add(std::vector<S>{large, -large}, 0xfffffff1);
  constexpr std::size_t n = ExactMean<S>::words_per_entry;
  words = words_of(largest);
  ExactMean<S>(2).merge(words);
  words[1] += 1;
  CHECK_ERROR(mean.merge(words), ErrorId::value, "entry 0");
  words[1] -= 1;
  for (std::size_t j = 1 + n; words[j]-- == 0;) ++j;  // one less, with the borrow
  CHECK_ERROR(mean.merge(words), ErrorId::value, "entry 1");
  for (const std::uint64_t top : {std::uint64_t(1) << 63, ~std::uint64_t(0) >> 1}) {
    words = words_of(largest);
    words[n] = top;
    CHECK_ERROR(mean.merge(words), ErrorId::value, "entry 0");
  }
  CHECK(words_of(mean) == before);
}

TEMPLATE_TEST_CASE("an object of no entries counts weights only", "", float, double) {
  using S = TestType;
  ExactMean<S> mean(0);
  mean.add({}, 5);
  mean.mean({});
  CHECK(words_of(mean) == std::vector<std::uint64_t>{5});
}

TEST_CASE("words have the bits that always hold") {
  CHECK(ExactMean<float>::words_per_entry == 6);    // 342 bits
  CHECK(ExactMean<double>::words_per_entry == 34);  // 2,163 bits
}

TEST_CASE("a thousand clients in a hundred orders have one mean, which no sum in double has") {
  Random random(16);
  Updates<float> updates;
  for (int k = 0; k < 1000; ++k) {
    Update<float> update{std::vector<float>(16), std::uint32_t(1 + random.below(500))};
    for (float& x : update.values) x = float(random.normal());
    updates.push_back(update);
  }
  const std::vector<std::uint32_t> expected = mean_of(sum_of(updates, 16));
  check_exact(sum_of(updates, 16), updates);
  for (int trial = 0; trial < 100; ++trial) {
    shuffle(updates, random);
    CHECK(mean_of(sum_of(updates, 16)) == expected);
  }
}
