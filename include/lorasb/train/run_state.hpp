// What a training run needs to go on from a checkpoint to the same bits.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/basis.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/io/checkpoint.hpp"
#include "lorasb/optim/optimizer.hpp"
#include "lorasb/train/sampler.hpp"

namespace lorasb::train {
namespace detail {

template <Real S>
std::vector<S> copied(std::span<const S> values) {
  return {values.begin(), values.end()};
}

}  // namespace detail

/// Overwrites `to` with a tensor of the checkpoint. Throws ErrorId::checkpoint for another size or a name that is not there.
template <Real S>
void restore_tensor(const io::Checkpoint<S>& checkpoint, const std::string& name, std::span<S> to) {
  const std::vector<S>& from = checkpoint.tensor(name);
  require(to.size() == from.size(), ErrorId::checkpoint, "the checkpoint's ", in_quotes(name), " has ", from.size(),
          " numbers, expected ", to.size());
  std::ranges::copy(from, to.begin());
}

/// Puts into the checkpoint all that the next step depends on: the trained values, the optimizer's state and steps, the place
/// of the sampler. Names: "values", "optimizer.<state>", "steps", "epoch", "position".
template <Real S, Sampler Batches>
void save_run(io::Checkpoint<S>& checkpoint, std::span<const S> values, const optim::Optimizer<S>& optimizer,
              const Batches& batches) {
  checkpoint.tensors["values"] = detail::copied<S>(values);
  for (const ParameterLayout::Tensor& t : optimizer.state().layout().tensors())
    checkpoint.tensors["optimizer." + t.name] = detail::copied<S>(optimizer.state().flat(t.name));
  checkpoint.put_integer("steps", optimizer.steps());
  checkpoint.put_integer("epoch", batches.epoch());
  checkpoint.put_integer("position", batches.position());
}
/// Takes it back. Throws ErrorId::checkpoint.
template <Real S, Sampler Batches>
void restore_run(const io::Checkpoint<S>& checkpoint, std::span<S> values, optim::Optimizer<S>& optimizer, Batches& batches) {
  restore_tensor<S>(checkpoint, "values", values);
  for (const ParameterLayout::Tensor& t : optimizer.state().layout().tensors())
    restore_tensor<S>(checkpoint, "optimizer." + t.name, optimizer.state().flat(t.name));
  optimizer.set_steps(checkpoint.integer("steps"));
  batches.seek(checkpoint.integer("epoch"), checkpoint.integer("position"));
}

/// The frozen factors of the adapters, as "frozen.<module>.B" and "frozen.<module>.A".
template <Real S>
void save_bases(io::Checkpoint<S>& checkpoint, const AdapterBases<S>& bases) {
  for (const auto& [name, basis] : bases) {
    checkpoint.tensors["frozen." + name + ".B"] = detail::copied<S>(flat(basis.B));
    checkpoint.tensors["frozen." + name + ".A"] = detail::copied<S>(flat(basis.A));
  }
}
/// The basis of one module, out x in, at the rank that was saved. Throws ErrorId::checkpoint.
template <Real S>
AdapterBasis<S> restore_basis(const io::Checkpoint<S>& checkpoint, const std::string& module, Index out_features,
                              Index in_features, S scale = 1) {
  const Index rank = std::ssize(checkpoint.tensor("frozen." + module + ".B")) / out_features;
  AdapterBasis<S> basis{.B = Weight<S>(out_features, rank), .A = Weight<S>(rank, in_features), .scale = scale};
  restore_tensor<S>(checkpoint, "frozen." + module + ".B", flat(basis.B));
  restore_tensor<S>(checkpoint, "frozen." + module + ".A", flat(basis.A));
  return basis;
}
/// The adapters of all modules, with R = 0: the cores come with the values. Throws what restore_basis() throws.
template <Real S>
AdapterSet<S> restore_adapters(const io::Checkpoint<S>& checkpoint, const std::vector<Module<S>>& modules) {
  AdapterSet<S> adapters;
  for (const Module<S>& m : modules) {
    AdapterBasis<S> basis = restore_basis<S>(checkpoint, m.name, m.W0.rows(), m.W0.cols());
    const Index rank = basis.rank();
    adapters.add(m.name, {.B = std::move(basis.B), .R = Weight<S>::Zero(rank, rank), .A = std::move(basis.A), .scale = basis.scale});
  }
  return adapters;
}

}  // namespace lorasb::train
