// The classifier that --load names, and what it decides of the options.
#pragma once

#include <array>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "examples/common/base_model.hpp"
#include "lorasb/classify/folder_outputs.hpp"
#include "lorasb/classify/trained_model.hpp"
#include "lorasb/classify/write_trained.hpp"

namespace lorasb::examples {

inline ClassifierForm form_of(const CommonOptions& options) {
  return {.pool = options.pool,
          .problem = options.problem,
          .pairs = options.pairs,
          .max_tokens = options.max_tokens,
          .weights = dtype_of(options.weights)};
}

/// classifier.json of a folder whose base --model names.
inline ClassifierFile classifier_file(std::string_view method, const std::vector<std::string>& labels, const CommonOptions& options) {
  const bool has_name = options.model == "use-lite" || options.model == "minilm";
  return {.method = std::string(method),
          .labels = labels,
          .model = has_name ? options.model : std::filesystem::absolute(options.model).string(),
          .form = form_of(options)};
}

/// Throws ErrorId::value where a folder for results is that of a model, an adapter or a mixture: they would overwrite it, or what it
/// means would be another thing afterwards.
inline void require_no_model(const std::filesystem::path& out) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kinds{{{"config.json", "a model"},
                                                                      {"adapter_config.json", "an adapter"},
                                                                      {"adapter_model.safetensors", "an adapter"},
                                                                      {"mixture.json", "a mixture"}}};
  for (const auto& [file, kind] : kinds)
    require(!std::filesystem::exists(out / file), ErrorId::value, "--out: ", in_quotes(out.string()), " holds ", kind, " (", file,
            "), which would be overwritten; give another folder");
}
/// Removes what an earlier run with another method left.
inline void remove_classifiers(const std::filesystem::path& out) {
  classify::remove_classifiers(out);
  std::filesystem::remove(out / "confusion.svg");
}

namespace detail {

/// The base model of a folder, unless --model was given. Over a given one the head alone is taken of a whole classifier.
inline void take_base(const TrainedFolder& folder, CommonOptions& options) {
  if (options.given.contains("--model")) {
    std::error_code not_comparable;
    if (folder.is_whole && !std::filesystem::equivalent(folder.path, model_folder(options), not_comparable))
      std::fprintf(stderr, "--load: \"%s\" holds a whole model; only its head is used, over the encoder of --model %s\n",
                   folder.path.c_str(), options.model.c_str());
    return;
  }
  folder.check(!folder.base.empty(), "names no base model: give --model");
  options.model = folder.base;
  const bool is_of_others = !folder.own && !folder.is_whole;
  if (is_of_others && folder.base.ends_with("all-MiniLM-L6-v2")) options.model = "minilm";
  if (is_of_others && folder.base.find("model-embeddings-en") != std::string::npos) options.model = "use-lite";
  folder.check(is_use_lite(options) || std::filesystem::exists(model_folder(options)), "is of the base model ",
               in_quotes(options.model), ", which is no folder here: give --model FOLDER");
}

/// What classifier.json says of the texts and their vectors.
inline void take_form(const TrainedFolder& folder, const ClassifierForm& form, CommonOptions& options) {
  const auto word = [](models::Pooling pool) { return pool_names[static_cast<std::size_t>(pool)]; };
  folder.check(!options.given.contains("--pool") || options.pool == form.pool, "was trained with --pool ", word(form.pool),
               ", not ", word(options.pool));
  options.pool = form.pool;
  if (!options.given.contains("--weights")) options.weights = form.weights == Dtype::bf16 ? WeightType::bf16 : WeightType::f32;
  folder.check(form.pairs || !options.pairs, "was trained on single texts: leave --pairs out");
  options.pairs = form.pairs;
  if (options.max_tokens == 0) options.max_tokens = form.max_tokens;
}

/// A note on standard error where the folder holds another tokenizer.json than its base model, whose tokenizer is used.
inline void note_other_tokenizer(const TrainedFolder& folder, const std::filesystem::path& base) {
  const std::filesystem::path own = folder.path / "tokenizer.json", of_base = base / "tokenizer.json";
  if (folder.is_whole || !io::is_there(own) || !io::is_there(of_base)) return;
  if (io::MappedFile(own).text() != io::MappedFile(of_base).text())
    std::fprintf(stderr, "--load: \"%s\" holds a tokenizer.json that is not that of its base model; the base model's is used\n", folder.path.c_str());
}

}  // namespace detail

/// Reads what --load names. Sets model, pool, problem, form of the texts and type of the weights in `options` as the folder has
/// them, but for a --model or --weights that was given, and a --pool where the folder does not say its own. Throws what readers
/// throw, and ErrorId::adapter_folder for a folder that is no classifier.
inline TrainedFolder read_trained_folder(CommonOptions& options) {
  TrainedFolder folder = classify::read_trained_folder(options.load, "--load");
  detail::take_base(folder, options);
  if (folder.own)
    detail::take_form(folder, folder.own->form, options);
  else if (!is_use_lite(options) && !options.given.contains("--pool"))
    options.pool = models::Pooling::pooler;  // as transformers' classifier of sequences has it
  const bool asked = options.given.contains("--task");
  const std::optional<ProblemType> said = said_problem(folder, model_folder(options));
  folder.check(!said || !asked || *said == options.problem, "is of --task ", name_of(said.value_or(options.problem)), ", not ",
               name_of(options.problem));
  detail::note_other_tokenizer(folder, model_folder(options));
  settle_outputs(folder, model_folder(options), asked ? std::optional(options.problem) : std::nullopt);
  options.problem = folder.problem;
  return folder;
}

/// What reads a folder with more in it than training can go on from.
inline constexpr std::string_view only_loads = "--predict, --test and --write-merged read";

/// What every program that goes on from a folder does with its options. Throws ErrorId::value for data of another form.
inline void go_on_from_texts(const TrainedFolder& folder, CommonOptions& options) {
  require(!options.pairs || options.data.starts_with("tsv:"), ErrorId::value, "--load: \"", folder.path.string(),
          "\" was trained on pairs of texts: it needs --data tsv:TRAIN:TEST with two texts a line");
  options.load_checksum = folder.checksum;
}

}  // namespace lorasb::examples
