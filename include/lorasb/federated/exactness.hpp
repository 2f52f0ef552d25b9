// How far a round's global model is from the weighted mean of its clients' models.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "lorasb/adapter/basis.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/federated/baselines/factors.hpp"
#include "lorasb/federated/round.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::federated {

/// ‖Σ p_k ΔW_k - ΔW_global‖ / ‖Σ p_k ΔW_k‖ over all adapted modules, Frobenius, with p_k = w_k / Σ w and ΔW the departure from
/// the original W0, formed in double before it is rounded into any weight.
class ExactnessError {
 public:
  /// Σ p_k ΔW_k and ΔW_global of one module, out x in.
  void add(const Weight<double>& clients, const Weight<double>& global) {
    const Weight<double> difference = clients - global;
    missed_ = std::hypot(missed_, norm(flat(difference)));
    size_ = std::hypot(size_, norm(flat(clients)));
  }
  /// 0 when nothing has moved.
  double value() const { return size_ > 0 ? missed_ / size_ : 0; }

 private:
  double missed_ = 0, size_ = 0;  // norms: squares may leave the range of double
};

/// s B R A in double, for any core R.
template <Real S>
Weight<double> core_product(const AdapterBasis<S>& basis, const Weight<double>& R) {
  const Weight<double> left = linalg::product(Weight<double>(basis.B.template cast<double>()), R, double(basis.scale));
  return linalg::product(left, Weight<double>(basis.A.template cast<double>()));
}

/// Σ p_k s B_k A_k over clients, in double: one product of the factors side by side.
template <Real S>
Weight<double> mean_product(std::span<const ClientFactors<S>> clients, double scale) {
  double total = 0;
  Index rank = 0;
  for (const auto& [B, A, weight] : clients) {
    total += weight;
    rank += A.rows();
  }
  Weight<double> left(clients[0].B.rows(), rank), right(rank, clients[0].A.cols());
  Index place = 0;
  for (const auto& [B, A, weight] : clients) {
    left.middleCols(place, A.rows()) = (scale * weight / total) * B.template cast<double>();
    right.middleRows(place, A.rows()) = A.template cast<double>();
    place += A.rows();
  }
  return linalg::product(left, right);
}

namespace detail {

/// Adds the mean of a module's core over the updates, weighted by weight_of(update), and the global one; both begin at `first` in the
/// layout. Nothing where all weights are 0.
template <Real S, class WeightOf>
void add_core(const AdapterBasis<S>& basis, Index first, std::span<const AdmittedUpdate<S>> updates, const WeightOf& weight_of,
              std::span<const S> global, ExactnessError& error) {
  double total = 0;
  for (const AdmittedUpdate<S>& update : updates) total += weight_of(update);
  if (total == 0) return;
  const auto core = [&](std::span<const S> values) {
    return ConstWeightView<S>(values.data() + first, basis.rank(), basis.rank());
  };
  Weight<double> R = Weight<double>::Zero(basis.rank(), basis.rank());
  for (const AdmittedUpdate<S>& update : updates) R += (weight_of(update) / total) * core(update.values).template cast<double>();
  error.add(core_product(basis, R), core_product<S>(basis, core(global).template cast<double>()));
}

}  // namespace detail

/// The error of Fed-SB: all cores (Role::core) of the layout, with `updates` what counted and `global` what came out.
template <Real S>
double core_exactness_error(const AdapterBases<S>& bases, const ParameterLayout& layout,
                            std::span<const AdmittedUpdate<S>> updates, std::span<const S> global) {
  ExactnessError error;
  for (const ParameterLayout::Tensor& t : layout.tensors())
    if (t.role == Role::core)
      detail::add_core(bases.at(t.module), t.offset, updates, [](const auto& update) { return double(update.weight); }, global, error);
  return error.value();
}

}  // namespace lorasb::federated
