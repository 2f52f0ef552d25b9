// classifier.json: what a folder of a trained classifier says of itself beside its tensors.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/dtype.hpp"
#include "lorasb/io/json.hpp"
#include "lorasb/io/write_json.hpp"
#include "lorasb/models/encoder/config.hpp"
#include "lorasb/nn/problem.hpp"

namespace lorasb::classify {

using nn::ProblemType;

/// The poolings that a classifier can have, as files and command lines name them, in the order of models::Pooling.
inline constexpr std::array<std::string_view, 3> pool_names{"mean", "cls", "pooler"};

/// How a classifier reads its texts, and what its outputs mean.
struct ClassifierForm {
  models::Pooling pool = models::Pooling::mean;
  ProblemType problem = ProblemType::single_label;
  bool pairs = false;          // a text is two, with a tab between them
  Index max_tokens = 0;        // of a text; 0: as many as the model reads
  Dtype weights = Dtype::f32;  // of the frozen modules that it was trained on: F32 or BF16
};

/// The file's content.
struct ClassifierFile {
  std::string method;  // that trained it
  std::vector<std::string> labels;
  std::string model;  // name or path of the base
  ClassifierForm form = {};
};

/// Writes classifier.json into `folder`; what is as by default is left out but for the pooling. Throws ErrorId::file_write.
inline void write_classifier_file(const std::filesystem::path& folder, const ClassifierFile& file) {
  const ClassifierForm& form = file.form;
  nlohmann::json json = {{"labels", file.labels},
                         {"method", file.method},
                         {"model", file.model},
                         {"pool", pool_names.at(static_cast<std::size_t>(form.pool))}};
  if (form.problem != ProblemType::single_label) json["problem_type"] = nn::problem_names[static_cast<std::size_t>(form.problem)];
  if (form.pairs) json["pairs"] = true;
  if (form.max_tokens > 0) json["max_tokens"] = form.max_tokens;
  if (form.weights != Dtype::f32) json["weights"] = "bf16";
  io::write_json(folder / "classifier.json", json);
}

/// What a config.json or classifier.json says of the problem, if it says anything. Throws ErrorId::model for a word that
/// transformers does not have.
inline std::optional<ProblemType> said_problem(const nlohmann::json& config, const std::filesystem::path& path) {
  const nlohmann::json said = config.is_object() ? config.value("problem_type", nlohmann::json()) : nlohmann::json();
  if (said.is_null()) return std::nullopt;
  const auto at = std::ranges::find(nn::problem_names, said.is_string() ? said.get<std::string>() : std::string());
  require(at != nn::problem_names.end(), ErrorId::model, in_quotes(path.string()), ": \"problem_type\" is ", said.dump(),
          ", expected single_label_classification, multi_label_classification or regression");
  return static_cast<ProblemType>(at - nn::problem_names.begin());
}

/// The classifier.json of a folder; nothing where there is none. Throws ErrorId::json for what is no JSON, ErrorId::adapter_folder
/// for a key that is missing or of another type and for a pooling that is not known; `reader` begins the messages.
inline std::optional<ClassifierFile> read_classifier_file(const std::filesystem::path& folder,
                                                          std::string_view reader = "read_classifier_file") {
  const std::filesystem::path path = folder / "classifier.json";
  if (!io::is_there(path)) return std::nullopt;
  const nlohmann::json json = io::read_json(path);
  const auto check = [&](bool good, const auto&... what) {
    require(good, ErrorId::adapter_folder, reader, ": \"", folder.string(), "\" has ", what..., " in classifier.json");
  };
  check(json.is_object(), "no object");
  const auto text = [&](const char* key) {
    const nlohmann::json value = json.value(key, nlohmann::json());
    check(value.is_string(), "no text ", in_quotes(key));
    return value.get<std::string>();
  };
  ClassifierFile file{.method = text("method"), .labels = {}, .model = text("model")};
  const nlohmann::json labels = json.value("labels", nlohmann::json());
  check(labels.is_array() && std::ranges::all_of(labels, [](const auto& label) { return label.is_string(); }),
        "no list of texts \"labels\"");
  for (const nlohmann::json& label : labels) file.labels.push_back(label.get<std::string>());
  const std::string pool = text("pool");
  const auto at = std::ranges::find(pool_names, pool);
  require(at != pool_names.end(), ErrorId::adapter_folder, reader, ": \"", folder.string(), "\" has the pooling ", in_quotes(pool),
          " in classifier.json, which is not known");
  file.form.pool = static_cast<models::Pooling>(at - pool_names.begin());
  file.form.problem = said_problem(json, path).value_or(ProblemType::single_label);
  const nlohmann::json pairs = json.value("pairs", nlohmann::json(false));
  check(pairs.is_boolean(), "\"pairs\" that are neither true nor false");
  file.form.pairs = pairs.get<bool>();
  const std::optional<Index> most = io::json_integer(json.value("max_tokens", nlohmann::json(0)));
  check(most.has_value() && *most >= 0, "\"max_tokens\" that are no number");
  file.form.max_tokens = *most;
  const nlohmann::json weights = json.value("weights", nlohmann::json("f32"));
  check(weights == "f32" || weights == "bf16", "\"weights\" that are neither f32 nor bf16");
  if (weights == "bf16") file.form.weights = Dtype::bf16;
  return file;
}

}  // namespace lorasb::classify
