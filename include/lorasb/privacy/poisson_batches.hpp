// Poisson sampling: every step takes every example by a draw of its own.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "lorasb/core/config.hpp"
#include "lorasb/privacy/noise_source.hpp"
#include "lorasb/privacy/sampling_scheme.hpp"

namespace lorasb::privacy {

/// A train::Sampler whose batches an accountant may take as Poisson samples. A batch may be empty. Its state is the number of the
/// step, position(); with SystemNoise a batch is never drawn again, with SeededNoise it is that of its step.
class PoissonBatches {
 public:
  /// `source` must outlive it, and must not be the one that noise comes from. Throws ErrorId::value for no examples, or a rate
  /// outside (0, 1].
  PoissonBatches(Index examples, double rate, NoiseSource& source LORASB_LIFETIMEBOUND)
      : examples_(static_cast<std::size_t>(examples)), source_(&source), all_(rate >= 1), threshold_(threshold(rate)) {
    require(examples >= 1, ErrorId::value, "PoissonBatches: there are ", examples, " examples, expected at least 1");
  }

  /// The numbers of the next batch's examples, in rising order; valid until the next call.
  std::span<const Index> next() {
    batch_.clear();
    source_->start_step(step_++);
    std::array<std::uint64_t, 512> words{};
    for (std::size_t first = 0; first < examples_; first += words.size()) {
      const std::size_t count = std::min(words.size(), examples_ - first);
      source_->fill(std::span(words).first(count));
      for (std::size_t i = 0; i < count; ++i)
        if (all_ || words[i] < threshold_) batch_.push_back(static_cast<Index>(first + i));
    }
    return batch_;
  }

  /// q: the probability with which a step takes an example, as it is drawn, a multiple of 2^-64.
  double rate() const { return all_ ? 1 : std::ldexp(double(threshold_), -64); }
  /// The same of batches with this rate. Throws ErrorId::value for one outside (0, 1].
  static double drawn_rate(double rate) {
    const std::uint64_t below = threshold(rate);
    return rate >= 1 ? 1 : std::ldexp(double(below), -64);
  }
  static constexpr SamplingScheme scheme() { return SamplingScheme::poisson; }
  bool is_private() const { return source_->is_private(); }
  Index examples() const { return static_cast<Index>(examples_); }
  double expected_batch_size() const { return rate() * double(examples_); }

  std::uint64_t epoch() const { return 0; }
  std::uint64_t position() const { return step_; }
  void seek(std::uint64_t /*epoch*/, std::uint64_t position) { step_ = position; }

 private:
  /// An example is taken where 64 random bits are below it; unused for a rate of 1, for which it would need 65.
  static std::uint64_t threshold(double rate) {
    require(is_finite(rate) && rate > 0 && rate <= 1, ErrorId::value, "PoissonBatches: rate is ", rate,
            ", expected above 0, at most 1");
    if (rate >= 1) return 0;
    const auto threshold = static_cast<std::uint64_t>(std::floor(std::ldexp(rate, 64)));
    require(threshold > 0, ErrorId::value, "PoissonBatches: rate is ", rate, ", expected at least 2^-64");
    return threshold;
  }

  std::size_t examples_;
  NoiseSource* source_;
  bool all_;
  std::uint64_t threshold_, step_ = 0;
  std::vector<Index> batch_;
};

}  // namespace lorasb::privacy
