// What the outputs of the head mean, where --task does not say it.
#pragma once

#include <filesystem>
#include <optional>

#include "examples/finetune/options.hpp"

namespace lorasb::examples {

namespace detail {

/// What a config.json asks for: its problem_type, else a regression where it has one label.
inline std::optional<ProblemType> problem_of_model(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const nlohmann::json config = io::read_json(path);
  if (const std::optional<ProblemType> said = classify::said_problem(config, path)) return said;
  const bool has_one = (config.contains("id2label") && config["id2label"].size() == 1) || config.value("num_labels", nlohmann::json()) == 1;
  return has_one ? std::optional(ProblemType::regression) : std::nullopt;
}

}  // namespace detail

/// Settles options.problem where nothing was loaded, which would have settled it. Throws ErrorId::value for what goes with
/// classes alone.
inline void settle_task(FinetuneOptions& o, bool loaded) {
  if (!loaded && !o.given.contains("--task") && !is_use_lite(o))
    o.problem = detail::problem_of_model(model_folder(o) / "config.json").value_or(o.problem);
  if (o.problem == ProblemType::single_label) return;
  const auto refuse = [&](bool bad, const char* flag, const char* why) {
    require(!bad, ErrorId::value, flag, why, " (--task ", name_of(o.problem), o.given.contains("--task") ? "" : ", as the model's folder says", ")");
  };
  refuse(o.privacy.enabled, "--private", " is for classifiers with one label for each text");
  refuse(o.compare, "--compare", " compares accuracies of classes");
  refuse(o.class_weights != "none", "--class-weights", " are for classifiers with one label for each text");
  refuse((!loaded || o.given.contains("--data")) && !o.data.starts_with("tsv:"), "--data",
         " of that name has one label for each text: give tsv:TRAIN:TEST");
}

}  // namespace lorasb::examples
