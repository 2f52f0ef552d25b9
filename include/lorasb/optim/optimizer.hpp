// What a trainer needs from any optimizer: one step over a flat buffer, and a state that a checkpoint can save and restore.
#pragma once

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
using Block = Eigen::Array<S, 256, 1>;

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
    require(std::isfinite(learning_rate) && learning_rate >= 0, ErrorId::value, "Optimizer::step: learning_rate is ",
            learning_rate, ", expected a finite number of at least 0");
    ++steps_;
    update(values, gradients, learning_rate);
  }

  Index size() const { return size_; }
  /// Steps taken so far.
  std::uint64_t steps() const { return steps_; }
  void set_steps(std::uint64_t steps) { steps_ = steps; }
  /// The moments by name, each size() x 1; zero before the first step. To restore them, write to state().flat().
  Parameters<S>& state() { return state_; }
  const Parameters<S>& state() const { return state_; }

 protected:
  Optimizer(Index size, const std::vector<std::string>& state_names) : size_(size), state_(layout(size, state_names)) {}

 private:
  /// Step number steps(), counted from 1. Sizes and rate are checked.
  virtual void update(std::span<S> values, std::span<const S> gradients, double learning_rate) = 0;

  static ParameterLayout layout(Index size, const std::vector<std::string>& names) {
    require(size >= 0, ErrorId::value, "Optimizer: size is ", size, ", expected at least 0");
    ParameterLayout layout;
    for (const std::string& name : names) layout.add(name, size, 1);
    return layout;
  }

  Index size_;
  std::uint64_t steps_ = 0;
  Parameters<S> state_;
};

}  // namespace lorasb::optim
