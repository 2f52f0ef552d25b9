// What a trainer needs from any optimizer: one step over a flat buffer, and a state that a checkpoint can save and restore.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lorasb/core/parameters.hpp"

namespace lorasb::optim {
namespace detail {

/// Numbers that an optimizer copies out of its buffers, changes together and copies back. A block has one size and alignment,
/// so every number takes the same instructions: its bits do not depend on its place in a buffer or on the buffer's address.
template <Real S>
struct alignas(64) Block {
  static constexpr Index size = 256;
  S values[size] = {};

  S& operator[](Index i) { return values[i]; }
  /// The square roots of another block: std::sqrt would take them one by one, for the sake of errno.
  void assign_sqrt(const Block& other) {
    using Packet = typename Eigen::internal::packet_traits<S>::type;
    constexpr Index width = Eigen::internal::packet_traits<S>::size;
    for (Index i = 0; i < size; i += width)
      Eigen::internal::pstore(values + i, Eigen::internal::psqrt(Eigen::internal::pload<Packet>(other.values + i)));
  }
  void load(const S* from, Index count) { std::copy_n(from, count, values); }
  void store(S* to, Index count) const { std::copy_n(values, count, to); }
};

}  // namespace detail

/// Moves n numbers against their gradient. Everything that it remembers from step to step is state(), n numbers for each
/// name, and steps(): whoever restores both continues with the same bits, in the same program (another compiler may fuse other
/// products and sums).
template <Real S>
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Changes `values` in place; `gradients` are only read. Both hold size() numbers, or ErrorId::shape is thrown.
  /// The rate is at least 0 (warm-up may start there) and finite, or ErrorId::value is thrown.
  /// The gradients themselves are not looked at: a NaN in them stays in the state for good, so check their norm first
  /// (clip_global_norm returns it).
  void step(std::span<S> values, std::span<const S> gradients, double learning_rate) {
    require(std::ssize(values) == size_, ErrorId::shape, "Optimizer::step: values holds ", values.size(), " numbers, expected ",
            size_);
    require(std::ssize(gradients) == size_, ErrorId::shape, "Optimizer::step: gradients holds ", gradients.size(),
            " numbers, expected ", size_);
    require(is_finite(learning_rate) && learning_rate >= 0, ErrorId::value, "Optimizer::step: learning_rate is ",
            learning_rate, ", expected a finite number of at least 0");
    ++steps_;
    for (const Group& g : groups_)
      update(values.subspan(std::size_t(g.first), std::size_t(g.size)),
             gradients.subspan(std::size_t(g.first), std::size_t(g.size)), g.first, learning_rate * g.rate_factor);
  }

  /// The numbers first, ..., first + count - 1 learn at `factor` times the rate that step() is given, as a parameter group of
  /// their own does in PyTorch: a fresh head beside adapters, say. Not part of the state. Throws ErrorId::value for a range
  /// outside the buffer or across an earlier one, and for a factor that is negative or not finite.
  void set_rate_factor(Index first, Index count, double factor) {
    require(first >= 0 && count >= 0 && first <= size_ - count, ErrorId::value, "Optimizer::set_rate_factor: ", count,
            " numbers from ", first, " on, of ", size_);
    require(is_finite(factor) && factor >= 0, ErrorId::value, "Optimizer::set_rate_factor: factor is ", factor,
            ", expected a finite number of at least 0");
    if (count == 0) return;
    const auto group = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& g) { return g.first <= first && first + count <= g.first + g.size; });
    require(group != groups_.end(), ErrorId::value, "Optimizer::set_rate_factor: ", count, " numbers from ", first,
            " on reach into two groups");
    const Group whole = *group;
    const Group parts[] = {{whole.first, first - whole.first, whole.rate_factor},
                           {first, count, factor},
                           {first + count, whole.first + whole.size - first - count, whole.rate_factor}};
    groups_.insert(groups_.erase(group), std::begin(parts), std::end(parts));
    std::erase_if(groups_, [](const Group& g) { return g.size == 0; });
  }

  Index size() const { return size_; }
  /// Steps taken so far.
  std::uint64_t steps() const { return steps_; }
  void set_steps(std::uint64_t steps) { steps_ = steps; }
  /// The moments by name, each size() x 1; zero before the first step. To restore them, write to state().flat().
  Parameters<S>& state() { return state_; }
  const Parameters<S>& state() const { return state_; }

 protected:
  Optimizer(Index size, const std::vector<std::string>& state_names)
      : size_(size), state_(layout(size, state_names)), groups_{{0, size, 1}} {}

 private:
  struct Group {
    Index first, size;
    double rate_factor;
  };

  /// Step number steps(), counted from 1, for the numbers from `first` on. Sizes and rate are checked.
  virtual void update(std::span<S> values, std::span<const S> gradients, Index first, double learning_rate) = 0;

  static ParameterLayout layout(Index size, const std::vector<std::string>& names) {
    require(size >= 0, ErrorId::value, "Optimizer: size is ", size, ", expected at least 0");
    ParameterLayout layout;
    for (const std::string& name : names) layout.add(name, size, 1);
    return layout;
  }

  Index size_;
  std::uint64_t steps_ = 0;
  Parameters<S> state_;
  std::vector<Group> groups_;
};

}  // namespace lorasb::optim
