// Which training examples a step sees: the contract of a sampler, and shuffled epochs that can be left and entered anywhere.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/privacy/poisson_batches.hpp"

namespace lorasb::train {

/// A sampler is a sequence of batches that can be left and entered anywhere: its state is two numbers, its epoch and its position
/// in it. A batch may be empty where examples are drawn one by one (Poisson sampling); a step then still divides by
/// expected_batch_size().
template <class T>
concept Sampler = requires(T& sampler, const T& reader, std::uint64_t epoch, std::uint64_t position) {
  { sampler.next() } -> std::convertible_to<std::span<const Index>>;  // the next batch; valid until the next call
  { reader.epoch() } -> std::convertible_to<std::uint64_t>;
  { reader.position() } -> std::convertible_to<std::uint64_t>;
  { sampler.seek(epoch, position) };  // continues as after these
  { reader.expected_batch_size() } -> std::convertible_to<double>;
  { reader.scheme() } -> std::convertible_to<privacy::SamplingScheme>;  // what an accountant may take it for
};

/// A Sampler. Every epoch is a permutation of all examples drawn from (seed, epoch); batches take it in order, the last one of an
/// epoch may be shorter. (epoch, position) is all the state.
class ShuffledBatches {
 public:
  /// Throws ErrorId::value for no examples or a batch size below 1.
  ShuffledBatches(Index examples, Index batch_size, std::uint64_t seed)
      : batch_size_(static_cast<std::size_t>(batch_size)), seed_(seed) {
    require(examples >= 1, ErrorId::value, "ShuffledBatches: there are ", examples, " examples, expected at least 1");
    require(batch_size >= 1, ErrorId::value, "ShuffledBatches: batch_size is ", batch_size, ", expected at least 1");
    order_.resize(static_cast<std::size_t>(examples));
    seek(0, 0);
  }

  /// The numbers of the next batch's examples; valid until the next call.
  std::span<const Index> next() {
    if (position_ == order_.size()) seek(epoch_ + 1, 0);
    const std::size_t size = std::min(batch_size_, order_.size() - position_);
    const std::span<const Index> batch(order_.data() + position_, size);
    position_ += size;
    return batch;
  }

  /// Continues after the first `position` examples of `epoch`. Throws ErrorId::value for a position past the end.
  void seek(std::uint64_t epoch, std::uint64_t position) {
    require(position <= order_.size(), ErrorId::value, "ShuffledBatches::seek: position is ", position, ", expected at most ",
            order_.size());
    std::iota(order_.begin(), order_.end(), Index{0});
    Random random(seed_, epoch);
    for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.below(i)]);
    epoch_ = epoch;
    position_ = position;
  }

  std::uint64_t epoch() const { return epoch_; }
  std::uint64_t position() const { return position_; }
  double expected_batch_size() const { return double(batch_size_); }
  static constexpr privacy::SamplingScheme scheme() { return privacy::SamplingScheme::shuffled; }
  Index examples() const { return std::ssize(order_); }
  /// Batches in one epoch.
  Index batches_per_epoch() const { return static_cast<Index>((order_.size() + batch_size_ - 1) / batch_size_); }

 private:
  std::vector<Index> order_;
  std::size_t batch_size_;
  std::uint64_t seed_;
  std::uint64_t epoch_ = 0;
  std::size_t position_ = 0;
};

static_assert(Sampler<ShuffledBatches> && Sampler<privacy::PoissonBatches>);

}  // namespace lorasb::train
