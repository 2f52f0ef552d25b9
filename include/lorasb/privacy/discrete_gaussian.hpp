// Gaussian noise on the integers, drawn exactly: which numbers can be reached tells nothing about the data.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "lorasb/privacy/clip.hpp"
#include "lorasb/privacy/noise_source.hpp"

namespace lorasb::privacy {

/// Draws Z with P(Z = z) ∝ exp(-z² / 2 σ²), σ² = numerator / denominator, by integer arithmetic alone (Canonne, Kamath, Steinke,
/// arXiv 2004.00010, algorithms 1 to 3). Its variance is at most σ².
class DiscreteGaussian {
 public:
  /// Throws ErrorId::value unless numerator is 1 to 2^40 and denominator 1 to 2^10. `source` must outlive it.
  DiscreteGaussian(std::uint64_t numerator, std::uint64_t denominator, NoiseSource& source LORASB_LIFETIMEBOUND)
      : a_(numerator), b_(denominator), source_(&source) {
    require(numerator >= 1 && numerator <= std::uint64_t{1} << 40, ErrorId::value, "DiscreteGaussian: numerator is ", numerator,
            ", expected 1 to 2^40");
    require(denominator >= 1 && denominator <= 1024, ErrorId::value, "DiscreteGaussian: denominator is ", denominator,
            ", expected 1 to 1024");
    while (t_ * t_ * b_ <= a_) t_ *= 2;  // the least t with t² > σ²
    for (std::uint64_t low = t_ / 2; t_ - low > 1;) {
      const std::uint64_t middle = low + (t_ - low) / 2;
      (middle * middle * b_ <= a_ ? low : t_) = middle;
    }
  }

  std::int64_t operator()() {
    for (;;) {
      const std::int64_t y = laplace();
      const Wide scaled = Wide(y < 0 ? -y : y) * b_ * t_, gap = scaled > a_ ? scaled - a_ : a_ - scaled;
      if (bernoulli_exp(gap * gap, Wide(2) * a_ * b_ * t_ * t_)) return y;
    }
  }

 private:
  __extension__ using Wide = unsigned __int128;

  std::uint64_t word() {
    if (next_ == words_.size()) {
      source_->fill(words_);
      next_ = 0;
    }
    return words_[next_++];
  }
  /// Uniform on 0, ..., bound - 1, by rejection.
  Wide below(Wide bound) {
    Wide mask = bound - 1;
    for (int shift = 1; shift < 128; shift *= 2) mask |= mask >> shift;
    for (;;) {
      Wide x = word();
      if (mask >> 64 != 0) x |= Wide(word()) << 64;
      x &= mask;
      if (x < bound) return x;
    }
  }
  /// True with probability exp(-n / d).
  bool bernoulli_exp(Wide n, Wide d) {
    for (; n > d; n -= d)
      if (!bernoulli_exp_below_one(d, d)) return false;
    return bernoulli_exp_below_one(n, d);
  }
  /// The same for n <= d: by the alternating series of exp.
  bool bernoulli_exp_below_one(Wide n, Wide d) {
    std::uint64_t k = 1;
    while (below(d * k) < n) ++k;
    return k % 2 == 1;
  }
  /// P(Y = y) ∝ exp(-|y| / t).
  std::int64_t laplace() {
    for (;;) {
      const auto u = static_cast<std::uint64_t>(below(t_));
      if (!bernoulli_exp_below_one(u, t_)) continue;
      std::uint64_t v = 0;
      while (bernoulli_exp_below_one(1, 1)) ++v;
      const auto x = static_cast<std::int64_t>(u + t_ * v);
      const bool negative = word() % 2 == 1;
      if (negative && x == 0) continue;
      return negative ? -x : x;
    }
  }

  std::uint64_t a_, b_, t_ = 1;
  NoiseSource* source_;
  std::array<std::uint64_t, 64> words_{};
  std::size_t next_ = words_.size();
};

/// sum += Σ_i round(min(1, max_norm / ‖g_i‖) g_i / grid) over the columns g_i of G (size x examples): sums of integers, exact in any
/// order. An example moves the sum by at most grid_sensitivity(). A column whose norm is not finite adds nothing. Throws
/// ErrorId::shape, and ErrorId::value unless max_norm and grid are above 0 and their quotient is below 2^40.
template <Real S>
void add_clipped_columns_to_grid(ConstMatrixView<S> G, double max_norm, double grid, std::span<std::int64_t> sum) {
  require(max_norm > 0 && grid > 0 && max_norm / grid < 0x1p40, ErrorId::value, "add_clipped_columns_to_grid: max_norm is ",
          max_norm, " and grid is ", grid, ", expected numbers above 0 with a quotient below 2^40");
  require_rows(G, std::ssize(sum), "add_clipped_columns_to_grid", "G", "numbers in sum");
  for (Index i = 0; i < G.cols(); ++i) {
    const S* const g = G.data() + i * G.outerStride();
    const double norm = lorasb::norm<S>(std::span<const S>(g, sum.size()));
    if (!is_finite(norm)) continue;
    const double share = norm > max_norm ? max_norm / norm : 1;
    for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += std::llround(double(g[k]) * share / grid);
  }
}

/// The most that an example of d numbers moves such a sum, in the units of max_norm: C + γ √d / 2, as each number is rounded by at
/// most half of the grid γ.
inline double grid_sensitivity(double max_norm, double grid, Index d) { return max_norm + 0.5 * grid * std::sqrt(double(d)); }

/// A grid, and the variance of the noise on its integers, with which an example of d numbers is hidden as well as by continuous
/// noise of `noise` (σ) over the sensitivity: γ is the power of two next to σ C 2^-18, so that the rounding adds little to the
/// sensitivity, and products with it are exact.
///
/// Every ε and δ of that continuous noise holds for the integers. Take continuous noise of variance V - s² around an integer v, and
/// round the result x at random: to z with probability proportional to e^{-(z - x)² / 2 s²}. Of that z each integer has the
/// probability that discrete noise of variance V around v gives it, times a number between e^{-η} and e^η,
///
///     η = log((1 + κ) / (1 - κ)),   κ = 2 Σ_{j ≥ 1} e^{-2 π² s² j²},
///
/// and rounding tells nothing more (Peikert, CRYPTO 2010, theorem 3.1; docs/derivations.md has the proof). With s² = 9, η is below
/// 1e-76 for a number: over T steps of d numbers that moves ε by 2 η d T and δ by a share of η d T, less than 1e-60.
struct GridNoise {
  static constexpr std::uint64_t smoothing = 9;  // s²

  double grid = 0;             // γ
  double sensitivity = 0;      // C + γ √d / 2
  std::uint64_t variance = 0;  // V, at least (σ sensitivity / γ)² + s², a whole number

  /// Throws ErrorId::value where the noise is too large or too small for it.
  static GridNoise of(double noise, double max_norm, Index d) {
    GridNoise found{.grid = std::exp2(std::round(std::log2(noise * max_norm)) - 18), .sensitivity = 0, .variance = 0};
    require(found.grid > 0x1p-1000 && found.grid < 0x1p1000 && max_norm / found.grid < 0x1p40, ErrorId::value,
            "GridNoise: noise is ", noise, " and max_norm is ", max_norm, ": no grid serves both");
    found.sensitivity = grid_sensitivity(max_norm, found.grid, d) * (1 + 1e-12);
    const double deviation = noise * found.sensitivity / found.grid;
    require(deviation < 0x1p20, ErrorId::value, "GridNoise: ", d, " numbers are too many for a grid");
    found.variance = static_cast<std::uint64_t>(std::ceil(deviation * deviation)) + smoothing;
    return found;
  }
};

/// sum += discrete Gaussian noise in every number. Draws of all numbers are independent.
inline void add_discrete_gaussian_noise(std::span<std::int64_t> sum, std::uint64_t numerator, std::uint64_t denominator,
                                        NoiseSource& source) {
  DiscreteGaussian gaussian(numerator, denominator, source);
  for (std::int64_t& x : sum) x += gaussian();
}

}  // namespace lorasb::privacy
