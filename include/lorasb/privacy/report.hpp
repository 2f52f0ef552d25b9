// What a private training has cost, and how that is said.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "lorasb/core/text.hpp"
#include "lorasb/privacy/discrete_gaussian.hpp"
#include "lorasb/privacy/ledger.hpp"

namespace lorasb::privacy {

/// train::PrivateTraining::report() makes one, and federated::PrivacyAccounts::summary().
struct PrivacyReport {
  std::optional<double> epsilon = {};  // nothing where a seeded source was used: it does not hold
  double delta = 0, noise = 0, rate = 0, clip = 0;  // δ, σ over the clip, q, C
  std::uint64_t steps = 0;       // of training that were charged
  std::uint64_t steps_lost = 0;  // of them: lost when a run was killed
  Accountant accountant = Accountant::best;  // that gave ε
  PrivacyUnit unit = PrivacyUnit::example;
  Relation relation = Relation::add_remove;
  std::optional<GridNoise> grid = {};  // of discrete noise
  double epsilon_continuous = 0;       // with a grid: ε of continuous noise as large, over gradients that are not rounded
  bool is_largest = false;             // of several accounts, that with the largest ε (federated::PrivacyAccounts::summary)
};

/// "epsilon 2.9998": four decimals, rounded up, so that no less is said than what holds.
inline std::string epsilon_text(double epsilon) {
  char text[40];
  std::snprintf(text, sizeof text, "epsilon %.4f", std::ceil(epsilon * 1e4) / 1e4);
  return text;
}

/// One line: who is protected, by how much, and by which mechanism. `unit` is what an example is ("training text"); empty: as the
/// report has it. `more` stands before the full stop (", bases w0").
inline std::string statement(const PrivacyReport& r, std::string_view unit = {}, std::string_view more = {}) {
  if (unit.empty()) unit = unit_names[static_cast<std::size_t>(r.unit)];
  char before[60], after[160];
  std::snprintf(before, sizeof before, " at delta %g, by ", r.delta);
  std::snprintf(after, sizeof after, "; noise %.4f, q %.4g, %llu steps, clip %g", r.noise, r.rate,
                static_cast<unsigned long long>(r.steps), r.clip);
  return concat("Privacy of each ", unit, " (", relation_names[static_cast<std::size_t>(r.relation)], "): ",
                r.epsilon ? epsilon_text(*r.epsilon) + (r.is_largest ? " at most" : "") : std::string("no epsilon: the noise is seeded"), before,
                accountant_names[static_cast<std::size_t>(r.accountant)], after, more, ".\n");
}
/// One line about discrete noise; empty without a grid. `one` is what an example is.
inline std::string grid_statement(const PrivacyReport& r, std::string_view one = "an example") {
  if (!r.grid) return {};
  return concat("Noise is discrete, on a grid of ", r.grid->grid, ": ", one, " moves the sum by at most ", r.grid->sensitivity,
                ", and sigma is over that.",
                r.epsilon ? concat(" Of epsilon, ", *r.epsilon - r.epsilon_continuous, " is for the rounding of gradients to it.\n")
                          : std::string("\n"));
}

}  // namespace lorasb::privacy
