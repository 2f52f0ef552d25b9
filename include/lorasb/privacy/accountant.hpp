// ε of steps that were taken or planned, and the noise that a wanted ε needs.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <span>
#include <string_view>

#include "lorasb/privacy/exact.hpp"
#include "lorasb/privacy/pld.hpp"
#include "lorasb/privacy/rdp.hpp"

namespace lorasb::privacy {

enum class Accountant {
  best,  // the less of pld and rdp: each is an upper bound
  pld,   // privacy loss distributions
  rdp,   // Rényi, over all orders; add/remove alone
  exact,  // the true ε, by a contour integral; no bound: rounding may put it a little below
};
/// Entry i is the name of the value i.
inline constexpr std::array<std::string_view, 4> accountant_names{"best", "pld", "rdp", "exact"};
inline constexpr std::array<std::string_view, 2> relation_names{"add-remove", "replace-one"};

struct Epsilon {
  double epsilon = 0;
  Accountant method = Accountant::pld;  // that gave it
};

/// ε such that all the mechanisms together are (ε, δ)-differentially private under `relation`: an upper bound, at least 0.
/// Mechanisms with other rates and noise compose. Throws ErrorId::value for δ outside (0, 1), no mechanism, a mechanism out of range,
/// RDP with replace-one, and where no accountant reaches an answer.
inline Epsilon epsilon_of(std::span<const SubsampledGaussian> mechanisms, double delta, Accountant accountant = Accountant::best,
                          Relation relation = Relation::add_remove) {
  require(is_finite(delta) && delta > 0 && delta < 1, ErrorId::value, "epsilon_of: delta is ", delta, ", expected above 0, below 1");
  require(!mechanisms.empty(), ErrorId::value, "epsilon_of: there is no mechanism");
  for (const SubsampledGaussian& m : mechanisms) m.validate();
  require(accountant != Accountant::rdp || relation == Relation::add_remove, ErrorId::value,
          "epsilon_of: rdp accounts for add-remove alone; use pld for replace-one");
  if (accountant == Accountant::exact)  // the loss distribution, where the integral does not converge
    if (const std::optional<double> exact = exact_epsilon(mechanisms, delta, relation)) return {.epsilon = *exact, .method = Accountant::exact};
  Epsilon found{.epsilon = std::numeric_limits<double>::infinity(), .method = Accountant::rdp};
  if ((accountant == Accountant::best || accountant == Accountant::rdp) && relation == Relation::add_remove) found.epsilon = rdp_epsilon(mechanisms, delta);
  if (accountant != Accountant::rdp) {
    const double pld = pld_epsilon(mechanisms, delta, relation);
    if (pld <= found.epsilon) found = {.epsilon = pld, .method = Accountant::pld};
  }
  require(is_finite(found.epsilon), ErrorId::value, "epsilon_of: no finite epsilon was found at delta ", delta,
          "; is the noise far too small?");
  return found;
}

namespace detail {

/// log σ at which the true ε is `epsilon`; nothing where exact_epsilon() has no answer.
inline std::optional<double> exact_noise(double epsilon, double delta, double rate, std::uint64_t steps, Relation relation) {
  const auto excess = [&](double log_noise) -> std::optional<double> {
    const SubsampledGaussian m{.rate = rate, .noise = std::exp(log_noise), .steps = steps};
    const std::optional<double> found = exact_epsilon({&m, 1}, delta, relation);
    return found ? std::optional(std::log(std::max(*found, 1e-9 * epsilon) / epsilon)) : std::nullopt;
  };
  double low = std::log(0.3), high = low;
  std::optional<double> at_low = excess(low), at_high = at_low;
  while (at_high && *at_high > 0 && high < std::log(1e6)) {
    low = high;
    at_low = at_high;
    at_high = excess(high += 0.5);
  }
  while (at_low && *at_low <= 0 && low > std::log(1e-2)) {
    high = low;
    at_high = at_low;
    at_low = excess(low -= 0.5);
  }
  if (!at_low || !at_high || !(*at_low > 0) || *at_high > 0) return std::nullopt;
  for (int i = 0; i < 40 && high - low > 1e-7; ++i) {
    const double secant = low + (high - low) * std::clamp(*at_low / (*at_low - *at_high), 0.01, 0.99);
    const double next = i % 3 == 2 ? 0.5 * (low + high) : secant;
    const std::optional<double> found = excess(next);
    if (!found) return std::nullopt;
    (*found > 0 ? low : high) = next;
    (*found > 0 ? at_low : at_high) = found;
    if (std::abs(*found) < 1e-8) return next;
  }
  return high;
}

}  // namespace detail

/// The least noise σ, to a share of 1e-5, with which `steps` steps at `rate`, after what is `spent` already, are (epsilon,
/// delta)-differentially private: ε of the result is never above `epsilon`. Throws ErrorId::value for an ε that is not above 0, when
/// `spent` alone is above it, and what epsilon_of does.
inline double noise_for(double epsilon, double delta, double rate, std::uint64_t steps, Accountant accountant = Accountant::best,
                        Relation relation = Relation::add_remove, std::span<const SubsampledGaussian> spent = {}) {
  require(is_finite(epsilon) && epsilon > 0, ErrorId::value, "noise_for: epsilon is ", epsilon, ", expected above 0");
  // log ε over what is wanted, at log σ: it falls, nearly straight
  std::vector<SubsampledGaussian> all(spent.begin(), spent.end());
  if (!spent.empty()) {
    const double before = epsilon_of(spent, delta, accountant, relation).epsilon;
    require(before < epsilon, ErrorId::value, "noise_for: ", before, " of epsilon ", epsilon, " is spent already");
  }
  all.push_back({.rate = rate, .noise = 1, .steps = steps});
  const auto excess = [&](double log_noise) {
    all.back().noise = std::exp(log_noise);
    return std::log(std::max(epsilon_of(all, delta, accountant, relation).epsilon, 1e-9 * epsilon) / epsilon);
  };
  double high = 0;
  if (spent.empty() && accountant != Accountant::exact && accountant != Accountant::rdp && rate > 0 && rate <= 1)  // near what is true
    if (const std::optional<double> start = detail::exact_noise(epsilon, delta, rate, steps, relation)) high = *start + 3e-4;
  double reach = high == 0 ? std::numbers::ln2 : 4e-4, at_high = excess(high), low, at_low;
  for (low = high, at_low = at_high; at_high > 0; at_high = excess(high)) {
    low = high;
    at_low = at_high;
    high += reach;
    reach = std::min(2 * reach, std::numbers::ln2);
    require(high < std::log(1e9), ErrorId::value, "noise_for: no noise below 1e9 gives epsilon ", epsilon, " at delta ", delta);
  }
  while (at_low <= 0 && low > std::log(1e-3)) {
    high = low;
    at_high = at_low;
    low -= reach;
    reach = std::min(2 * reach, std::numbers::ln2);
    at_low = excess(low);
  }
  // The secant, and then a little to the side where the root is still open, so that the bracket closes from both ends.
  for (int i = 0; high - low > 1e-5 && i < 60; ++i) {
    const double width = high - low;
    double next = low + width * std::clamp(at_low / (at_low - at_high), 0.02, 0.98);
    if (i % 3 == 2) next = 0.5 * (low + high);
    else next += (next - low < high - next ? 0.3 : -0.3) * std::min(width, 1e-5);
    const double found = excess(next);
    (found > 0 ? low : high) = next;
    (found > 0 ? at_low : at_high) = found;
  }
  return std::exp(high);
}

}  // namespace lorasb::privacy
