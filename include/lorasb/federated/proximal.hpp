// The proximal term of a client: it stays near the values that its round starts with.
#pragma once

#include <span>

#include "lorasb/core/check.hpp"

namespace lorasb::federated {

/// FedProx (Li et al., Federated Optimization in Heterogeneous Networks, arXiv 1812.06127): a client minimises its mean loss
/// and μ/2 ‖w - w0‖², with w0 the global values. Adds the term's gradient, μ (w - w0), for each of `examples` examples to
/// `gradient_sum`: the sum of their gradients, which a step divides by their number afterwards. Throws ErrorId::shape, and
/// ErrorId::value for a μ that is negative or not finite.
template <Real S>
void add_proximal_gradient(double mu, Index examples, std::span<const S> values, std::span<const S> start,
                           std::span<S> gradient_sum) {
  require(is_finite(mu) && mu >= 0, ErrorId::value, "add_proximal_gradient: mu is ", mu,
          ", expected a finite number of at least 0");
  require(values.size() == start.size() && values.size() == gradient_sum.size(), ErrorId::shape,
          "add_proximal_gradient: ", values.size(), " values, ", start.size(), " at the start and ", gradient_sum.size(),
          " gradients, expected as many of each");
  const S weight = static_cast<S>(mu * double(examples));
  for (std::size_t i = 0; i < values.size(); ++i) gradient_sum[i] += weight * (values[i] - start[i]);
}

}  // namespace lorasb::federated
