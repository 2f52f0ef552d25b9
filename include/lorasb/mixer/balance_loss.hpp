// The Specialization Balance Loss of LoRA-Mixer, as a function of sums over the tokens of a whole batch.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/mixer/routing.hpp"

namespace lorasb::mixer {

/// f̄_i, the share of tokens routed to expert i. The paper has all three; each sums to one over the experts.
enum class RoutedShare {
  top_1,       // tokens whose most probable expert is i (Eq. 3)
  top_k,       // tokens that have i among their k most probable, divided by k: a collapsed router has α / k, not α
  top_k_mass,  // the probability of i among the k most probable, divided by their sum (Section 3.3)
};
inline constexpr std::array<std::string_view, 3> share_names{"top-1", "top-k", "top-k-mass"};

/// The entropy term as a loss to be minimised.
enum class EntropySign {
  as_printed,  // − λ E[H]: minimising it *raises* the entropy, against the paper's words
  specialize,  // + λ E[H]: minimising it lowers the entropy, as the paper's text says
};
inline constexpr std::array<std::string_view, 2> entropy_sign_names{"as-printed", "specialize"};

/// How the losses of several routers become one.
enum class OverLayers { sum, mean };
inline constexpr std::array<std::string_view, 2> over_layers_names{"sum", "mean"};

/// L = α Σ_i p̄_i f̄_i ∓ λ E_t[H(p_t)] + a E_t[−log p_t,label] + β Σ ‖θ − θ⁰‖²,    H(p) = −Σ p log p
///
/// p̄ is the mean of p over the batch; f̄ is constant in the gradient. The first two are the paper's; the third (ours) is over
/// the tokens that have a task label, and the fourth over the protected experts. Terms with weight 0 are off. What the paper
/// leaves open has no default: share where α is not 0, entropy_sign where λ is not 0, over_layers where anything is on.
struct BalanceLossOptions {
  double balance = 0;    // α
  double entropy = 0;    // λ
  double alignment = 0;  // a
  double preserve = 0;   // β
  std::optional<RoutedShare> share = {};
  Index share_k = 3;  // of top_k and top_k_mass
  std::optional<EntropySign> entropy_sign = {};
  std::optional<OverLayers> over_layers = {};
  bool scale_by_imbalance = false;  // ours: α times (E Σ f̄² − 1) / (E − 1), 0 for equal shares and 1 for one expert
  double multiplier = 1;  // of the whole loss. A trainer that adds it to a *summed* loss and divides by the examples, as
                          // train::Step does, sets the size of the batch

  bool wanted() const { return balance != 0 || entropy != 0 || alignment != 0 || preserve != 0; }
  /// Throws ErrorId::value.
  void validate(Index experts) const {
    for (const double x : {balance, entropy, alignment, preserve, multiplier})
      require(is_finite(x) && x >= 0, ErrorId::value, "BalanceLossOptions: a weight is ", x,
              ", expected a finite number of at least 0");
    require(balance == 0 || share.has_value(), ErrorId::value, "BalanceLossOptions: balance is on; share must be given");
    require(entropy == 0 || entropy_sign.has_value(), ErrorId::value,
            "BalanceLossOptions: entropy is on; entropy_sign must be given");
    require(!wanted() || over_layers.has_value(), ErrorId::value, "BalanceLossOptions: over_layers must be given, sum or mean");
    const bool of_k = share.has_value() && *share != RoutedShare::top_1;
    require(!of_k || (share_k >= 1 && share_k <= experts), ErrorId::value, "BalanceLossOptions: share_k is ", share_k,
            ", expected 1 to the number of experts, ", experts);
  }
};

/// A weight that rises linearly over the first `steps` steps (counted from 1); ours, for λ.
inline double warmed_up(double weight, Index step, Index steps) {
  return step >= steps ? weight : weight * double(step) / double(steps);
}

/// Sums over tokens, 4 + 2 E numbers (LinearCache::statistics). Padding is in none of them.
template <class T>  // double, or const double
struct BalanceSums {
  static constexpr Index size(Index experts) { return 4 + 2 * experts; }
  explicit BalanceSums(std::span<T> all) : all_(all) {}

  T& tokens() const { return all_[0]; }
  T& labelled() const { return all_[1]; }
  T& entropy() const { return all_[2]; }        // Σ_t H(p_t)
  T& cross_entropy() const { return all_[3]; }  // Σ_t −log p_t,label
  std::span<T> p() const { return all_.subspan(4, experts()); }
  std::span<T> share() const { return all_.subspan(4 + experts(), experts()); }

 private:
  std::size_t experts() const { return (all_.size() - 4) / 2; }
  std::span<T> all_;
};

/// Adds the sums of p and log p (experts x tokens). `tasks`: empty, or a label for each token, -1 for padding.
template <Real S>
void add_balance_sums(ConstMatrixView<S> p, ConstMatrixView<S> log_p, std::span<const Index> tasks,
                      const BalanceLossOptions& options, std::span<double> to) {
  const BalanceSums<double> sums(to);
  const Index k = options.share.value_or(RoutedShare::top_1) == RoutedShare::top_1 ? 1 : options.share_k;
  const bool by_mass = options.share == RoutedShare::top_k_mass;
  std::vector<Index> chosen;
  for (Index t = 0; t < p.cols(); ++t) {
    if (!tasks.empty() && tasks[static_cast<std::size_t>(t)] < 0) continue;
    ++sums.tokens();
    if (options.alignment != 0 && !tasks.empty()) {
      ++sums.labelled();
      sums.cross_entropy() -= double(log_p(tasks[static_cast<std::size_t>(t)], t));
    }
    for (Index e = 0; e < p.rows(); ++e) {
      sums.p()[static_cast<std::size_t>(e)] += double(p(e, t));
      sums.entropy() -= double(p(e, t)) * double(log_p(e, t));
    }
    largest(p.data() + t * p.outerStride(), p.rows(), k, chosen);
    double mass = 0;
    for (const Index e : chosen) mass += double(p(e, t));
    for (const Index e : chosen)
      sums.share()[static_cast<std::size_t>(e)] += by_mass ? double(p(e, t)) / mass : 1.0 / double(k);
  }
}

/// α, or α times the imbalance of the shares.
inline double balance_weight(std::span<const double> statistics, const BalanceLossOptions& options) {
  const BalanceSums<const double> sums(statistics);
  const auto experts = double(sums.share().size());
  if (!options.scale_by_imbalance || experts == 1) return options.balance;
  double squares = 0;
  for (const double f : sums.share()) squares += f * f / (sums.tokens() * sums.tokens());
  return options.balance * (experts * squares - 1) / (experts - 1);
}

/// The loss of one router without the preserving term, before it is multiplied and averaged over layers; 0 for no tokens.
inline double balance_loss(std::span<const double> statistics, const BalanceLossOptions& options) {
  const BalanceSums<const double> sums(statistics);
  const double n = sums.tokens();
  if (n == 0) return 0;
  double agreement = 0;
  for (std::size_t e = 0; e < sums.p().size(); ++e) agreement += sums.p()[e] / n * sums.share()[e] / n;
  const double sign = options.entropy_sign == EntropySign::specialize ? 1 : -1;
  double loss = balance_weight(statistics, options) * agreement + sign * options.entropy * sums.entropy() / n;
  if (sums.labelled() > 0) loss += options.alignment * sums.cross_entropy() / sums.labelled();
  return loss;
}

/// Adds `factor` times the gradient of balance_loss with respect to the logits z, p = softmax(z), to dz (experts x tokens):
///     g_i = α f̄_i / N ± λ (log p_i + 1) / N,    dz_i = p_i (g_i − Σ_j p_j g_j) + a (p_i − [i = label]) / N_labelled
template <Real S>
void add_balance_gradient(ConstMatrixView<S> p, ConstMatrixView<S> log_p, std::span<const Index> tasks,
                          std::span<const double> statistics, const BalanceLossOptions& options, double factor,
                          MatrixView<S> dz) {
  const BalanceSums<const double> sums(statistics);
  const double n = sums.tokens(), sign = options.entropy_sign == EntropySign::specialize ? -1 : 1;
  if (n == 0) return;
  const double weight = balance_weight(statistics, options);
  const double alignment = sums.labelled() > 0 ? options.alignment / sums.labelled() : 0;
  std::vector<double> g(static_cast<std::size_t>(p.rows()));
  for (Index t = 0; t < p.cols(); ++t) {
    const Index task = tasks.empty() ? 0 : tasks[static_cast<std::size_t>(t)];
    if (task < 0) continue;
    double mean = 0;
    for (Index e = 0; e < p.rows(); ++e) {
      const auto i = static_cast<std::size_t>(e);
      g[i] = (weight * sums.share()[i] / n + sign * options.entropy * (double(log_p(e, t)) + 1)) / n;
      mean += double(p(e, t)) * g[i];
    }
    for (Index e = 0; e < p.rows(); ++e)
      dz(e, t) +=
          S(factor * (double(p(e, t)) * (g[static_cast<std::size_t>(e)] - mean + alignment) - (e == task ? alignment : 0.0)));
  }
}

}  // namespace lorasb::mixer
