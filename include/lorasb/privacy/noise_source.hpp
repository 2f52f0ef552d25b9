// Where private training takes its random bits from: the operating system, or for tests and trials a seed.
#pragma once

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::privacy {

/// A stream of random bits. What it draws hides examples only when nobody else can draw the same: is_private() says so, and a
/// Ledger whose noise came from another source has no ε.
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;
  /// Overwrites `words` with random bits.
  virtual void fill(std::span<std::uint64_t> words) = 0;
  virtual bool is_private() const = 0;
  /// Says which step follows. A seeded source draws the bits of that step; others pay no heed.
  virtual void start_step(std::uint64_t /*step*/) {}

 protected:
  NoiseSource() = default;
  NoiseSource(const NoiseSource&) = default;
  NoiseSource& operator=(const NoiseSource&) = default;
};

/// The operating system's generator (getrandom; Linux: ChaCha20, seeded from hardware). It keeps no bits, so that neither a fork
/// nor a run that goes on from a checkpoint draws any of them twice.
class SystemNoise final : public NoiseSource {
 public:
  /// Throws ErrorId::file_open when the system gives none.
  void fill(std::span<std::uint64_t> words) override {
    const std::span<std::byte> bytes = std::as_writable_bytes(words);
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t got = ::getrandom(bytes.data() + done, std::min<std::size_t>(bytes.size() - done, 1 << 20), 0);
      if (got < 0 && errno == EINTR) continue;
      require(got > 0, ErrorId::file_open, "SystemNoise: the operating system gives no random bytes (errno ", errno, ")");
      done += static_cast<std::size_t>(got);
    }
  }
  bool is_private() const override { return true; }
};

/// For tests and trials: whoever knows the seed can subtract the noise. Sources with other `stream`s are independent.
class SeededNoise final : public NoiseSource {
 public:
  explicit SeededNoise(std::uint64_t seed, std::uint64_t stream = 0) : seed_(derive_seed(seed, stream)), random_(seed_, 0) {}
  void fill(std::span<std::uint64_t> words) override {
    for (std::uint64_t& word : words) word = random_.bits();
  }
  bool is_private() const override { return false; }
  void start_step(std::uint64_t step) override { random_ = Random(seed_, step); }

 private:
  std::uint64_t seed_;
  Random random_;
};

/// The operating system's generator, or with a seed, for tests and trials, that stream of it.
inline std::unique_ptr<NoiseSource> make_noise_source(std::optional<std::uint64_t> seed, std::uint64_t stream) {
  if (seed) return std::make_unique<SeededNoise>(*seed, stream);
  return std::make_unique<SystemNoise>();
}

/// sum += N(0, deviation²) in every number, in double before it is rounded to S. Throws ErrorId::value unless deviation is at least
/// 0 and finite.
template <Real S>
void add_gaussian_noise(std::span<S> sum, double deviation, NoiseSource& source) {
  require(is_finite(deviation) && deviation >= 0, ErrorId::value, "add_gaussian_noise: deviation is ", deviation,
          ", expected a finite number of at least 0");
  std::array<std::uint64_t, 512> words{};
  for (std::size_t first = 0; first < sum.size(); first += words.size()) {
    const std::size_t count = std::min(words.size(), sum.size() - first);
    source.fill(std::span(words).first(count));
    for (std::size_t i = 0; i < count; ++i) {
      const double u = (double(words[i] >> 12) + 0.5) * 0x1p-52;
      sum[first + i] = static_cast<S>(double(sum[first + i]) + deviation * lorasb::detail::normal_quantile(u));
    }
  }
}

}  // namespace lorasb::privacy
