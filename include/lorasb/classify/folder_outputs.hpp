// What the outputs of a trained folder mean: its labels, and whether they are classes, sets of labels or a number.
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/classify/trained_folder.hpp"
#include "lorasb/data/labels.hpp"

namespace lorasb::classify {

/// The problem that the folder says it is of, else that of its base model's config.json; nothing where both are silent. Throws
/// ErrorId::model for a word that is no problem.
inline std::optional<ProblemType> said_problem(const TrainedFolder& folder, const std::filesystem::path& base) {
  if (folder.own) return folder.own->form.problem;
  const std::filesystem::path config = base / "config.json";
  return io::is_there(config) ? said_problem(io::read_json(config), config) : std::nullopt;
}

namespace detail {

/// Those of the folder, else those of the model's config.json, else LABEL_0, LABEL_1, ... as transformers names them.
inline std::vector<std::string> labels_of(const TrainedFolder& folder, const std::filesystem::path& base) {
  const Index classes = folder.classes();
  if (folder.own) {
    folder.check(std::ssize(folder.own->labels) == classes, "names ", folder.own->labels.size(), " labels for ", classes, " classes");
    return folder.own->labels;
  }
  std::vector<std::string> labels;
  for (Index c = 0; c < classes; ++c) labels.push_back("LABEL_" + std::to_string(c));
  const bool has_own = io::is_there(folder.path / "config.json");
  const std::filesystem::path config = (has_own ? folder.path : base) / "config.json";
  if (!io::is_there(config)) return labels;
  const nlohmann::json json = io::read_json(config);
  if (!json.is_object() || !json.contains("id2label") || std::ssize(json["id2label"]) != classes) return labels;
  for (const auto& [id, label] : json["id2label"].items()) {
    Index place = 0;
    std::from_chars(id.data(), id.data() + id.size(), place);
    if (!label.is_string() || place < 0 || place >= classes) continue;
    std::string clean = data::clean_label(label.get<std::string>()).first;  // as those of texts are
    if (!clean.empty()) labels[static_cast<std::size_t>(place)] = std::move(clean);
  }
  return labels;
}

/// The head of an adapter that has none of its own: that of the base model, with the adapter of its last layer added to it.
inline void take_head_of_base(TrainedFolder& folder, const std::filesystem::path& base) {
  if (!folder.lacks_head) return;
  if (io::is_there(base / "config.json"))
    for (const std::filesystem::path& file : models::detail::encoder_files(base))
      for (auto& t : read_tensors(file, true)) folder.tensors.push_back(std::move(t));
  folder.check(names_head(folder), "has no ", models::head_module, ".weight, and neither has its base model ", in_quotes(base.string()),
               ": it is no classifier");
  find_head(folder);
  folder.lacks_head = false;
  const auto weight = std::ranges::find(folder.tensors, folder.head + ".weight", &formats::NamedTensor<float>::name);
  AdapterSet<float> others;
  for (const auto& entry : folder.adapters) {  // no binding: clang 14 does not capture one
    const LowRankAdapter<float>& adapter = entry.second;
    if (!formats::names_module(entry.first, folder.head)) {
      others.add(entry.first, adapter);
      continue;
    }
    folder.check(adapter.out_features() == weight->shape[0] && adapter.in_features() == weight->shape[1], "adapts ",
                 in_quotes(entry.first), " in another size than its base model has it");
    merge(adapter, WeightView<float>(weight->values.data(), weight->shape[0], weight->shape[1]));
  }
  folder.adapters = std::move(others);
}

}  // namespace detail

/// Finds labels, problem and, where the adapter has none, the head of `folder`; `base` is the folder of its base model. `asked` is the problem where both are silent;
/// without it a head of one output is a regression, and one of more a classifier with one label for each text. Throws
/// ErrorId::adapter_folder where `asked` is another problem than the one that is said, for a head that does not fit the problem,
/// and for two classes of one name.
inline void settle_outputs(TrainedFolder& folder, const std::filesystem::path& base, std::optional<ProblemType> asked = {}) {
  detail::take_head_of_base(folder, base);
  const std::optional<ProblemType> said = said_problem(folder, base);
  const auto word = [](ProblemType problem) { return nn::problem_names[static_cast<std::size_t>(problem)]; };
  folder.check(!said || !asked || *said == *asked, "is of the problem ", word(said.value_or(ProblemType::single_label)), ", not ",
               word(asked.value_or(ProblemType::single_label)));
  const Index outputs = folder.classes();
  const ProblemType by_size = outputs == 1 ? ProblemType::regression : ProblemType::single_label;
  folder.problem = said ? *said : asked.value_or(by_size);
  folder.check(folder.problem != ProblemType::single_label || outputs >= 2, "has a head of ", outputs,
               " outputs, but is a classifier with one label for each text");
  folder.check(folder.problem != ProblemType::regression || outputs == 1, "is a regression of ", outputs,
               " numbers, which is not read; only one is");
  folder.labels = detail::labels_of(folder, base);
  std::vector<std::string> sorted = folder.labels;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end()) folder.check(false, "names two classes ", in_quotes(*twice));
}

}  // namespace lorasb::classify
