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
#include "lorasb/privacy/falling_root.hpp"
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
  const bool by_rdp = accountant == Accountant::rdp;
  require(!by_rdp || relation == Relation::add_remove, ErrorId::value,
          "epsilon_of: rdp accounts for add-remove alone; use pld for replace-one");
  const Epsilon nothing{.epsilon = 0, .method = accountant == Accountant::best ? Accountant::pld : accountant};
  if (is_never_seen(mechanisms, delta, relation)) return nothing;
  Epsilon found{.epsilon = std::numeric_limits<double>::infinity(), .method = Accountant::rdp};
  if (accountant == Accountant::exact) {
    const double bound = pld_epsilon(mechanisms, delta, relation);
    if (bound == 0) return nothing;
    const std::optional<double> exact = exact_epsilon(mechanisms, delta, relation);
    const double slack = 1e-3 * bound + 1e-8;  // further from the bound than this the integral was lost in rounding
    if (exact && *exact <= bound * (1 + 1e-9) + 1e-15 && *exact >= bound - slack)
      return {.epsilon = *exact, .method = Accountant::exact};
    found = {.epsilon = pld_epsilon(mechanisms, delta, relation, {.accuracy = 3e-7}), .method = Accountant::pld};
  }
  if ((accountant == Accountant::best || by_rdp) && relation == Relation::add_remove) found.epsilon = rdp_epsilon(mechanisms, delta);
  if (accountant == Accountant::best || accountant == Accountant::pld) {
    const double pld = pld_epsilon(mechanisms, delta, relation);
    if (pld <= found.epsilon) found = {.epsilon = pld, .method = Accountant::pld};
  }
  require(is_finite(found.epsilon), ErrorId::value, "epsilon_of: no finite epsilon was found at delta ", delta,
          "; is the noise far too small, or delta below what the method resolves?");
  return found;
}

namespace detail {

/// A bracket of the root, looked for from `start` on in steps that double from `reach` on. At `lowest` it looks no further: then
/// at_low may be at most 0, too. Throws ErrorId::value.
template <class F>
FallingBracket bracket_from(const F& f, double start, double reach, double lowest) {
  FallingBracket b{.low = start, .high = start, .at_low = f(start), .at_high = 0};
  for (b.at_high = b.at_low; b.at_high > 0; b.at_high = f(b.high)) {
    b.low = b.high;
    b.at_low = b.at_high;
    b.high += reach;
    reach = std::min(2 * reach, std::numbers::ln2);
    require(b.high < std::log(1e9), ErrorId::value, "noise_for: no noise below 1e9 gives the epsilon that is wanted");
  }
  while (b.at_low <= 0 && b.low > lowest) {
    b.high = b.low;
    b.at_high = b.at_low;
    b.low = std::max(b.low - reach, lowest);
    reach = std::min(2 * reach, std::numbers::ln2);
    b.at_low = f(b.low);
  }
  return b;
}

}  // namespace detail

/// The least noise σ, to a share of 1e-5 and from SubsampledGaussian::least_noise on, with which `steps` steps at `rate`, after what
/// is `spent` already, are (epsilon, delta)-differentially private: ε of the result is never above `epsilon`. Throws
/// ErrorId::value for an ε that is not above 0, when `spent` alone is above it, and what epsilon_of does.
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
  const auto excess_of = [&](double log_noise, const auto& account) {
    all.back().noise = std::exp(log_noise);
    if (is_never_seen(all, delta, relation)) return std::log(1e-9);
    return std::log(std::max(account(), 1e-9 * epsilon) / epsilon);
  };
  const auto dear = [&](double log_noise) {
    return excess_of(log_noise, [&] { return epsilon_of(all, delta, accountant, relation).epsilon; });
  };
  const auto cheap = [&](double log_noise) {  // to 1e-4 alone, where the least bound is the loss distribution's
    if (accountant == Accountant::rdp) return dear(log_noise);
    return excess_of(log_noise, [&] {
      const double pld = pld_epsilon(all, delta, relation, {.accuracy = 1e-4});
      const bool is_lost = !is_finite(pld) && accountant == Accountant::best && relation == Relation::add_remove;
      return is_lost ? rdp_epsilon(all, delta) : pld;
    });
  };
  const double lowest = std::log(rate < 1 ? SubsampledGaussian::least_noise * (1 + 1e-9) : 1e-9);
  detail::FallingBracket bracket = detail::bracket_from(cheap, 0, std::numbers::ln2, lowest);
  if (bracket.at_low <= 0 && dear(bracket.low) <= 0) return std::exp(bracket.low);
  bracket.close(cheap, 1e-6);
  // The dear one falls as steeply; the root of its tangent is nearly there, and both ends of a bracket beside it.
  // Where few draws make ε nearly flat, the tangent leads far away: no step is larger than 1e-2.
  const double start = bracket.high, below = std::max(start - 1e-3, lowest), above = start + 1e-3;
  const double around = (cheap(above) - cheap(below)) / (above - below), slope = is_finite(around) ? std::min(around, -1e-3) : -1;
  const double move = -dear(start) / slope, bounded = is_finite(move) ? std::clamp(move, -1e-2, 1e-2) : 0;
  bracket = detail::bracket_from(dear, std::max(start + bounded + 2e-6, lowest), 4e-6, lowest);
  if (bracket.at_low <= 0) return std::exp(bracket.low);
  bracket.close(dear, 1e-5);
  return std::exp(bracket.high);
}

}  // namespace lorasb::privacy
