// Scores as the programs write them.
#pragma once

#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

#include "examples/common/library.hpp"
#include "lorasb/data/scores.hpp"

namespace lorasb::examples {

/// What --task says, in the order of nn::ProblemType.
inline constexpr std::array<std::string_view, 3> task_names{"classification", "multilabel", "regression"};
inline std::string_view name_of(ProblemType problem) { return task_names[static_cast<std::size_t>(problem)]; }

/// "93.75 %" or "0.9375".
inline std::string score_text(const Score& score) {
  if (std::isnan(score.value)) return "nan";  // without a sign
  const bool has_unit = std::string_view(score.key) == "mean_squared_error";  // that of the numbers, squared
  char out[32];
  std::snprintf(out, sizeof out, score.in_percent ? "%.2f %%" : has_unit ? "%.5g" : "%.4f",
                score.in_percent ? 100 * score.value : score.value);
  return out;
}

/// The name in metrics.json of the first score on validation texts.
inline std::string validation_key(ProblemType problem) {
  return problem == ProblemType::single_label ? "validation_accuracy"
         : problem == ProblemType::multi_label ? "validation_micro_f1"
                                               : "validation_pearson";
}

}  // namespace lorasb::examples
