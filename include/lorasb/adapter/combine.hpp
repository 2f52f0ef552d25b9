// Adapters over one basis as one adapter: their weighted sum.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/check.hpp"

namespace lorasb {

/// Σ w_k s B R_k A = s B (Σ w_k R_k) A, for adapters with the same B, A and s, bit for bit; over other bases no core says the
/// sum, and it is refused. Each entry is summed in double and rounded once: one adapter with the weight 1 is that adapter, and
/// weights 1 and -1 of equal ones give R = 0. Throws ErrorId::value for no adapters, another number of weights, weights that
/// are not finite, and other B, A or s; ErrorId::rank and shape for other ranks and shapes; ErrorId::not_finite for a sum that
/// leaves the range.
///
///     const LowRankAdapter<float> mean = combine<float>(adapters, std::vector{0.5, 0.5});
template <Real S>
LowRankAdapter<S> combine(std::span<const LowRankAdapter<S>> adapters, std::span<const double> weights,
                          std::string_view name = "adapter") {
  require(!adapters.empty() && adapters.size() == weights.size(), ErrorId::value, "combine: ", adapters.size(),
          " adapters and ", weights.size(), " weights of ", in_quotes(name), ", expected as many, and at least one");
  const LowRankAdapter<S>& first = adapters.front();
  Weight<double> sum;
  for (std::size_t k = 0; k < adapters.size(); ++k) {
    const LowRankAdapter<S>& a = adapters[k];
    a.validate(name);
    require(is_finite(weights[k]), ErrorId::value, "combine: weight ", k, " is ", weights[k], ", expected finite");
    require(a.rank() == first.rank(), ErrorId::rank, "combine: adapter ", k, " of ", in_quotes(name), " has rank ", a.rank(),
            ", the first has ", first.rank());
    require_shape(a.B, first.B.rows(), first.B.cols(), "combine", "B", "as the first of ", in_quotes(name));
    require_shape(a.A, first.A.rows(), first.A.cols(), "combine", "A", "as the first of ", in_quotes(name));
    require(a.B == first.B && a.A == first.A, ErrorId::value, "combine: adapter ", k, " of ", in_quotes(name),
            " has another basis than the first: the sum has no core over either");
    require(a.scale == first.scale, ErrorId::value, "combine: adapter ", k, " of ", in_quotes(name), " has the scale ",
            double(a.scale), ", the first has ", double(first.scale));
    const Weight<double> term = weights[k] * a.R.template cast<double>();
    if (k == 0)
      sum = term;
    else
      sum += term;
  }
  LowRankAdapter<S> combined{.B = first.B, .R = sum.template cast<S>(), .A = first.A, .scale = first.scale};
  require_finite(combined.R, "combine", "the sum, which leaves the range of its type,");
  return combined;
}

/// The same of every module. Throws ErrorId::unknown_name, too, unless all sets have the same modules.
template <Real S>
AdapterSet<S> combine(std::span<const AdapterSet<S>> sets, std::span<const double> weights) {
  require(!sets.empty(), ErrorId::value, "combine: there are no sets of adapters");
  AdapterSet<S> combined;
  for (const AdapterSet<S>& set : sets)
    for (const auto& [name, adapter] : set) sets.front().at(name);
  for (const auto& [name, adapter] : sets.front()) {
    std::vector<LowRankAdapter<S>> of_module;
    for (const AdapterSet<S>& set : sets) of_module.push_back(set.at(name));
    combined.add(name, combine<S>(std::span<const LowRankAdapter<S>>(of_module), weights, name));
  }
  return combined;
}

}  // namespace lorasb
