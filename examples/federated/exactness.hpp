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
/// formed in double from factors, before it is rounded into any weight. `shared` holds what the round started from, `global`
/// are the means after it, and `updates` what counted, at least one.
inline double exactness_error(const SharedModel& shared, federated::Method method, std::span<const float> global,
                              std::span<const AdmittedUpdate<float>> updates) {
  double missed = 0, size = 0;
  double total = 0;
  for (const AdmittedUpdate<float>& update : updates) total += update.weight;
  const std::vector<Module<float>> modules = shared.modules();
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const std::string& name = modules[m].name;
    Weight<double> mean,
        step;  // of the clients, and what the global model does in this round; both without what was added before
    if (method == federated::Method::fed_sb) {
      const LowRankAdapter<float>& adapter = shared.adapters().at(name);
      Weight<double> R = Weight<double>::Zero(adapter.rank(), adapter.rank());
      for (const AdmittedUpdate<float>& update : updates)
        R += (update.weight / total) * shared.tensor(name + ".R", update.values).cast<double>();
      mean = detail::core_product(adapter, R);
      step = detail::core_product(adapter, shared.tensor(name + ".R", global).cast<double>());
    } else {
      std::vector<federated::ClientFactors<float>> clients;
      for (const AdmittedUpdate<float>& update : updates) clients.push_back(shared.factors(name, update.values, update.weight));
      const double scale = shared.lora_scale();
      mean = detail::mean_product(clients, scale);
      std::vector<federated::ClientFactors<float>> parts;  // whose sum is the step
      const federated::LowRankDelta<float> delta =
          shared.added(m).size() > 0 ? shared.delta_of(name, global, updates) : federated::LowRankDelta<float>{};
      step = Weight<double>::Zero(mean.rows(), mean.cols());
      if (method != federated::Method::flora) parts.push_back(shared.factors(name, global, 1));
      if (delta.rank() > 0) parts.push_back({.B = delta.B, .A = delta.A, .weight = 1});
      for (const federated::ClientFactors<float>& part : parts) step += detail::mean_product(std::span(&part, 1), scale);
    }
    const Weight<double> difference = mean - step;
    if (shared.added(m).size() > 0) mean += shared.added(m);
    missed += difference.squaredNorm();
    size += mean.squaredNorm();
  }
  return std::sqrt(missed / size);
}

}  // namespace lorasb::examples
