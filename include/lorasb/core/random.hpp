// Counter-based random numbers: the same seed gives the same bits with every compiler and number of threads (-ffast-math
// apart).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "lorasb/core/check.hpp"

namespace lorasb {
namespace detail {

/// Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011).
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {std::uint32_t(p1 >> 32) ^ counter[1] ^ key[0], std::uint32_t(p1), std::uint32_t(p0 >> 32) ^ counter[3] ^ key[1],
               std::uint32_t(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Horner's rule in fused steps, so that no compiler can round it in another way. Coefficients from the constant up.
template <std::size_t N>
double polynomial(const std::array<double, N>& c, double x) {
  double sum = c[N - 1];
  for (std::size_t i = N - 1; i-- > 0;) sum = std::fma(sum, x, c[i]);
  return sum;
}

/// Natural logarithm for x in (0, 1], the same bits everywhere (std::log differs between C libraries and processors).
/// x = m 2^e with m in [√½, √2), log x = e log 2 + 2 artanh(f), f = (m - 1) / (m + 1), |f| < 0.172: thirteen odd terms of the
/// series leave a relative error below 1e-16.
inline double portable_log(double x) {
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < 0.70710678118654752) {
    m *= 2;
    --e;
  }
  const double f = (m - 1) / (m + 1);
  constexpr std::array<double, 13> c{1,        1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11, 1.0 / 13,
                                     1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23, 1.0 / 25};
  return std::fma(double(e), 0.69314718055994531, 2 * f * polynomial(c, f * f));
}

/// Inverse of the standard normal distribution, relative error about 1e-16: algorithm AS 241, PPND16
/// (Wichura, Applied Statistics 37 (1988) 477-484). u in (0, 1).
inline double normal_quantile(double u) {
  const double q = u - 0.5;
  if (std::abs(q) <= 0.425) {
    constexpr std::array<double, 8> a{3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                      1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                      3.3430575583588128105e+4, 2.5090809287301226727e+3};
    constexpr std::array<double, 8> b{1.0,
                                      4.2313330701600911252e+1,
                                      6.8718700749205790830e+2,
                                      5.3941960214247511077e+3,
                                      2.1213794301586595867e+4,
                                      3.9307895800092710610e+4,
                                      2.8729085735721942674e+4,
                                      5.2264952788528545610e+3};
    const double r = std::fma(-q, q, 0.180625);
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double r = std::sqrt(-portable_log(q < 0 ? u : 1 - u));
  double x = 0;
  if (r <= 5) {
    constexpr std::array<double, 8> c{1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                      3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                      2.27238449892691845833e-2, 7.74545014278341407640e-4};
    constexpr std::array<double, 8> d{1.0,
                                      2.05319162663775882187e0,
                                      1.67638483018380384940e0,
                                      6.89767334985100004550e-1,
                                      1.48103976427480074590e-1,
                                      1.51986665636164571966e-2,
                                      5.47593808499534494600e-4,
                                      1.05075007164441684324e-9};
    x = polynomial(c, r - 1.6) / polynomial(d, r - 1.6);
  } else {
    constexpr std::array<double, 8> e{6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                      2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                      2.71155556874348757815e-5, 2.01033439929228813265e-7};
    constexpr std::array<double, 8> f{1.0,
                                      5.99832206555887937690e-1,
                                      1.36929880922735805310e-1,
                                      1.48753612908506148525e-2,
                                      7.86869131145613259100e-4,
                                      1.84631831751005468180e-5,
                                      1.42151175831644588870e-7,
                                      2.04426310338993978564e-15};
    x = polynomial(e, r - 5) / polynomial(f, r - 5);
  }
  return q < 0 ? -x : x;
}

}  // namespace detail

/// A stream of random numbers named by (seed, stream): streams of one seed are independent, and `position` is all the state
/// there is, so a checkpoint stores one number and a thread can start anywhere.
///
///     Random random(42, 7);
///     double u = random.uniform();   // [0, 1)
///     double z = random.normal();
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0, std::uint64_t position = 0)
      : seed_(seed), stream_(stream), position_(position) {}

  /// 64 random bits.
  std::uint64_t bits() {
    const std::uint64_t block = position_ / 2;
    if (!filled_ || block != block_) {
      words_ = detail::philox(
          {std::uint32_t(block), std::uint32_t(block >> 32), std::uint32_t(stream_), std::uint32_t(stream_ >> 32)},
          {std::uint32_t(seed_), std::uint32_t(seed_ >> 32)});
      block_ = block;
      filled_ = true;
    }
    const std::size_t half = 2 * (position_++ % 2);
    return std::uint64_t{words_[half]} | std::uint64_t{words_[half + 1]} << 32;
  }
  /// Uniform on [0, 1), 53 bits.
  double uniform() { return double(bits() >> 11) * 0x1p-53; }
  /// Standard normal.
  double normal() { return detail::normal_quantile((double(bits() >> 12) + 0.5) * 0x1p-52); }
  /// Uniform on 0, 1, ..., bound - 1, without bias, by rejection. Throws ErrorId::value for bound 0.
  std::uint64_t below(std::uint64_t bound) {
    require(bound > 0, ErrorId::value, "Random::below: bound is 0, expected at least 1");
    const std::uint64_t threshold = (0 - bound) % bound;  // 2^64 mod bound
    for (;;) {
      const std::uint64_t x = bits();
      if (x >= threshold) return x % bound;
    }
  }

  std::uint64_t position() const { return position_; }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_;
  std::uint64_t block_ = 0;
  std::array<std::uint32_t, 4> words_{};
  bool filled_ = false;
};

/// A seed for the `index`-th of several parts of one seeded whole; no two (seed, index) share it but by chance.
inline std::uint64_t derive_seed(std::uint64_t seed, std::uint64_t index) { return Random(seed, ~index).bits(); }

}  // namespace lorasb
