// How far a round's global model is from the mean of its clients' models.
#pragma once

#include <cmath>

#include "examples/federated/shared_model.hpp"

namespace lorasb::examples {
namespace detail {

/// Σ p_k s B_k A_k over clients with p_k = w_k / Σ w, in double: one product of the factors side by side.
inline Weight<double> mean_product(std::span<const federated::ClientFactors<float>> clients, double scale) {
  double total = 0;
  Index rank = 0;
  for (const auto& [B, A, weight] : clients) {
    total += weight;
    rank += A.rows();
  }
  Weight<double> left(clients[0].B.rows(), rank), right(rank, clients[0].A.cols());
  Index place = 0;
  for (const auto& [B, A, weight] : clients) {
    left.middleCols(place, A.rows()) = (scale * weight / total) * B.cast<double>();
    right.middleRows(place, A.rows()) = A.cast<double>();
    place += A.rows();
  }
  return linalg::product(left, right);
}

/// s B M A in double, for any core M.
inline Weight<double> core_product(const LowRankAdapter<float>& adapter, const Weight<double>& M) {
  const Weight<double> left = linalg::product(Weight<double>(adapter.B.cast<double>()), M, double(adapter.scale));
  return linalg::product(left, Weight<double>(adapter.A.cast<double>()));
}

}  // namespace detail

/// ‖Σ p_k ΔW_k - ΔW_global‖ / ‖Σ p_k ΔW_k‖ over all adapted modules, Frobenius; ΔW is the whole departure from the original W0,
/// formed in double from factors and from what rounds have added, before it is rounded into any weight. `added_before` is
/// shared.added() when the round started, `updates` what counted, at least one, and `shared` holds the model after it.
inline double exactness_error(const SharedModel& shared, federated::Method method,
                              const std::vector<Weight<double>>& added_before, std::span<const AdmittedUpdate<float>> updates) {
  const std::span<const float> global = shared.values().flat();
  double missed = 0, size = 0;
  double total = 0;
  for (const AdmittedUpdate<float>& update : updates) total += update.weight;
  const std::vector<Module<float>> modules = shared.modules();
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const std::string& name = modules[m].name;
    Weight<double> clients, now;  // Σ p_k ΔW_k and ΔW_global
    if (method == federated::Method::fed_sb) {
      const LowRankAdapter<float>& adapter = shared.adapters().at(name);
      Weight<double> R = Weight<double>::Zero(adapter.rank(), adapter.rank());
      for (const AdmittedUpdate<float>& update : updates)
        R += (update.weight / total) * shared.tensor(name + ".R", update.values).cast<double>();
      clients = detail::core_product(adapter, R);
      now = detail::core_product(adapter, shared.tensor(name + ".R", global).cast<double>());
    } else {
      std::vector<federated::ClientFactors<float>> factors;
      for (const AdmittedUpdate<float>& update : updates) factors.push_back(shared.factors(name, update.values, update.weight));
      const federated::ClientFactors<float> own = shared.factors(name, global, 1);  // B = 0 with flora
      clients = detail::mean_product(factors, shared.lora_scale());
      now = detail::mean_product(std::span(&own, 1), shared.lora_scale());
    }
    if (shared.adds_to_weights()) {
      clients += added_before[m];
      now += shared.added()[m];
    }
    missed += (clients - now).squaredNorm();
    size += clients.squaredNorm();
  }
  return std::sqrt(missed / size);
}

}  // namespace lorasb::examples
